"""One upload in, one answer out, whatever the server does."""

from __future__ import annotations

import socket
import struct
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from callback_sdk.documents.body import Body, PathPart
from callback_sdk.errors import DeliveryError, EncodingError
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.upload import Upload
from callback_sdk.transport import sockets
from callback_sdk.transport.http import PACKET_SIZE, HTTPSender, Timeouts
from callback_sdk.transport.response import MAX_BODY
from tests.rawserver import RawServer, answer, read_request

QUICK = Timeouts(connect=timedelta(seconds=2), read=timedelta(seconds=0.5), attempt=timedelta(seconds=1))
BIG = Body(b"x" * 30_000_000)


def upload(url: str, body: Body | None = None, *, redirects: bool = True) -> Upload:
    body = body or Body(b"{}")
    return Upload(
        kind="s3-put",
        method="PUT",
        url=SecretURL(url),
        headers=Secret({"content-type": "application/json"}),
        body=body,
        document=body,
        expires_at=None,
        accepts=frozenset({200}),
        redirects=redirects,
    )


@pytest.fixture
def sender() -> HTTPSender:
    """Send with short time-outs."""
    sender = HTTPSender(timeouts=QUICK)
    yield sender
    sender.close()


def test_request_has_what_it_needs_and_no_more(sender: HTTPSender) -> None:
    """Length, host, type; no chunks, no compression of the answer, the query as it was."""
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


def test_connections_are_used_again(sender: HTTPSender) -> None:
    """Ten uploads to one host take one connection."""

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            connection.sendall(answer("200 OK"))

    with RawServer(script) as server:
        for _ in range(10):
            assert sender.send(upload(server.url)).status == 200
        assert server.connections == 1
        sender.close()


def test_connection_that_went_stale_is_replaced(sender: HTTPSender) -> None:
    """A server that closes a resting connection costs no try."""
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
            assert closed.wait(5)
            assert server.connections == number + 1


def test_connections_that_nobody_uses_any_more_are_closed(monkeypatch: pytest.MonkeyPatch, sender: HTTPSender) -> None:
    """A service that sends to a thousand hosts doesn't keep a thousand connections."""
    ended = threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            connection.sendall(answer("200 OK"))
        ended.set()

    def other(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("200 OK", "Connection: keep-alive"))
        connection.recv(1)

    monkeypatch.setattr(sockets, "IDLE_LIMIT", timedelta(0))
    with RawServer(script) as once, RawServer(other) as now:
        sender.send(upload(once.url))
        sender.send(upload(now.url))
        assert ended.wait(5)
        sender.close()


@pytest.mark.parametrize("how", ["keeps open", "closes", "resets"])
def test_answer_before_the_body_is_through_counts(sender: HTTPSender, how: str) -> None:
    """A server that refuses at once is heard, not drowned in a broken pipe."""

    def script(connection: socket.socket, number: int) -> None:
        connection.recv(1000)
        connection.sendall(answer("403 Forbidden", body=b"<Error><Code>AccessDenied</Code></Error>"))
        if how == "keeps open":
            server.wait(5)
        if how == "resets":
            server.wait(0.2)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with RawServer(script) as server:
        got = sender.send(upload(server.url, BIG))
    assert got.status == 403
    assert b"AccessDenied" in got.body


def test_success_before_the_body_is_through_is_none(sender: HTTPSender) -> None:
    """Nobody can have stored what was not sent yet."""

    def script(connection: socket.socket, number: int) -> None:
        connection.recv(1000)
        connection.sendall(answer("200 OK"))
        server.wait(5)

    with RawServer(script) as server, pytest.raises(DeliveryError, match="before the whole body was sent") as caught:
        sender.send(upload(server.url, BIG))
    assert caught.value.retryable


@pytest.mark.parametrize("status", [307, 308])
def test_upload_follows_a_redirect_with_its_whole_body(sender: HTTPSender, status: int) -> None:
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
def test_redirect_that_would_lose_the_body_is_not_followed(sender: HTTPSender, status: int) -> None:
    """The answer is what it is: no GET, no empty PUT."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer(f"{status} Go", "Location: /elsewhere"))

    with RawServer(script) as server:
        assert sender.send(upload(server.url)).status == status
        assert server.connections == 1


@pytest.mark.parametrize(
    ("location", "word"),
    [
        ("http://localhost:1/x", "another host"),
        ("http://evil.example/x?take=it", "another host"),
        ("ftp://127.0.0.1/x", "usable Location"),
        ("http://[::1/x", "usable Location"),
        ("", "usable Location"),
    ],
)
def test_redirect_elsewhere_is_refused(sender: HTTPSender, location: str, word: str) -> None:
    """The body goes to no host that was not named."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("307 Go", *([f"Location: {location}"] if location else [])))

    with RawServer(script) as server, pytest.raises(DeliveryError, match=word) as caught:
        sender.send(upload(server.url))
    assert caught.value.status == 307
    assert not caught.value.retryable


