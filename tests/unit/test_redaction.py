"""No credential is ever printed: each field contains a marker, and all output is searched for it."""

from __future__ import annotations

import base64
import copy
import io
import json
import logging
import pickle
import re
import socket
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from rich.console import Console
from rich.traceback import Traceback

from callback_sdk import JobResult, ResultsWriter
from callback_sdk.client.form import form_fields
from callback_sdk.errors import CallbackSDKError, DeliveryError, EncodingError, InvalidTargetError
from callback_sdk.models import PresignedPost, PresignedPut
from callback_sdk.redaction import Secret, SecretFields, SecretURL, strip_traceback
from callback_sdk.targets import plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.transport.http import Timeouts
from tests.rawserver import RawServer, answer, read_request
from tests.signedurls import KEY, cos, obs, oss_v1, signed_fields, swift, v4

MARKER = "MARKER7f3a"
HEX_MARKER = "5fadf00d"
RESULT = JobResult(job_id="42", success=True, results={"a": 1})
FAR = 4095989824
"""A time of 2099, in seconds."""

END = datetime(2090, 1, 1, tzinfo=timezone.utc)


def put_url(base: str, *, seconds: int = 3600, signed: str = "host") -> str:
    token = {"X-Amz-Security-Token": f"{MARKER}2"}
    now = datetime.now(timezone.utc)
    query = v4(date=now, expires=seconds, signed=signed, key=f"{MARKER}1", signature=HEX_MARKER * 8, **token)
    return f"{base}/b/k?{query}"


def form(**change: Any) -> dict[str, Any]:
    signed = signed_fields(**{"x-amz-signature": HEX_MARKER * 8})
    conditions = [{"key": f"{MARKER}4"}, *({name: value} for name, value in signed.items() if "signature" not in name)]
    rules = {"expiration": "2090-01-01T00:00:00Z", "conditions": conditions}
    policy = base64.b64encode(json.dumps(rules).encode()).decode()
    fields = {
        "key": f"{MARKER}4",
        "policy": policy,
        "x-amz-security-token": f"{MARKER}5",
        **signed,
    }
    return {"s3_fields": {**fields, **change}}


def leaks(text: str) -> bool:
    encoded = base64.b64encode(f'"key": "{MARKER}'.encode()).decode()[4:16]
    return MARKER in text or HEX_MARKER in text or encoded in text


class PlainTraceback(Traceback):
    """One that has no colors: four fifths of the time would go to the syntax of whole modules."""

    @classmethod
    def _guess_lexer(cls, filename: str, code: str) -> str:
        return "text"


