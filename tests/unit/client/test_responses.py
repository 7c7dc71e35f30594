"""Responses of the service: values and typed errors."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from callback_sdk.client import Client
from callback_sdk.client.responses import _ERRORS, _scrub, unreachable
from callback_sdk.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ServiceConnectionError,
    ServiceError,
)
from callback_sdk.redaction import Secret
from tests.growth import assert_linear
from tests.rawserver import RawServer, answer, read_request
from tests.unit.client.jobs import ACCEPTED, BUCKET, DATA, PREDICT, SIGNATURE, SIGNED, TOKEN, s3_fields, shown


@contextlib.contextmanager
def answering(response: bytes) -> Iterator[str]:
    """Send the same bytes for each request."""

    def script(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(response)

    with RawServer(script) as server:
        yield f"{server.url}/api/v2"


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (400, InvalidRequestError, ""),
        (401, AuthenticationError, "CALLBACK_SDK_TOKEN"),
        (403, AuthenticationError, "operator"),
        (404, NotFoundError, "name or the id"),
        (409, ConflictError, ""),
        (413, InvalidRequestError, "fewer rows"),
        (422, InvalidRequestError, "nothing was changed"),
        (500, ServiceError, "Try again later"),
    ],
)
def test_every_error_response_has_its_type(
    service: Any, clean_environment: Any, status: int, error: type[ServiceError], hint: str
) -> None:
    """The error has the service's message, the status, the request id and a hint."""
    service.on(
        "GET",
        "/algorithms/tasks/42",
        service.Say(status, {"status": False, "error": "It is so."}, {"X-Request-ID": "r-1"}),
    )
    with Client(service.url, token=TOKEN, retries=0) as client, pytest.raises(error) as caught:
        client.get_task("42")
    assert type(caught.value) is error
    assert (caught.value.status, caught.value.request_id) == (status, "r-1")
    assert f"answered {status}: It is so." in str(caught.value)
    assert hint in caught.value.hint
    assert set(_ERRORS) == {401, 403, 404, 409}


@pytest.mark.parametrize(
    "text", ["No file '../data'.", "Row 7 has '..' in it", "Give 0..9.", "See https://h/a/../b..."]
)
def test_the_services_words_are_kept(client: Client, service: Any, text: str) -> None:
    """Two dots are part of a path or of a range, and not a full stop too many."""
    service.on("POST", PREDICT, service.Say(422, {"error": text}))
    with pytest.raises(InvalidRequestError) as caught:
        client.run_algorithm("an-algorithm", DATA)
    assert text in caught.value.message


def test_a_text_of_urls_is_read_in_linear_time() -> None:
    """A hostile message is truncated before it is searched for queries."""
    text = "http://" * 200_000
    assert len(_scrub(text, Secret(()))) <= 1000
    assert _scrub("at https://h/k?X-Amz-Signature=5f, or", Secret(())) == "at https://h/k?*** or"


def test_several_errors_are_all_told(client: Client, service: Any) -> None:
    """`errors` is a list of them."""
    service.on("POST", PREDICT, service.Say(422, {"status": False, "errors": ["One.", {"two": 2}]}))
    with pytest.raises(InvalidRequestError, match=r'One.; \{"two":2\}'):
        client.run_algorithm("an-algorithm", DATA)


@pytest.mark.parametrize(
    ("say", "message"),
    [
        (
            {"raw": b"<html>Hello</html>", "headers": {"Content-Type": "text/html"}},
            "text/html that can.t be read as JSON",
        ),
        ({"raw": b'{"job_id": '}, "can.t be read as JSON"),
        ({"raw": b"\xff\xfe"}, "can.t be read as JSON"),
        ({"raw": b""}, "can.t be read as JSON"),
        (
            {"raw": b"", "headers": {"Content-Type": ""}},
            "answered 200 with a body without a Content-Type that can.t be read as JSON",
        ),
        ({"data": []}, "not a task"),
        ({"data": {"status": "Finished"}}, "not a task"),
        ({"data": {"job_id": "42", "receipts": [{}]}}, "not a task"),
        ({"data": None}, "not a task"),
        ({"status": 502, "raw": b"<html>Bad Gateway</html>"}, "502: Bad Gateway"),
        ({"status": 500, "data": ["x"]}, "500"),
        ({"status": 500, "data": {"error": {"a": 1}}}, '{"a":1}'),
    ],
)
def test_an_invalid_response_is_an_error(
    service: Any, clean_environment: Any, say: dict[str, Any], message: str
) -> None:
    """Any content results in a typed error that describes it."""
    service.on("GET", "/algorithms/tasks/42", service.Say(**say))
    with Client(service.url, token=TOKEN, retries=0) as client, pytest.raises(ServiceError, match=message):
        client.get_task("42")


