"""Waiting for sockets, with `select.poll` and where something has removed it."""

from __future__ import annotations

import select
import socket

import pytest

from callback_sdk.transport import polling
from callback_sdk.transport.http import HTTPSender
from callback_sdk.transport.polling import READ, WRITE
from tests.rawserver import RawServer, answer, read_request
from tests.unit.transport.test_http import upload


@pytest.fixture(params=["poll", "select"], autouse=True)
def patched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test as it is, and as after `eventlet.monkey_patch()`."""
    if request.param == "select":
        for name in ("poll", "epoll", "devpoll", "kqueue"):
            monkeypatch.delattr(select, name, raising=False)


def test_socket_is_readable_when_something_came_or_it_ended() -> None:
    """Both matter for a connection that rests."""
    one, other = socket.socketpair()
    with one, other:
        assert not polling.readable(one)
        other.sendall(b"x")
        assert polling.readable(one)
        assert one.recv(1) == b"x"
        other.close()
        assert polling.readable(one)


def test_socket_is_reported_as_readable_or_writable() -> None:
    """Or as both, or as neither on timeout."""
    one, other = socket.socketpair()
    with one, other:
        assert polling.ready([one], READ | WRITE, 3e6) == {one: WRITE}
        other.sendall(b"x")
        assert polling.ready([one], READ | WRITE, 60) == {one: READ | WRITE}
        assert polling.ready([one], READ, 60) == {one: READ}
        assert one.recv(1) == b"x"
        one.setblocking(False)
        while polling.ready([one], WRITE, 0):
            one.send(b"x" * 65536)
        assert polling.ready([one], READ | WRITE, 0) == {}


def test_failed_connection_is_ready() -> None:
    """The caller gets the error from the socket."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as good, socket.socket() as bad:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            nobody = gone.getsockname()
        for sock, place in ((good, server.getsockname()), (bad, nobody)):
            sock.setblocking(False)
            sock.connect_ex(place)
        ready: set[socket.socket] = set()
        while len(ready) < 2:
            ready |= set(polling.ready([good, bad], WRITE, 10))
        assert ready == {good, bad}
        assert polling.ready([], WRITE, 0) == {}


def test_uploads_go_through() -> None:
    """Several over one connection."""

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            connection.sendall(answer("200 OK"))

    with RawServer(script) as server:
        sender = HTTPSender()
        assert [sender.send(upload(server.url)).status for _ in range(3)] == [200, 200, 200]
        assert server.connections == 1
        sender.close()
