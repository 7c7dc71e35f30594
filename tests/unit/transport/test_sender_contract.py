"""The contract of a sender: one upload in, one response out, for any behavior of the server.

Every sender in `senders.py` runs these tests. The one on requests shows why this package has a sender of its own: the
points that it fails are expected failures, each with its reason. To try another one, add it there.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
import traceback
from collections.abc import Iterator

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import DeliveryError
from callback_sdk.transport.response import MAX_BODY
from tests.rawserver import RawServer, answer, read_request
from tests.unit.transport.senders import PATIENT, QUICK, SENDERS, Sender, make, upload

BIG = Body(b"x" * 30_000_000)

MARKER = "MARKER7f3a"

REDIRECTED = "requests follows it, a 303 as a GET, and reports the response of the other URL"
ANYWHERE = "requests follows a redirect to any host, and an error has no status"
STRICT = "http.client and urllib3 raise, so that a result which has arrived is sent again"
LOGGED = "urllib3 logs path and query at DEBUG"

FAILS: dict[str, dict[str, dict[str, str]]] = {
    "HTTPSender": {},
    "asyncio": {},
    "multiplexed": {},
    "requests": {
        "test_response_counts_while_the_server_reads_nothing": {
            "": "urllib3 reads an early response after a broken pipe only, not while it sends"
        },
        "test_redirect_that_would_lose_the_body_is_not_followed": {"": REDIRECTED},
        "test_redirect_elsewhere_is_refused": {"": ANYWHERE},
        "test_redirects_have_an_end": {"": "requests follows 30"},
        "test_attempt_has_an_absolute_deadline": {
            "head": "the read timeout holds for one read, which a byte ends",
            "body": "the read timeout holds for one read, which a byte ends",
        },
        "test_response_that_is_not_http_is_a_transient_failure": {
            "half a head": "http.client accepts a truncated head as complete"
        },
        "test_sloppy_response_counts_by_its_status": {
            "not chunked": STRICT,
            "two lengths": STRICT,
            "200 headers": STRICT,
            "interim response": "http.client knows no interim response but 100, and returns it",
        },
        "test_connection_goes_to_the_resolved_address": {"": "requests resolves the name itself"},
        "test_no_log_and_no_error_has_the_urls_query": {
            "success": LOGGED,
            "error": LOGGED,
        },
    },
}
"""Reasons of expected failures, by sender, test and the test's other parameters (empty: all parameters)."""


def expect_failure(request: pytest.FixtureRequest) -> None:
    """Mark a test as an expected failure for the sender that can't pass it."""
    others = request.node.callspec.id.split("-")
    others.remove(request.param)
    reasons = FAILS[request.param].get(request.node.originalname, {})
    if reason := reasons.get("-".join(others), reasons.get("")):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(params=SENDERS)
def sender_name(request: pytest.FixtureRequest) -> str:
    """Give the name of each sender, for tests that make their own."""
    expect_failure(request)
    return request.param


@pytest.fixture(params=SENDERS)
def sender(request: pytest.FixtureRequest) -> Iterator[Sender]:
    """Give each sender."""
    expect_failure(request)
    sender = make(request.param)
    yield sender
    sender.close()


@pytest.fixture(params=SENDERS)
def quick_sender(request: pytest.FixtureRequest) -> Iterator[Sender]:
    """Give each sender, with short timeouts."""
    expect_failure(request)
    sender = make(request.param, QUICK)
    yield sender
    sender.close()


@pytest.fixture(params=SENDERS)
def writing_sender(request: pytest.FixtureRequest) -> Iterator[Sender]:
    """Give each sender, with short timeouts for the one that reads nothing while it sends: only they end its call."""
    expect_failure(request)
    sender = make(request.param, QUICK if request.param == "requests" else PATIENT)
    yield sender
    sender.close()


def test_request_has_only_the_required_headers(sender: Sender) -> None:
    """Length, host and type; no chunks, no compression of the response, and the query unchanged."""
    seen: list[tuple[bytes, bytes]] = []

    def script(connection: socket.socket, number: int) -> None:
        seen.append(read_request(connection))
        connection.sendall(answer("200 OK", 'ETag: "e"'))

    with RawServer(script) as server:
        got = sender.send(upload(f"{server.url}/b/a%20b?X-Amz-Signature=a%2Fb", Body(b"{", b"}")))
    head, body = seen[0]
    lines = head.decode().split("\r\n")
    assert lines[0] == "PUT /b/a%20b?X-Amz-Signature=a%2Fb HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}" in lines
    assert {line.split(":")[0].lower() for line in lines[1:]} == {
        "host",
        "user-agent",
        "accept-encoding",
        "content-length",
        "content-type",
    }
    assert body == b"{}"
    assert (got.status, got.headers["etag"]) == (200, '"e"')