def test_webhook_is_not_redirected(sender: HTTPSender) -> None:
    """A 307 is an answer for an upload that may not be redirected."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("307 Go", "Location: /elsewhere"))

    with RawServer(script) as server:
        assert sender.send(upload(server.url, redirects=False)).status == 307


def test_redirects_have_an_end(sender: HTTPSender) -> None:
    """Three are followed, and a fourth is not."""
    count = 0

    def script(connection: socket.socket, number: int) -> None:
        nonlocal count
        while read_request(connection)[0]:
            count += 1
            connection.sendall(answer("307 Go", f"Location: /{count}"))

    with RawServer(script) as server:
        with pytest.raises(DeliveryError, match="more than 3 times"):
            sender.send(upload(server.url))
        sender.close()
    assert count == 4


@pytest.mark.parametrize("drip", ["nothing", "head", "body"])
def test_server_that_never_ends_its_answer_is_left(sender: HTTPSender, drip: str) -> None:
    """A byte now and then doesn't hold an attempt beyond its own time."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        head = {"nothing": b"", "head": b"HTTP/1.1 200 OK\r\nX-Slow: ", "body": b"HTTP/1.1 200 OK\r\n\r\n"}[drip]
        connection.sendall(head)
        while not server._closing.wait(0.1):
            connection.sendall(b"x" if drip != "nothing" else b"")

    with RawServer(script) as server, pytest.raises(DeliveryError, match="in time") as caught:
        sender.send(upload(server.url))
    assert caught.value.retryable


def test_long_answer_is_not_read_to_its_end(sender: HTTPSender) -> None:
    """64 KiB are enough of any error."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n")
        while True:
            connection.sendall(b"y" * 100_000)

    with RawServer(script) as server:
        got = sender.send(upload(server.url))
    assert (got.status, len(got.body)) == (500, MAX_BODY)


@pytest.mark.parametrize(
    ("garbage", "said"),
    [
        (b"", "closed the connection without a response"),
        (b"HTTP/1.1 200 OK\r\nETag: ", "closed the connection|not HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "not HTTP"),
    ],
)
def test_answer_that_is_no_http_is_a_passing_fault(sender: HTTPSender, garbage: bytes, said: str) -> None:
    """A proxy that is starting up may say anything."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(garbage)

    with RawServer(script) as server, pytest.raises(DeliveryError, match=said) as caught:
        sender.send(upload(server.url))
    assert caught.value.retryable
    assert caught.value.transient


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
)
def test_sloppy_response_counts_by_its_status(sender: HTTPSender, response: bytes) -> None:
    """The receiver has the result, so it isn't sent again, not even over a connection that rested before."""
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


def test_response_that_is_not_http_is_not_taken_for_a_stale_connection(sender: HTTPSender) -> None:
    """The server has read the request; whether to send it again is the caller's decision."""
    requests: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        while head := read_request(connection)[0]:
            requests.append(head)
            connection.sendall(answer("200 OK") if len(requests) == 1 else b"gibberish\r\n")

    with RawServer(script) as server:
        sender.send(upload(server.url))
        with pytest.raises(DeliveryError, match="not HTTP"):
            sender.send(upload(server.url))
        sender.close()
    assert len(requests) == 2


def test_server_with_tls_is_told_from_a_broken_one(sender: HTTPSender) -> None:
    """http to a port with TLS: the error names https, and one write doesn't try again."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(b"\x15\x03\x03\x00\x02\x02\x46")

    with RawServer(script) as server, pytest.raises(DeliveryError, match=r"speaks TLS .*https://") as caught:
        sender.send(upload(server.url))
    assert (caught.value.retryable, caught.value.transient) == (True, False)


def test_refused_connection_says_so(sender: HTTPSender) -> None:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DeliveryError, match="refuses connections"):
        sender.send(upload(f"http://127.0.0.1:{port}/"))


def test_unknown_host_says_so(sender: HTTPSender) -> None:
    """The name doesn't resolve."""
    with pytest.raises(DeliveryError, match="can't be resolved"):
        sender.send(upload("http://nowhere.invalid/"))


def test_server_without_tls_says_so(sender: HTTPSender) -> None:
    """https to a plain server ends in a typed error."""

    def script(connection: socket.socket, number: int) -> None:
        connection.recv(1000)
        connection.sendall(answer("400 Bad Request"))

    with RawServer(script) as server, pytest.raises(DeliveryError, match="does not speak TLS") as caught:
        sender.send(upload(f"https://127.0.0.1:{server.port}/"))
    assert (caught.value.retryable, caught.value.transient) == (True, False)


def test_file_that_changes_breaks_the_upload_off(sender: HTTPSender, tmp_path: Path) -> None:
    """The store never sees a whole request with half of another file in it."""
    path = tmp_path / "results.json"
    path.write_bytes(b"[1]")
    body = Body(b"{" * PACKET_SIZE, PathPart(path), b"}")
    path.write_bytes(b"[1, 2]")
    got: list[bytes] = []
    ended = threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        while chunk := connection.recv(1000):
            got.append(chunk)
        ended.set()

    with RawServer(script) as server:
        with pytest.raises(EncodingError, match="was changed"):
            sender.send(upload(server.url, body))
        assert ended.wait(5)
    assert b"".join(got).endswith(b"\r\n\r\n")


def test_unicode_in_a_webhooks_path_is_encoded(sender: HTTPSender) -> None:
    """What is there already as %-escapes stays as it is."""
    seen: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        seen.append(read_request(connection)[0])
        connection.sendall(answer("200 OK"))

    with RawServer(script) as server:
        sender.send(upload(f"{server.url}/hook/ü%20x?q=é&r=%2F"))
    assert seen[0].startswith(b"PUT /hook/%C3%BC%20x?q=%C3%A9&r=%2F HTTP/1.1\r\n")