def everything_printed(error: BaseException) -> str:
    """Show an error as people do: plain, with the locals of each frame, and by rich."""
    # The test's own frame holds the plain values on purpose, and is not ours to hide.
    error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
    plain = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    console = Console(file=io.StringIO(), width=500)
    trace = PlainTraceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, locals_max_string=None
    )
    console.print(trace)
    return plain + console.file.getvalue() + repr(error) + str(error) + repr(vars(error))  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def no_leak_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Search every log record of every library, at DEBUG."""
    caplog.set_level(logging.DEBUG)
    yield
    assert not leaks(caplog.text)


@pytest.fixture
def refusing() -> Iterator[RawServer]:
    """Run a server that rejects every request, and quotes it in the response."""

    def script(connection: socket.socket, number: int) -> None:
        while True:
            head, _ = read_request(connection)
            if not head:
                return
            quoted = re.findall("(?i)(?:x-amz-meta-a|private-token|authorization): (.*)", head.decode())
            path, meta = head.split()[1].decode(), "".join(quoted)
            said = f"Cannot PUT {path.replace('&', '&amp;')} with {meta.strip()}"
            body = f"<Error><Code>AccessDenied</Code><Message>{said}</Message></Error>"
            connection.sendall(answer("403 Forbidden", body=body.encode()))

    with RawServer(script) as server:
        yield server


@pytest.fixture
def resetting() -> Iterator[RawServer]:
    """Close every connection without an answer."""
    with RawServer(lambda connection, number: read_request(connection) and None) as server:
        yield server


CASES: dict[str, Callable[[str], tuple[Any, Any]]] = {
    "put": lambda base: (put_url(base), None),
    "put with a header nobody knows": lambda base: (put_url(base, signed="host;x-amz-acl"), None),
    "put with a header not signed": lambda base: (put_url(base), {"s3_headers": {"x-amz-meta-a": MARKER}}),
    "put with a broken header": lambda base: (put_url(base), {"s3_headers": {"x": f"{MARKER}\n"}}),
    "put that is cut off": lambda base: (put_url(base).replace("X-Amz-Expires=3600&", ""), None),
    "put with fields": lambda base: (put_url(base), form()),
    "put that expired": lambda base: (put_url(base, seconds=0), None),
    "post": lambda base: (base, form()),
    "post with another key": lambda base: (base, form(key=f"{MARKER}7")),
    "post with an extra field": lambda base: (base, form(extra=f"{MARKER}8")),
    "post with a broken policy": lambda base: (base, form(policy=f"{MARKER}==")),
    "post with a number missing": lambda base: (base, form(policy=None)),
    "post without a signature": lambda base: (base, {"s3_fields": {"key": MARKER}}),
    "post with the fields bare": lambda base: (base, form()["s3_fields"]),
    "post with the whole answer": lambda base: (base, {"s3_fields": {"url": base, "fields": form()["s3_fields"]}}),
    "fields that are text": lambda base: (base, {"s3_fields": MARKER}),
    "fields beside what JSON can't hold": lambda base: (base, {**form(), "when": object()}),
    "fields beside a NaN": lambda base: (base, {**form(), "limit": float("nan")}),
    "param that is text": lambda base: (base, MARKER),
    "webhook": lambda base: (f"{base}/hook?token={MARKER}", None),
    "webhook with its credential in the path": lambda base: (f"{base}/bot1234:{MARKER}/sendDocument", None),
    "webhook with a key in the path": lambda base: (f"{base}/key/{MARKER}/done", None),
    "webhook with headers": lambda base: (
        f"{base}/hook",
        {"webhook": {"headers": {"Authorization": f"Bearer {MARKER}", "X-Key": MARKER}}},
    ),
    "put with a header that is quoted": lambda base: (
        put_url(base, signed="host;x-amz-meta-a"),
        {"s3_headers": {"x-amz-meta-a": MARKER}},
    ),
    "http": lambda base: (f"{base}/file", {"http": {"method": "PUT", "headers": {"Private-Token": MARKER}}}),
    "http with a login": lambda base: (
        f"{base}/file",
        {"http": {"method": "PUT", "headers": {"Authorization": f"Bearer {MARKER}"}}},
    ),
    "http with a broken header": lambda base: (
        f"{base}/file",
        {"http": {"method": "PUT", "headers": {"Private-Token": f"{MARKER}\n"}}},
    ),
    "http with another method": lambda base: (
        f"{base}/file",
        {"http": {"method": "POST", "headers": {"Private-Token": MARKER}}},
    ),
    "http with a signed url": lambda base: (
        put_url(base),
        {"http": {"method": "PUT", "headers": {"Private-Token": MARKER}}},
    ),
    "headers outside of http": lambda base: (f"{base}/file", {"headers": {"Private-Token": MARKER}}),
    "oss": lambda base: (f"{base}/b/k?{oss_v1(expires=FAR).replace(KEY, MARKER)}", None),
    "cos": lambda base: (f"{base}/b/k?{cos(expires=FAR).replace(KEY, MARKER)}", None),
    "cos with a header nobody knows": lambda base: (
        f"{base}/b/k?{cos(expires=FAR).replace(KEY, MARKER).replace('=host', '=host%3Bx-cos-acl')}",
        None,
    ),
    "obs": lambda base: (f"{base}/b/k?{obs(expires=FAR).replace(KEY, MARKER)}", None),
    "swift": lambda base: (f"{base}/v1/AUTH_a/c/o?{swift(expires=FAR).replace('5f' * 32, HEX_MARKER * 8)}", None),
    "swift that is cut off": lambda base: (f"{base}/v1/AUTH_a/c/o?temp_url_sig={HEX_MARKER}", None),
    "supabase": lambda base: (f"{base}/storage/v1/object/upload/sign/b/k?token=e30.e30.{MARKER}", None),
    "supabase with a broken token": lambda base: (f"{base}/storage/v1/object/upload/sign/b/k?token={MARKER}", None),
    "oracle": lambda base: (f"{base}/p/{MARKER}/n/ns/b/bucket/o/42.json", None),
    "oracle for a bucket": lambda base: (
        f"https://objectstorage.us-ashburn-1.oraclecloud.com/p/{MARKER}/n/ns/b/bucket/o/",
        None,
    ),
    "oracle that is cut off": lambda base: (f"https://objectstorage.us-ashburn-1.oraclecloud.com/p/{MARKER}", None),
    "session": lambda base: (f"{base}/upload/storage/v1/b/b/o?uploadType=resumable&upload_id={MARKER}", None),
    "login in the url": lambda base: (f"https://user:{MARKER}@example.org/", None),
    "malformed host": lambda base: (f"https://[{MARKER}/", None),
    "password with a slash": lambda base: (f"https://u:x@{MARKER}/{MARKER}@example.org/", None),
    "password with a question mark": lambda base: (f"https://u:x@{MARKER}?@example.org/", None),
    "password with a number sign": lambda base: (f"https://u:x@{MARKER}#@example.org/", None),
    "malformed port": lambda base: (f"https://u:{MARKER}@example.org:{MARKER}/", None),
    "another scheme": lambda base: (f"ftp://user:{MARKER}@example.org/?x={MARKER}", None),
    "a space": lambda base: (f"{base}/a b?x={MARKER}", None),
    "params of another length": lambda base: ([put_url(base)], [form(), form()]),
    "unknown host": lambda base: (put_url("http://nowhere.invalid"), None),
    "tls to a plain server": lambda base: (put_url(base.replace("http:", "https:")), None),
    "a list of them": lambda base: ([put_url(base), base], [None, form()]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("server", ["refusing", "resetting"])
def test_no_error_of_the_writer_shows_a_credential(case: str, server: str, request: pytest.FixtureRequest) -> None:
    """For all failures, message, cause and frames don't contain the marker."""
    url, param = CASES[case](request.getfixturevalue(server).url)
    # A server without TLS is silent in the handshake.
    options = {"timeout": timedelta(milliseconds=1), "attempt_timeouts": Timeouts(connect=timedelta(seconds=1))}
    with ResultsWriter(**options) as writer, pytest.raises(CallbackSDKError) as caught:
        writer.write(RESULT, url, param)
    assert not leaks(everything_printed(caught.value))
    assert not leaks(pickle.dumps(caught.value).decode("latin-1"))


