"""Files at any HTTP server, asked for by name."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackParamError, SignedHeaderError, WrongOperationError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.http_put import HTTP
from callback_sdk.targets.upload import Upload

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
URL = "https://gitlab.example.org/api/v4/projects/24/packages/generic/runs/1.0/42.json"
TOKEN = "glpat-7f3aMARKER"


def target(headers: Any = None, **param: Any) -> Target:
    (callback,) = parse_callbacks(URL, {"http": {"method": "PUT", "headers": headers or {}}, **param})
    return plan(callback)


def upload(headers: Any = None, encoding: str | None = None) -> Upload:
    return target(headers).upload(Body(b"{}"), delivery_id="msg_1", now=NOW, encoding=encoding)


def test_put_has_the_given_headers_and_a_content_type() -> None:
    """The credentials of the server, and JSON unless another type is given."""
    sent = upload({"PRIVATE-TOKEN": TOKEN, "Authorization": f"Bearer {TOKEN}"})
    assert (sent.kind, sent.method, sent.url.reveal()) == ("http-put", "PUT", URL)
    assert sent.headers.reveal() == {
        "content-type": "application/json",
        "private-token": TOKEN,
        "authorization": f"Bearer {TOKEN}",
    }
    assert upload({"Content-Type": "text/json"}).headers.reveal() == {"content-type": "text/json"}


def test_every_success_counts_and_no_redirect_is_followed() -> None:
    """Nginx responds with 201 and 204, GitLab with 201; a redirect could lead to another host."""
    sent = upload()
    assert {200, 201, 204} <= sent.accepts
    assert not sent.accepts & {199, 300, 307}
    assert not sent.redirects


@pytest.mark.parametrize(
    ("url", "headers", "warned"),
    [
        (URL, {"PRIVATE-TOKEN": TOKEN}, False),
        (URL.replace("https:", "http:"), {"PRIVATE-TOKEN": TOKEN}, True),
        (URL.replace("https:", "http:"), {}, False),
        ("http://127.0.0.1:8080/file", {"PRIVATE-TOKEN": TOKEN}, False),
        ("http://localhost/file", {"PRIVATE-TOKEN": TOKEN}, False),
    ],
)
def test_headers_without_encryption_are_warned_of(url: str, headers: dict[str, str], warned: bool) -> None:
    """They may be credentials, and anybody on the way can read them."""
    (callback,) = parse_callbacks(url, {"http": {"method": "PUT", "headers": headers}})
    warnings = plan(callback).warnings(NOW)
    assert any("unencrypted" in warning for warning in warnings) is warned
    assert TOKEN not in "".join(warnings)


def test_document_is_compressed_only_on_request() -> None:
    """A server that stores the bytes forgets Content-Encoding; its sender may know better."""
    assert target().content_encoding("gzip") is None
    assert target({"Content-Encoding": "gzip"}).content_encoding(None) == "gzip"


def test_headers_are_not_part_of_the_document_but_are_stored() -> None:
    """callback_param in the document lacks http; what is stored has it, with its names in lower case."""
    param = {"http": {"method": "PUT", "headers": {"PRIVATE-TOKEN": TOKEN}}, "run": 1}
    (callback,) = parse_callbacks(URL, param)
    assert callback.param == {"run": 1}
    stored = {"http": {"method": "PUT", "headers": {"private-token": TOKEN}}, "run": 1}
    assert callback.plain() == {"url": URL, "param": stored}
    assert parse_callbacks(callback.plain()) == (callback,)
    assert TOKEN not in repr(callback)
    assert callback.credentials().reveal() == (TOKEN,)


@pytest.mark.parametrize(
    "http",
    [
        {"method": "POST"},
        {"method": "PATCH", "headers": {}},
        {"headers": {"PRIVATE-TOKEN": TOKEN}},
        {"method": "PUT", "header": {}},
        {"method": "PUT", "headers": [["PRIVATE-TOKEN", TOKEN]]},
        {"method": ["PUT"]},
        {"method": "PUT", "headers": {"a": None}},
        {"method": "PUT", "headers": {"a": "b" * 16 * 1024}},
        {"method": "PUT", "headers": {str(number): "" for number in range(101)}},
        {},
        [],
        "PUT",
        TOKEN,
    ],
)
def test_http_that_is_not_a_put_is_refused(http: Any) -> None:
    """Another method, no method, an unknown member, or headers that aren't a dict of strings."""
    with pytest.raises(CallbackParamError, match="http of") as caught:
        parse_callbacks(URL, {"http": http})
    assert TOKEN not in str(caught.value)