def test_a_list_that_is_none_is_an_error(client: Client, service: Any) -> None:
    """So it is where algorithms are expected."""
    for data in ({}, [{}], [1]):
        service.on("GET", "/algorithms", service.Say(data=data))
        with pytest.raises(ServiceError, match="response is not"):
            client.get_algorithms()


def test_a_truncated_response_is_an_error(service: Any, clean_environment: Any) -> None:
    """A body shorter than its Content-Length isn't treated as complete."""
    service.on("GET", "/algorithms/tasks/42", service.Say(data=ACCEPTED, cut=5))
    with Client(service.url, token=TOKEN) as client, pytest.raises(ServiceConnectionError) as caught:
        client.get_task("42")
    assert TOKEN not in shown(caught.value)


def test_every_exception_of_requests_becomes_ours() -> None:
    """No exception of the library below has no place in the map."""

    def kinds(base: type[requests.RequestException]) -> Iterator[type[requests.RequestException]]:
        yield base
        for kind in base.__subclasses__():
            yield from kinds(kind)

    for kind in kinds(requests.RequestException):
        if issubclass(kind, requests.exceptions.JSONDecodeError):
            continue
        error = unreachable(kind(f"trouble with {kind.__name__}"), "http://host/api/v2", may_be_accepted=False)
        assert type(error) is ServiceConnectionError
        assert error.hint


def test_a_service_that_quotes_credentials_is_not_repeated(client: Client, service: Any) -> None:
    """The token, signed URLs and form fields are cut out of the service's words."""
    fields = s3_fields()
    words = f"Bearer {TOKEN}, {SIGNED}, {fields['policy']}, signature {SIGNATURE}"
    service.on("POST", PREDICT, service.Say(422, {"error": words}))
    with pytest.raises(InvalidRequestError) as caught:
        client.run_algorithm("an-algorithm", DATA, callbacks=[SIGNED, (BUCKET, {"s3_fields": fields})])
    for secret in (TOKEN, SIGNATURE, fields["policy"]):
        assert secret not in shown(caught.value)


@pytest.mark.parametrize(
    "response",
    [
        f"400 bad token {TOKEN}\r\n",
        f"500 No\r\nX-Request-ID: {TOKEN}\r\n",
        f"500 No\r\nX-Request-ID: {'x' * 190}{TOKEN}\r\n",
        f"200 OK\r\nContent-Type: {TOKEN}\r\n",
        f"200 OK\r\nX-Request-ID: {TOKEN}\r\n",
        f"307 No\r\nLocation: http://localhost/{TOKEN}\r\nX-Request-ID: {TOKEN}\r\n",
        f"503 No\r\nRetry-After: {TOKEN}\r\n",
        f"{TOKEN} OK\r\n",
        f"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{TOKEN}\r\n",
        f"200 OK\r\nContent-Encoding: gzip, {TOKEN}\r\n",
        f"200 OK\r\nContent-Length: {TOKEN}\r\n",
    ],
)
def test_a_token_anywhere_in_a_response_is_not_repeated(
    clean_environment: Any, caplog: pytest.LogCaptureFixture, response: str
) -> None:
    """No header, no status line and no malformed chunk carries the token into an error, its cause or the log."""
    with (
        answering(f"HTTP/1.1 {response}Connection: close\r\n\r\n".encode()) as url,
        Client(url, token=TOKEN, retries=0) as client,
        pytest.raises(ServiceError) as caught,
    ):
        client.get_task("42")
    for secret in (TOKEN, TOKEN[:10]):
        assert secret not in shown(caught.value)
        assert secret not in f"{vars(caught.value)} {caught.value.__cause__!r} {caplog.text}"