@pytest.mark.parametrize("case", ["webhook", "put with a header that is quoted", "webhook with a key in the path"])
def test_no_receipt_shows_a_credential_that_a_server_quotes(case: str) -> None:
    """Neither its tag nor its version, which people keep and show."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("200 OK", f'ETag: "{MARKER}"', f"x-amz-version-id: /{MARKER}?sig={MARKER}"))

    with RawServer(script) as server, ResultsWriter() as writer:
        (receipt,) = writer.write(RESULT, *CASES[case](server.url))
    assert not leaks(str(receipt) + str(receipt.to_dict()))
    assert receipt.etag == "***"


def quoting(name: str, status: str = "403 Forbidden") -> RawServer:
    """Return a server that quotes a header of each request, and its second word decoded."""

    def script(connection: socket.socket, number: int) -> None:
        head, _ = read_request(connection)
        value = re.search(f"(?i){name}: (.*)", head.decode())[1].strip()  # type: ignore[index]
        decoded = base64.b64decode(value.split()[1] + "===").decode("latin-1")
        connection.sendall(answer(status, f"ETag: {value}", body=f"No {value}, {decoded}".encode()))

    return RawServer(script)


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
def test_credentials_for_a_proxy_are_hidden_in_its_responses(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They didn't come with the target."""
    monkeypatch.delenv("no_proxy", raising=False)
    with quoting("proxy-authorization", status) as proxy, ResultsWriter(timeout=0.01) as writer:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", f"//{MARKER}1:{MARKER}2@"))
        try:
            said = str(writer.write(RESULT, "http://example.org/f", {"http": {"method": "PUT"}}))
        except CallbackSDKError as error:
            said = everything_printed(error)
    assert "***" in said
    assert not leaks(said)
    assert base64.b64encode(f"{MARKER}1:{MARKER}2".encode()).decode() not in said


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
def test_token_of_a_cluster_is_hidden_in_its_responses(status: str) -> None:
    """It is the operator's, and not the target's."""
    with (
        quoting("authorization", status) as cluster,
        ResultsWriter(timeout=0.01, aistore_clusters={cluster.url: f"{MARKER}{MARKER}"}) as writer,
    ):
        try:
            said = str(writer.write(RESULT, put_url(f"{cluster.url}/s3")))
        except CallbackSDKError as error:
            said = everything_printed(error)
    assert "***" in said
    assert not leaks(said)