def test_connections_are_reused(sender: Sender) -> None:
    """Ten uploads to one host take one connection."""

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            connection.sendall(answer("200 OK"))

    with RawServer(script) as server:
        for _ in range(10):
            assert sender.send(upload(server.url)).status == 200
        assert server.connections == 1
        sender.close()


def test_connection_that_the_server_closed_is_replaced(sender: Sender) -> None:
    """A server that closes an idle connection costs no attempt."""
    closed = threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("200 OK"))
        connection.close()
        closed.set()

    with RawServer(script) as server:
        for number in range(3):
            closed.clear()
            assert sender.send(upload(server.url)).status == 200
            assert closed.wait(60)
            assert server.connections == number + 1


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_response_before_the_whole_body_was_sent_counts(sender: Sender, how: str) -> None:
    """The error of a server that responds at once isn't lost in a broken pipe."""

    def script(connection: socket.socket, number: int) -> None:
        connection.recv(1000)
        connection.sendall(answer("403 Forbidden", body=b"<Error><Code>AccessDenied</Code></Error>"))
        if how == "resets":
            server.wait(0.2)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with RawServer(script) as server:
        got = sender.send(upload(server.url, BIG))
    assert got.status == 403
    assert b"AccessDenied" in got.body


def test_response_counts_while_the_server_reads_nothing(writing_sender: Sender) -> None:
    """The rest of the body isn't sent to a server that has responded and keeps the connection open."""

    def script(connection: socket.socket, number: int) -> None:
        connection.recv(1000)
        connection.sendall(answer("403 Forbidden"))
        server.wait(60)

    with RawServer(script) as server:
        assert writing_sender.send(upload(server.url, BIG)).status == 403


def test_success_before_the_whole_body_was_sent_is_a_failure(writing_sender: Sender) -> None:
    """A result that was not sent as a whole can't have been stored."""

    def script(connection: socket.socket, number: int) -> None:
        connection.recv(1000)
        connection.sendall(answer("200 OK"))
        server.wait(60)

    with RawServer(script) as server, pytest.raises(DeliveryError) as caught:
        writing_sender.send(upload(server.url, BIG))
    assert caught.value.retryable


@pytest.mark.parametrize("status", [307, 308])
def test_upload_follows_a_redirect_with_its_whole_body(sender: Sender, status: int) -> None:
    """Same method, same bytes, to another port of the same host."""
    seen: list[tuple[bytes, bytes]] = []

    def far(connection: socket.socket, number: int) -> None:
        seen.append(read_request(connection))
        connection.sendall(answer("200 OK"))

    def near(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer(f"{status} Go", f"Location: {there.url}/b/k?signed=1"))

    with RawServer(far) as there, RawServer(near) as here:
        got = sender.send(upload(f"{here.url}/b/k", Body(b'{"a":', b"1}")))
    assert got.status == 200
    assert seen[0][0].startswith(b"PUT /b/k?signed=1 ")
    assert seen[0][1] == b'{"a":1}'


@pytest.mark.parametrize("status", [301, 302, 303])
def test_redirect_that_would_lose_the_body_is_not_followed(sender: Sender, status: int) -> None:
    """The response is returned: no GET, no empty PUT."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer(f"{status} Go", "Location: /elsewhere"))

    with RawServer(script) as server:
        assert sender.send(upload(server.url)).status == status
        assert server.connections == 1


@pytest.mark.parametrize(
    "location",
    ["http://localhost:1/x", "http://evil.invalid/x?take=it", "ftp://127.0.0.1/x", "http://[::1/x", ""],
    ids=["another name", "another host", "another scheme", "malformed", "missing"],
)
def test_redirect_elsewhere_is_refused(sender: Sender, location: str) -> None:
    """The body isn't sent to another host, and the error has the status."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("307 Go", *([f"Location: {location}"] if location else [])))

    with RawServer(script) as server, pytest.raises(DeliveryError) as caught:
        sender.send(upload(server.url))
    assert caught.value.status == 307
    assert not caught.value.retryable


def test_webhook_is_not_redirected(sender: Sender) -> None:
    """A 307 is returned for an upload that may not be redirected."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("307 Go", "Location: /elsewhere"))

    with RawServer(script) as server:
        assert sender.send(upload(server.url, redirects=False)).status == 307


def test_redirects_have_an_end(sender: Sender) -> None:
    """Three are followed, and a fourth is not."""
    count = 0

    def script(connection: socket.socket, number: int) -> None:
        nonlocal count
        while read_request(connection)[0]:
            count += 1
            connection.sendall(answer("307 Go", f"Location: /{count}"))

    with RawServer(script) as server:
        with pytest.raises(DeliveryError):
            sender.send(upload(server.url))
        sender.close()
    assert count == 4


@pytest.mark.parametrize("drip", ["nothing", "head", "body"])
def test_attempt_has_an_absolute_deadline(quick_sender: Sender, drip: str) -> None:
    """A byte now and then doesn't hold an attempt beyond its timeout."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        head = {"nothing": b"", "head": b"HTTP/1.1 200 OK\r\nX-Slow: ", "body": b"HTTP/1.1 200 OK\r\n\r\n"}[drip]
        connection.sendall(head)
        # Longer than the timeout, but not for ever: a sender without a deadline has to end too.
        for _ in range(25):
            server.wait(0.1)
            connection.sendall(b"x" if drip != "nothing" else b"")

    with RawServer(script) as server, pytest.raises(DeliveryError) as caught:
        quick_sender.send(upload(server.url))
    assert caught.value.retryable