def test_no_http_is_a_webhook() -> None:
    """None is left out, as for the other members."""
    (callback,) = parse_callbacks(URL, {"http": None})
    assert plan(callback).kind == "webhook"


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "Content-Length", "Transfer-Encoding", "Connection", "TE", "Trailer", "Upgrade", "Expect", "Via"),
        *("Proxy-Authorization", "X-Forwarded-For", "X-HTTP-Method-Override", "X-Original-URL", "Set-Cookie", "a b"),
    ],
)
def test_header_of_the_connection_is_refused(name: str) -> None:
    """Hop-by-hop headers, framing, the host, and those that replace method or address."""
    with pytest.raises(SignedHeaderError, match=r"^http of .* can't be sent"):
        target({name: TOKEN}).check(now=NOW)


def test_value_that_ends_the_header_is_refused() -> None:
    """The error doesn't quote the value."""
    with pytest.raises(SignedHeaderError, match="can't be sent") as caught:
        target({"PRIVATE-TOKEN": f"{TOKEN}\r\nHost: x"}).check(now=NOW)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("name", sorted({name for operation in HTTP.operations for name in operation.names}))
def test_header_that_makes_it_less_than_a_whole_file_is_refused(name: str) -> None:
    """Chunks, copies by checksum and archives are answered with success, and there is no such file."""
    with pytest.raises(WrongOperationError):
        target({name.title(): "true"})


@pytest.mark.parametrize("other", [{"s3_fields": {"policy": "p"}}, {"s3_headers": {"x-amz-acl": "private"}}])
def test_http_with_members_for_a_store_is_refused(other: dict[str, Any]) -> None:
    """One of the two belongs to another target."""
    with pytest.raises(CallbackParamError, match=f"both http and {next(iter(other))}"):
        target(**other)


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Date=20260101T110000Z&X-Amz-Expires=7200&X-Amz-Signature=s&X-Amz-SignedHeaders=host",
        "AWSAccessKeyId=A&Signature=s&Expires=1767276000",
        "X-Goog-Signature=s",
    ],
)
def test_http_with_a_signed_url_is_refused(query: str) -> None:
    """One parameter for several URLs must not send the credentials of one server to another."""
    (callback,) = parse_callbacks(f"{URL}?{query}", {"http": {"method": "PUT", "headers": {"PRIVATE-TOKEN": TOKEN}}})
    with pytest.raises(CallbackParamError, match="is a signed URL and has http too") as caught:
        plan(callback)
    assert TOKEN not in str(caught.value)


def test_headers_of_one_server_are_not_for_another() -> None:
    """A single parameter applies to all URLs: it may have http only if all are at the same server."""
    http = {"http": {"method": "PUT", "headers": {"PRIVATE-TOKEN": TOKEN}}}
    other = "https://hooks.example.org/done"
    assert len(parse_callbacks([URL, f"{URL}.sig"], http)) == 2
    with pytest.raises(CallbackParamError, match="2 servers") as caught:
        parse_callbacks([URL, other], http)
    assert TOKEN not in str(caught.value)
    first, second = parse_callbacks([URL, other], [http, None])
    assert (plan(first).kind, plan(second).kind) == ("http-put", "webhook")


@pytest.mark.parametrize("name", ["PRIVATE-TOKEN", "Authorization", "X-JFrog-Art-Api"])
def test_credentials_beside_http_are_refused(name: str) -> None:
    """Headers one level too high would be sent on in the document."""
    with pytest.raises(CallbackParamError, match="would put it into the document") as caught:
        parse_callbacks(URL, {"method": "PUT", "headers": {name: TOKEN}})
    assert TOKEN not in str(caught.value)
    assert parse_callbacks(URL, {"headers": {"x-run": 1}})[0].param == {"headers": {"x-run": 1}}


@pytest.mark.parametrize(
    ("headers", "quoted"),
    [
        ({"PRIVATE-TOKEN": TOKEN}, f"{TOKEN} is unknown"),
        ({"Authorization": f"Bearer {TOKEN}"}, f"{TOKEN} is unknown"),
        ({"Authorization": "Basic cnVubmVyOmdscGF0LTdmM2FNQVJLRVI="}, f"{TOKEN} is unknown"),
        ({"Cookie": f"a=b; session={TOKEN}"}, f"{TOKEN} is unknown"),
    ],
)
def test_credentials_are_cleared_from_a_message(headers: dict[str, str], quoted: str) -> None:
    """A server may quote the token alone, or the password that it decoded."""
    assert upload(headers).scrub(quoted) == "*** is unknown"