@pytest.mark.parametrize("place", ["{base}/{token}/k", "http://{token}.example.org/k", "{base}/b/k;{token}?x=1"])
def test_redirect_that_quotes_a_credential_is_not_followed(place: str) -> None:
    """Errors show host and path of the URL that responds."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        location = place.format(base=server.url, token=f"{MARKER}2".lower())
        connection.sendall(answer("307 Temporary Redirect", f"Location: {location}"))

    with RawServer(script) as server, ResultsWriter(timeout=0.01) as writer:
        with pytest.raises(DeliveryError, match="redirected to") as caught:
            writer.write(RESULT, put_url(server.url))
        assert server.connections == 1
    assert MARKER.lower() not in everything_printed(caught.value).lower()


def test_result_that_cannot_be_encoded_shows_no_credential() -> None:
    """The frames below write() hold wrapped values only."""
    with ResultsWriter() as writer, pytest.raises(CallbackSDKError) as caught:
        writer.write(JobResult(job_id="1", success=True, results={"x": object()}), put_url("http://h"), form())
    assert not leaks(everything_printed(caught.value))


@pytest.mark.parametrize("value", [object(), float("nan"), {1: 1, "1": 2}], ids=["object", "NaN", "keys"])
def test_form_that_cannot_be_encoded_shows_no_credential(value: Any) -> None:
    """A job's form has the credentials beside the value that JSON can't hold."""
    given = parse_callbacks(["https://bucket.s3.amazonaws.com/"], [{**form(), "value": value}])
    with pytest.raises(EncodingError) as caught:
        form_fields(given, version=None)
    assert not leaks(everything_printed(caught.value))


@pytest.mark.parametrize(
    "value",
    [
        Secret(MARKER),
        SecretURL(f"https://u:{MARKER}@example.org/p?token={MARKER}#{MARKER}"),
        SecretFields({"policy": MARKER}),
        PresignedPut(url=Secret(f"https://h/k?s={MARKER}"), headers=SecretFields({"a": MARKER}), expires_at=END),
        PresignedPost(url=Secret("https://h/"), fields=SecretFields({"policy": MARKER}), expires_at=END),
        parse_callbacks(put_url("https://h"))[0],
        parse_callbacks("https://h/", form())[0],
        plan(parse_callbacks("https://h/", form())[0]),
        plan(parse_callbacks(put_url("https://h"))[0]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_with_a_credential_cannot_be_printed(value: Any) -> None:
    """repr, str, format, % and rich show the type only."""
    console = Console(file=io.StringIO(), width=500)
    console.print(value, [value], {"a": value})
    shown = (
        f"{value} {value!r} {value:>5} {[value]} %s %r" % (value, value)
        if isinstance(value, Secret)
        else f"{value} {value!r}"
    )
    assert not leaks(shown + console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [Secret(MARKER), SecretFields({"policy": MARKER}), SecretURL(f"https://h/?{MARKER}")])
def test_credential_is_copied_and_not_pickled(value: Secret[Any]) -> None:
    """Pickles may end up in error reports; the error tells how to pass the value explicitly."""
    assert copy.deepcopy(value) is value
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="by name"):
            pickle.dumps(value, protocol)


def test_url_shows_where_and_not_what() -> None:
    """Scheme, host, port and path stay; IPv6 keeps its brackets."""
    assert str(SecretURL("HTTPS://u:p@Example.ORG:8443/a%20b?x=1#f")) == "https://example.org:8443/a%20b?***"
    assert str(SecretURL("http://[::1]:9000/b")) == "http://[::1]:9000/b"


def test_url_of_an_object_shows_its_name_after_it_was_hidden() -> None:
    """A URL keeps its own text, and hands on no text of another path."""
    url = SecretURL("https://hooks.slack.com/services/T0/B0/0123456789abcdefghijklmn?Name=1&name=2")
    hidden = str(url)
    assert "0123456789" not in hidden
    public = url.with_public_path()
    assert str(public) == "https://hooks.slack.com/services/T0/B0/0123456789abcdefghijklmn?***"
    assert str(url) == hidden


def test_names_of_a_template_count_and_no_values() -> None:
    """`with_public_path` takes over names, which are no credentials."""
    template, url = (SecretURL(f"https://example.org/key?Name={value}&X-Sig={value}") for value in "ab")
    public = url.with_public_path(template=template)
    assert public.query_names() == {"Name", "X-Sig"}
    assert public.lower_query() == Secret({"name": "b", "x-sig": "b"})
    assert public.repeated_names() == frozenset()


def test_values_that_a_server_quotes_are_scrubbed() -> None:
    """Raw, percent-encoded, and each parameter of the query but the public ones."""
    url = SecretURL("https://h/k?X-Amz-Expires=360000&sig=a%2Fbcdefg%2B&t=plainvalue&tok3nOnly")
    said = "a/bcdefg+, a%2fbcdefg%2b, plainvalue, tok3nOnly, 360000 other"
    assert url.scrub(said) == "***+, ***%2b, ***, ***, 360000 other"


def test_equal_credentials_are_equal_and_others_are_not() -> None:
    """Two of the same kind compare by value, in constant text."""
    assert Secret("a") == Secret("a") != Secret("b")
    assert SecretURL("https://h/") != Secret("https://h/")
    assert len({Secret("a"), Secret("a")}) == 1


def test_frames_are_taken_off_the_whole_chain() -> None:
    """Cause and context, and a loop among them ends."""
    try:
        try:
            raise ValueError(1)
        except ValueError as inner:
            raise KeyError(2) from inner
    except KeyError as outer:
        error = outer
    error.__cause__.__context__ = error  # type: ignore[union-attr]
    assert strip_traceback(error).__traceback__ is None
    assert error.__cause__.__traceback__ is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("host", "ascii_"),
    [
        ("127。0。0。1", "127.0.0.1"),
        ("127．0．0．1", "127.0.0.1"),
        ("１２７.０.０.１", "127.0.0.1"),
        ("①②⑦.0.0.1", "127.0.0.1"),
        ("ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "localhost"),
        ("LOCALHOST", "localhost"),
        ("b.s3.amazon\u00adaws.com", "b.s3.amazonaws.com"),
        ("b。s3。amazonaws。com", "b.s3.amazonaws.com"),
        ("ｂ.ｓ３.ａｍａｚｏｎａｗｓ.ｃｏｍ", "b.s3.amazonaws.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("example。", "example."),
    ],
)
def test_host_is_what_the_network_takes(host: str, ascii_: str) -> None:
    """Full width, circled letters, soft hyphens and ideographic full stops are mapped before anything is judged."""
    url = SecretURL(f"http://{host}/k")
    assert (url.host, url.origin, str(url)) == (ascii_, f"http://{ascii_}", f"http://{ascii_}/k")


@pytest.mark.parametrize("host", ["a\u202eb.example", "\u0301a.example", "é" * 60 + ".example", "a\udc80.example"])
def test_name_that_no_host_has_is_rejected(host: str) -> None:
    """No resolver is asked for it."""
    with pytest.raises(InvalidTargetError, match="invalid host name"):
        SecretURL(f"http://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "https://https://b.s3.eu-central-1.amazonaws.com/k",
        "https://http://example.org/hook",
        "http://HTTPS://example.org/hook",
        "https://https//example.org/hook",
        "https://https:443//example.org/hook",
        "https://https://user:password@example.org/hook",
        "https://s3://bucket/key",
    ],
)
def test_url_with_two_schemes_is_rejected(url: str) -> None:
    """The second one would be the host."""
    with pytest.raises(InvalidTargetError, match="has two schemes") as caught:
        SecretURL(url)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://s3/bucket/key", "https://s3:9000//key", "https://https.example.org/"])
def test_host_with_a_name_like_a_scheme_is_a_host(url: str) -> None:
    """As services in Docker Compose have them."""
    assert SecretURL(url).host