def test_response_body_is_read_up_to_64_kib(sender: Sender) -> None:
    """The rest is neither awaited nor kept."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n")
        while True:
            connection.sendall(b"y" * 100_000)

    with RawServer(script) as server:
        got = sender.send(upload(server.url))
    assert (got.status, len(got.body)) == (500, MAX_BODY)


@pytest.mark.parametrize(
    "garbage",
    [b"", b"HTTP/1.1 200 OK\r\nETag: ", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n"],
    ids=["nothing", "half a head", "another protocol", "no status"],
)
def test_response_that_is_not_http_is_a_transient_failure(sender: Sender, garbage: bytes) -> None:
    """A proxy that is starting may send anything."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(garbage)

    with RawServer(script) as server, pytest.raises(DeliveryError) as caught:
        sender.send(upload(server.url))
    assert caught.value.retryable


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nX y: \x01\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
    ids=[
        "no reason",
        "line feeds",
        "204 with a body",
        "longer than its length",
        "not chunked",
        "until the end",
        "malformed header",
        "two lengths",
        "interim response",
        "HTTP/1.0",
        "200 headers",
    ],
)
def test_sloppy_response_counts_by_its_status(sender: Sender, response: bytes) -> None:
    """The receiver has the result, so it isn't sent again, not even after an idle connection."""
    requests: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        requests.append(read_request(connection)[0])
        connection.sendall(answer("200 OK"))
        if head := read_request(connection)[0]:
            requests.append(head)
            connection.sendall(response)

    with RawServer(script) as server:
        sender.send(upload(server.url))
        assert sender.send(upload(server.url)).status in (200, 204)
        sender.close()
    assert len(requests) == 2


def test_response_that_is_not_http_is_not_taken_for_a_stale_connection(sender: Sender) -> None:
    """The server has read the request; the caller decides whether to send it again."""
    requests: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        while head := read_request(connection)[0]:
            requests.append(head)
            connection.sendall(answer("200 OK") if len(requests) == 1 else b"gibberish\r\n")

    with RawServer(script) as server:
        sender.send(upload(server.url))
        with pytest.raises(DeliveryError):
            sender.send(upload(server.url))
        sender.close()
    assert len(requests) == 2


def test_unicode_in_a_webhooks_path_is_encoded(sender: Sender) -> None:
    """Percent-escapes in the URL stay as they are."""
    seen: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        seen.append(read_request(connection)[0])
        connection.sendall(answer("200 OK"))

    with RawServer(script) as server:
        sender.send(upload(f"{server.url}/hook/ü%20x?q=é&r=%2F"))
    assert seen[0].startswith(b"PUT /hook/%C3%BC%20x?q=%C3%A9&r=%2F HTTP/1.1\r\n")


def test_connection_goes_to_the_resolved_address(sender_name: str) -> None:
    """The name is not resolved a second time, and the Host header keeps it: the address is the one that was checked."""
    seen: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        seen.append(read_request(connection)[0])
        connection.sendall(answer("200 OK"))

    with RawServer(script) as server:
        place = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", server.port))
        sender = make(sender_name, resolve=lambda url, deadline: [place])
        assert sender.send(upload(f"http://pinned.invalid:{server.port}/b/k")).status == 200
        sender.close()
    assert f"\r\nHost: pinned.invalid:{server.port}\r\n".encode() in seen[0]


@pytest.mark.parametrize("status", [200, 403, None], ids=["success", "error", "no response"])
def test_no_log_and_no_error_has_the_urls_query(
    sender: Sender, caplog: pytest.LogCaptureFixture, status: int | None
) -> None:
    """A presigned URL is a credential, at every level of every library's logger, and in the error's causes."""
    # The service sets the levels of libraries' loggers, and its tests may have run in this process.
    for name in (None, "urllib3.connectionpool", "callback_sdk"):
        caplog.set_level(logging.DEBUG, logger=name)

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        if status is not None:
            connection.sendall(answer(f"{status} Status"))

    text = ""
    with RawServer(script) as server:
        try:
            sender.send(upload(f"{server.url}/b/k?X-Amz-Signature={MARKER}"))
        except DeliveryError as error:
            text = "".join(traceback.format_exception(error))
    assert MARKER not in caplog.text + text
