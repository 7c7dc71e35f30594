"""Connections: limits, timeouts, and exhausted file descriptors."""

from __future__ import annotations

import errno
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from http.client import HTTPResponse
from typing import Any

import pytest
import uvicorn

from callback_sdk.service.api import connections as module
from callback_sdk.service.api.client_addresses import LOOPBACK
from callback_sdk.service.api.connections import ConnectionLimits, Connections, Listener, uvicorn_options
from callback_sdk.service.api.forwarded import ForwardedRequests
from tests.topology import wait_until

REQUEST = b"GET / HTTP/1.1\r\nHost: service\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: service\r\nContent-Length: 4\r\n\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Respond with the client's address after reading the whole body."""
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", str(len(scope["client"][0])).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": scope["client"][0].encode()})


class Server:
    """A server in a thread with a clock that the test advances."""

    def __init__(self, listener: Listener, *, total: int, per_address: int, proxies: Any) -> None:
        self._now = 0.0
        self._port = listener.getsockname()[1]
        limits = ConnectionLimits(total=total, per_address=per_address, trusted_proxies=proxies)
        self._connections = Connections(limits, clock=lambda: self._now)
        self._seen: set[Any] = set()
        add = self._connections.add

        def seen(connection: Any) -> str | None:
            refusal = add(connection)
            self._seen.add(connection.client)
            return refusal

        self._connections.add = seen  # type: ignore[method-assign]
        options = uvicorn_options(self._connections)
        app = ForwardedRequests(echo, trusted=proxies)
        self._server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, **options))
        self._loop: Future[Any] = Future()
        self._server.config.callback_notify = self._started
        self._server.config.timeout_notify = 0
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()
        self._loop.result(120)

    async def _started(self) -> None:
        import asyncio

        if not self._loop.done():
            self._loop.set_result(asyncio.get_running_loop())

    def connect(self, source: str = "127.0.0.2") -> socket.socket:
        """Connect, and wait until the server has seen it."""
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=30, source_address=(source, 0))
        wait_until(lambda: connection.getsockname() in self._seen)
        return connection

    def wait_for_requests(self, count: int) -> None:
        """Wait until so many connections are in the middle of a request."""
        wait_until(lambda: sum(not one.is_waiting for one in tuple(self._connections._open)) == count)

    def pass_time(self, seconds: float) -> None:
        """Put the clock forward, and look at all connections."""
        done = threading.Event()

        def sweep() -> None:
            self._now += seconds
            self._connections.sweep()
            done.set()

        self._loop.result().call_soon_threadsafe(sweep)
        assert done.wait(120)

    def close(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(120)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server."""
    with ExitStack() as stack:

        def start(*, total: int = 20, per_address: int = 4, proxies: Any = LOOPBACK) -> Server:
            listener = Listener.of(socket.create_server(("127.0.0.1", 0)))
            stack.callback(listener.close)
            server = Server(listener, total=total, per_address=per_address, proxies=proxies)
            stack.callback(server.close)
            return server

        yield start


def answer(connection: socket.socket) -> tuple[int | None, bytes]:
    """Return status and body; no status when the connection has ended without an answer."""
    response = HTTPResponse(connection)
    try:
        response.begin()
    except ConnectionError:
        return None, b""
    return response.status, response.read()


def asked(connection: socket.socket, request: bytes = REQUEST) -> tuple[int | None, bytes]:
    connection.sendall(request)
    return answer(connection)


def test_the_longest_idle_connection_is_evicted(serve: Callable[..., Server]) -> None:
    """Idle connections above the limit of an address are closed, oldest first, and no request is rejected."""
    server = serve(per_address=4)
    with ExitStack() as stack:
        idle = []
        for _ in range(10):
            idle.append(stack.enter_context(server.connect()))
            server.pass_time(0.1)
        assert asked(stack.enter_context(server.connect()))[0] == 200
        assert [answer(connection)[0] for connection in idle[:7]] == [None] * 7
        assert asked(idle[-1])[0] == 200


def test_busy_connections_of_one_address_do_not_block_others(serve: Callable[..., Server]) -> None:
    """An address with all its connections in the middle of a request gets no further one, but another address does."""
    server = serve(per_address=2)
    with ExitStack() as stack:
        busy = [stack.enter_context(server.connect()) for _ in range(2)]
        for connection in busy:
            connection.sendall(POST)
        server.wait_for_requests(len(busy))
        status, body = answer(stack.enter_context(server.connect()))
        assert status == 503
        assert "Reuse them" in json.loads(body)["error"]
        assert asked(stack.enter_context(server.connect("127.0.0.3")))[0] == 200
        assert [asked(connection, b"body")[0] for connection in busy] == [200, 200]


def test_a_stalled_request_is_evicted(serve: Callable[..., Server]) -> None:
    """If all connections are in the middle of a request, a stalled one is closed."""
    server = serve(total=8, proxies=LOOPBACK)
    with ExitStack() as stack:
        halves = [stack.enter_context(server.connect("127.0.0.1")) for _ in range(8)]
        for connection in halves:
            connection.sendall(POST)
        server.wait_for_requests(len(halves))
        assert answer(stack.enter_context(server.connect()))[0] == 503
        server.pass_time(6)
        halves[0].sendall(b"x")
        wait_until(lambda: any(not one.is_stalled for one in tuple(server._connections._open)))
        assert asked(stack.enter_context(server.connect()))[0] == 200
        assert asked(halves[0], b"end")[0] == 200


def test_the_slowest_body_is_evicted(serve: Callable[..., Server]) -> None:
    """If all connections are receiving bodies, the slowest is closed, unless it is fast enough."""
    server = serve(total=8, proxies=LOOPBACK)
    post = POST.replace(b"Length: 4", b"Length: 1000000")

    def drip(bodies: list[socket.socket], size: int) -> None:
        for _ in range(4):
            server.pass_time(0.75)
            total = sum(one._received for one in tuple(server._connections._open))
            for body in bodies:
                body.sendall(b"x" * size)
            end = total + size * len(bodies)
            wait_until(lambda end=end: sum(one._received for one in tuple(server._connections._open)) == end)

    with ExitStack() as stack:
        bodies = [stack.enter_context(server.connect("127.0.0.1")) for _ in range(8)]
        for body in bodies:
            body.sendall(post)
        server.wait_for_requests(len(bodies))
        drip(bodies, 16 * 1024)
        assert answer(stack.enter_context(server.connect()))[0] == 503
        drip(bodies[1:], 16 * 1024)
        bodies[0].sendall(b"x")
        wait_until(lambda: not any(one.is_stalled for one in tuple(server._connections._open)))
        assert [one.is_slow for one in tuple(server._connections._open)].count(True) == 1
        assert asked(stack.enter_context(server.connect()))[0] == 200
        assert answer(bodies[0])[0] is None


def test_a_full_server_ends_connections_of_whoever_has_most(serve: Callable[..., Server]) -> None:
    """A flood from one address makes room itself: the idle connection of another address stays."""
    server = serve(total=8, per_address=7)
    with ExitStack() as stack:
        other = stack.enter_context(server.connect("127.0.0.3"))
        assert asked(other)[0] == 200
        flood = [stack.enter_context(server.connect()) for _ in range(7)]
        assert asked(stack.enter_context(server.connect("127.0.0.4")))[0] == 200
        assert asked(other)[0] == 200
        assert None in [asked(connection)[0] for connection in flood]


def test_a_trusted_proxy_has_no_limit_per_address(serve: Callable[..., Server]) -> None:
    """All connections come from the proxy, and its header names the client; the header of others is ignored."""
    server = serve(per_address=2)
    forwarded = REQUEST.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n\r\n")
    with ExitStack() as stack:
        behind = [stack.enter_context(server.connect("127.0.0.1")) for _ in range(6)]
        assert [asked(connection, forwarded) for connection in behind] == [(200, b"192.0.2.7")] * 6
        assert asked(stack.enter_context(server.connect()), forwarded) == (200, b"127.0.0.2")


def test_an_idle_connection_is_closed(serve: Callable[..., Server]) -> None:
    """The first request must arrive within 15 s, later ones within the keep-alive timeout."""
    server = serve()
    with server.connect() as silent, server.connect() as kept:
        assert asked(kept)[0] == 200
        server.pass_time(16)
        assert answer(silent)[0] is None
        assert asked(kept)[0] == 200


@pytest.mark.parametrize("before", [b"", REQUEST])
def test_the_head_of_a_request_has_a_time_limit(serve: Callable[..., Server], before: bytes) -> None:
    """A client that sends single bytes gets a 408, for later requests of a connection too."""
    server = serve()
    with server.connect() as slow:
        if before:
            assert asked(slow, before)[0] == 200
            wait_until(lambda: not any(one._begun for one in tuple(server._connections._open)))
        for byte in b"GET ":
            slow.sendall(bytes([byte]))
            wait_until(lambda: any(one._begun for one in tuple(server._connections._open)))
            wait_until(lambda: all(one._heard == server._now for one in tuple(server._connections._open)))
            server.pass_time(4)
        assert answer(slow)[0] == 408


def test_invalid_http_gets_a_json_response(serve: Callable[..., Server]) -> None:
    """The response has `nosniff` like all others."""
    server = serve()
    with server.connect() as connection:
        connection.sendall(b"\x16\x03\x01\r\n\r\n")
        response = HTTPResponse(connection)
        response.begin()
        assert (response.status, response.headers["x-content-type-options"]) == (400, "nosniff")
        assert json.loads(response.read())["status"] is False


def test_limits_fit_the_open_files(caplog: pytest.LogCaptureFixture) -> None:
    """At most half of them are connections, and the log says which limit to raise."""
    assert ConnectionLimits(total=1000).fit_to(100_000).total == 1000
    assert ConnectionLimits(total=1000).fit_to(256).total == 128
    assert "ulimit -n" in caplog.text


def test_a_connection_without_a_descriptor_is_closed_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The listener continues, and logs at most one line a minute."""
    monkeypatch.setattr(module._exhausted, "_last", -1e9)
    with Listener.of(socket.create_server(("127.0.0.1", 0))) as listener, ExitStack() as stack:
        listener.setblocking(False)
        waiting = [stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(6)]
        real = socket.socket.accept
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            calls = iter([True, False] * 5)

            def accept(self: socket.socket) -> Any:
                if next(calls):
                    raise OSError(errno.EMFILE, "Too many open files")
                return real(self)

            patch.setattr(socket.socket, "accept", accept)
            for _ in range(5):
                with pytest.raises(BlockingIOError):
                    listener.accept()
        for connection in waiting[:5]:
            assert connection.recv(1) == b""
        accepted, _ = listener.accept()
        stack.enter_context(accepted)
    assert caplog.text.count("closed unanswered") == 1