def test_a_password_that_is_not_ascii_is_not_repeated(clean_environment: Any) -> None:
    """A header that quotes it in UTF-8 is read as UTF-8, and the password found in it."""
    head = "HTTP/1.1 401 Unknown: pässwörd\r\nX-Request-ID: pässwörd\r\nConnection: close\r\n\r\n"
    with answering(head.encode()) as url, pytest.raises(AuthenticationError) as caught:
        Client(url, username="anna", password="pässwörd", retries=0).get_task("42")
    assert (caught.value.request_id, caught.value.message) == ("***", "The service answered 401: Unknown: ***.")


@pytest.mark.parametrize("decoded", [False, True])
def test_proxy_that_quotes_its_password_is_redacted(clean_environment: pytest.MonkeyPatch, decoded: bool) -> None:
    """In the reason phrase, and on a page."""

    def script(connection: socket.socket, number: int) -> None:
        head, _ = read_request(connection)
        value = re.search("(?i)proxy-authorization: (.*)", head.decode())[1].strip()  # type: ignore[index]
        said = base64.b64decode(value.split()[1]).decode() if decoded else value
        connection.sendall(answer(f"403 {said}", "Content-Type: text/html", body=f"<title>{said}</title>".encode()))

    with RawServer(script) as proxy:
        clean_environment.setenv("http_proxy", proxy.url.replace("//", "//anna-of-x:s3cr3t-word@"))
        with Client("http://service.example.org", token="t" * 20) as client, pytest.raises(ServiceError) as caught:
            client.get_algorithms()
    assert "***" in str(caught.value)
    for secret in ("anna-of-x", "s3cr3t-word", base64.b64encode(b"anna-of-x:s3cr3t-word").decode()):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "proxy", ["http://anna:s3cr3t-word@h:99999", "socks9://anna:s3cr3t-word@h", "http://a:s3cr3t-word@[::1"]
)
def test_a_proxys_password_is_not_repeated(
    clean_environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, proxy: str
) -> None:
    """An error about the URL of a proxy shows neither user nor password."""
    clean_environment.setenv("HTTP_PROXY", proxy)
    with Client("http://service.test", token=TOKEN, retries=0) as client, pytest.raises(ConfigurationError) as caught:
        client.get_task("42")
    assert "s3cr3t" not in f"{shown(caught.value)} {vars(caught.value)} {caught.value.__cause__!r} {caplog.text}"


@pytest.mark.parametrize("piece", ["@", "a:b@", "://", "http://", "https://a", "?", "http://a?b ", "'", " "])
def test_time_grows_with_the_message_and_not_faster(piece: str) -> None:
    """A service, or a proxy in front of it, may say anything."""

    def work(text: str) -> None:
        _scrub(text, Secret(("secret-token",)))

    assert_linear(work, (piece * 4096)[:4096], (piece * 65536)[:65536], ratio=16)


@pytest.mark.parametrize(
    ("path", "suggested"),
    [("/api/v1", "/api/v2"), ("/api", "/api/v2"), ("/ui", "/ui/api/v2"), ("/jobs/api/v3", "/jobs/api/v2")],
)
def test_the_url_of_another_path_is_corrected(service: Any, path: str, suggested: str) -> None:
    """A service responds there with 404, or with a page for browsers."""
    origin = service.url.removesuffix("/api/v2")
    with Client(origin + path, token=TOKEN, retries=0) as client, pytest.raises(NotFoundError) as caught:
        client.get_task("42")
    assert caught.value.hint == f"The URL of the API ends in /api/v2: try {origin}{suggested}."


def test_queries_of_urls_are_hidden() -> None:
    """A question mark elsewhere stays."""
    text = "Why? See 'https://h/k?sig=1' and (http://h/k?sig=2), not h?x."
    assert _scrub(text, Secret(())) == "Why? See 'https://h/k?***' and (http://h/k?*** not h?x."


def test_https_at_a_port_of_plain_http_has_a_hint(service: Any) -> None:
    """The hint is to use http://, and doesn't mention certificates."""
    url = service.url.replace("http://", "https://")
    with Client(url, token=TOKEN, retries=0) as client, pytest.raises(ServiceConnectionError) as caught:
        client.get_task("42")
    assert caught.value.hint.startswith("Give a URL with http://")
    assert "certificate" not in caught.value.hint
