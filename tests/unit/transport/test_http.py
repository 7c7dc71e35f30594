"""callback_sdk.transport.http: error texts and connection pool. test_sender_contract.py has the contract of senders."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from callback_sdk.documents.body import Body, PathPart
from callback_sdk.errors import DeliveryError, EncodingError
from callback_sdk.transport import sockets
from callback_sdk.transport.http import PACKET_SIZE, HTTPSender
from tests.rawserver import RawServer, answer, read_request
from tests.unit.transport.senders import PATIENT, upload


@pytest.fixture
def sender() -> Iterator[HTTPSender]:
    """Send with timeouts that don't run out."""
    sender = HTTPSender(timeouts=PATIENT)
    yield sender
    sender.close()


def test_unused_connections_are_closed(monkeypatch: pytest.MonkeyPatch, sender: HTTPSender) -> None:
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
        assert ended.wait(60)
        sender.close()


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
        assert ended.wait(60)
    assert b"".join(got).endswith(b"\r\n\r\n")


def test_http_to_a_server_with_tls_has_a_hint(sender: HTTPSender) -> None:
    """The error suggests https, and one write doesn't retry."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(b"\x15\x03\x03\x00\x02\x02\x46")

    with RawServer(script) as server, pytest.raises(DeliveryError, match=r"speaks TLS .*https://") as caught:
        sender.send(upload(server.url))
    assert (caught.value.retryable, caught.value.transient) == (True, False)


def test_server_without_tls_says_so(sender: HTTPSender) -> None:
    """https to a plain server ends in a typed error."""

    def script(connection: socket.socket, number: int) -> None:
        connection.recv(1000)
        connection.sendall(answer("400 Bad Request"))

    with RawServer(script) as server, pytest.raises(DeliveryError, match="does not speak TLS") as caught:
        sender.send(upload(f"https://127.0.0.1:{server.port}/"))
    assert (caught.value.retryable, caught.value.transient) == (True, False)


def test_unknown_host_says_so(sender: HTTPSender) -> None:
    """The name doesn't resolve."""
    with pytest.raises(DeliveryError, match="can't be resolved"):
        sender.send(upload("http://nowhere.invalid/"))


def test_refused_connection_is_reported(sender: HTTPSender) -> None:
    """No server listens at the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DeliveryError, match="refuses connections"):
        sender.send(upload(f"http://127.0.0.1:{port}/"))


@pytest.mark.parametrize(
    ("response", "said", "transient"),
    [
        (b"", "closed the connection without a response", True),
        (b"HTTP/1.1 200 OK\r\nETag: ", "closed the connection|not HTTP", True),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP", True),
        (answer("307 Go", "Location: http://localhost:1/x"), "which is another host; the upload was not sent", False),
        (answer("307 Go", "Location: ftp://127.0.0.1/x"), "without a usable Location", False),
        (answer("307 Go"), "without a usable Location", False),
    ],
    ids=["nothing", "half a head", "another protocol", "another host", "another scheme", "no location"],
)
def test_error_describes_the_servers_behavior(sender: HTTPSender, response: bytes, said: str, transient: bool) -> None:
    """It also tells whether an attempt within minutes may succeed."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(response)

    with RawServer(script) as server, pytest.raises(DeliveryError, match=said) as caught:
        sender.send(upload(server.url))
    assert caught.value.transient is transient


def test_early_success_is_explained(sender: HTTPSender) -> None:
    """A 200 before the body was sent is caused by a broken proxy."""

    def script(connection: socket.socket, number: int) -> None:
        connection.recv(1000)
        connection.sendall(answer("200 OK"))
        server.wait(60)

    with RawServer(script) as server, pytest.raises(DeliveryError, match="before the whole body was sent"):
        sender.send(upload(server.url, Body(b"x" * 30_000_000)))


@pytest.mark.parametrize(
    ("location", "said"), [("/elsewhere", "path"), ("//127.0.0.1:1/x", "port of this host"), ("//127.0.0.2/x", "host")]
)
def test_a_rejected_redirect_says_what_is_different(location: str, said: str) -> None:
    """Another path of the same host is not another host."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("307 Go", f"Location: {location}"))

    sender = HTTPSender(timeouts=PATIENT, may_redirect=lambda url, to: False)
    with RawServer(script) as server, pytest.raises(DeliveryError, match=f"which is another {said};"):
        sender.send(upload(server.url))
    sender.close()
