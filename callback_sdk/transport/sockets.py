"""Connections for uploads: to addresses that were resolved and checked before, each wait bounded by a deadline."""

from __future__ import annotations

import base64
import socket
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import define

from callback_sdk.concurrency.forking import PerProcess, RLock
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.body import FileRange
from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.hosts import default_port, port_of
from callback_sdk.transport.connect import Addresses, connect_happy_eyeballs, resolve, time_left
from callback_sdk.transport.driver import Driver
from callback_sdk.transport.polling import READ, WRITE, readable
from callback_sdk.transport.proxy_errors import ProxyUnreachableError, TunnelError
from callback_sdk.transport.response import ResponseParser

IDLE_LIMIT = timedelta(seconds=20)
"""Idle time after which a connection isn't reused. Servers close theirs after 5 s (Apache) to 75 s (nginx)."""

Resolve = Callable[[SecretURL, float], Addresses]
"""From a URL and a deadline (monotonic clock) to the addresses to connect to."""

_MAX_TUNNELS = 4
"""Addresses of a target that a proxy is asked for."""

Key = tuple[str, str, int]
"""Scheme, host and port: a connection is reused for the same ones only."""


@define(frozen=True, kw_only=True)
class Route:
    """How the addresses of a target are found, and through which proxy they are reached.

    Attributes:
        resolve: Returns the addresses of a target, such as `AddressGuard.resolve`.
        proxy: Returns the proxy for a URL, or None.
        proxy_pinned: Whether a proxy is told to connect to an address of `resolve`, and not to resolve the name itself.
            A direct connection always goes to such an address.
        check: Checks a target whose name a proxy resolves.
    """

    resolve: Resolve
    proxy: Callable[[SecretURL], SecretURL | None] = lambda url: None
    proxy_pinned: bool = False
    check: Callable[[SecretURL], None] = lambda url: None

    def is_resolved_by_proxy(self, url: SecretURL) -> bool:
        """Return whether a proxy resolves the name of a target, and only `check` applies to it."""
        return not self.proxy_pinned and self.proxy(url) is not None


class Connection:
    """A connection to an address that this package resolved, directly or through a proxy.

    Attributes:
        sock: A socket that doesn't block.
        absolute: Whether requests have absolute URLs, for a proxy.
        proxy_headers: Credentials for the proxy.
        idle_since: When its last exchange ended, by the monotonic clock.
        is_unanswered: Whether a request was sent, and its response wasn't read.
    """

    sock: socket.socket

    def __init__(
        self, url: SecretURL, route: Route, deadline: float, *, proxy: SecretURL | None, driver: Driver
    ) -> None:
        self._url = url
        self._route = route
        self._proxy = proxy
        self._deadline = deadline
        self._driver = driver
        self.is_unanswered = False
        self.absolute = proxy is not None and url.scheme == "http" and not route.proxy_pinned
        self.proxy_headers = proxy_headers(proxy)
        self.idle_since = 0.0

    async def connect(self) -> None:
        """Connect to one of the resolved addresses.

        Raises:
            TunnelError: The proxy rejected the tunnel.
            ProxyUnreachableError: The proxy can't be reached.
            OSError: No address can be reached.
        """
        if self._proxy is None:
            await self._dial(await self._look_up(self._route.resolve, self._url, self._deadline), self._deadline)
        elif self._route.proxy_pinned:
            await self._tunnel_to_addresses(self._proxy)
        else:
            self._route.check(self._url)
            await self._dial_proxy(self._proxy, self._deadline)
            if not self.absolute:
                # The authority form has a port always (RFC 9112, section 3.2.3).
                await self._open_tunnel(f"{bracket(self._url.host)}:{port_of(self._url)}", self._deadline)

    async def _look_up(self, resolve: Resolve, url: SecretURL, deadline: float) -> Addresses:
        return await self._driver.look_up(resolve, url, deadline)

    async def _dial(self, addresses: Addresses, deadline: float) -> None:
        self.sock = await connect_happy_eyeballs(addresses, deadline, self._driver)
        # Nagle's algorithm would hold the last packet until the one before is acknowledged, which with delayed ACKs
        # takes 40 ms on Linux (tcp(7)).
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def _tunnel_to_addresses(self, proxy: SecretURL) -> None:
        """Have a proxy connect to one of the target's addresses: the first one that it can reach."""
        found = await self._look_up(self._route.resolve, self._url, self._deadline)
        places = list(dict.fromkeys(f"{bracket(str(place[0]))}:{place[1]}" for *_, place in found))[:_MAX_TUNNELS]
        for left, place in zip(range(len(places), 0, -1), places, strict=True):
            # An address that the proxy can't reach doesn't use up the others' time.
            deadline = time.monotonic() + time_left(self._deadline) / left
            try:
                await self._dial_proxy(proxy, deadline)
                await self._open_tunnel(place, deadline)
            except uninterrupted(OSError) as error:
                self.close()
                is_final = isinstance(error, TunnelError) and error.needs_login
                if left == 1 or is_final or isinstance(error, ProxyUnreachableError):
                    raise
            else:
                return

    async def _dial_proxy(self, proxy: SecretURL, deadline: float) -> None:
        try:
            await self._dial(await self._look_up(resolve, proxy, deadline), deadline)
        except uninterrupted(OSError) as error:
            raise ProxyUnreachableError("the proxy can't be reached") from error

    def close(self) -> None:
        """Close the connection, if it was established."""
        if hasattr(self, "sock"):
            self.sock.close()

    async def _open_tunnel(self, place: str, deadline: float) -> None:
        timed = TimedSocket(self.sock, deadline, timedelta.max, self._driver)
        await timed.sendall(head(Secret(f"CONNECT {place} HTTP/1.1"), {"Host": place, **self.proxy_headers.reveal()}))
        response = ResponseParser()
        # Any 2xx opens the tunnel, and its Content-Length is to be ignored (RFC 9110, section 9.3.6).
        await response.read(timed.receive, head_only=True)
        if not 200 <= response.status < 300:
            raise TunnelError(response.status, to_address=self._route.proxy_pinned)


class TimedSocket:
    """A socket that doesn't block, with an absolute deadline for all its waits, and a maximum for each of them."""

    def __init__(self, sock: socket.socket, deadline: float, max_wait: timedelta, driver: Driver) -> None:
        self.sock = sock
        # Without TLS, and not replaced by that of an event loop.
        self.is_plain = type(sock) is socket.socket
        self._deadline = deadline
        self._max_wait = max_wait.total_seconds()
        self._driver = driver

    async def send(self, data: bytes | FileRange, done: int) -> int:
        """Send as much as the system takes, or time out; return how many bytes that was.

        Args:
            data: What is sent.
            done: Bytes of it that were sent before.
        """
        time_left(self._deadline)
        while True:
            try:
                if isinstance(data, bytes):
                    return self.sock.send(memoryview(data)[done:])
                return data.send(self.sock.fileno(), done)
            except OSError as error:  # noqa: PERF203 - sockets rarely block
                await self._wait_after(error, WRITE)

    async def sendall(self, data: bytes) -> None:
        """Send all data, or time out."""
        done = 0
        while done < len(data):
            done += await self.send(data, done)

    async def receive(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end of the connection, or time out."""
        if self.is_plain:
            # Mostly the response isn't there yet, and an error that says so takes longer than this.
            await self._wait(READ)
        else:
            time_left(self._deadline)
        while True:
            try:
                return self.sock.recv(size)
            except OSError as error:  # noqa: PERF203 - sockets rarely block
                await self._wait_after(error, READ)

    async def shake_hands(self) -> None:
        """Do the TLS handshake, or time out."""
        sock: Any = self.sock
        while True:
            try:
                sock.do_handshake()
            except OSError as error:  # noqa: PERF203 - sockets rarely block
                await self._wait_after(error, READ)
            else:
                return

    async def receives_before_send(self) -> bool:
        """Wait until data can be sent or received, or time out; tell whether data, or the end, was received.

        Under TLS readable bytes may be session tickets, which TLS 1.3 servers send after the handshake (RFC 8446,
        section 4.6.1). There only a failed write shows that the server has stopped reading.
        """
        return bool(await self._wait(READ | WRITE if self.is_plain else WRITE) & READ)

    async def _wait_after(self, error: OSError, events: int) -> None:
        """Wait until an operation that would have blocked can be repeated; raise any other error."""
        if not isinstance(error, BlockingIOError):
            # Loaded if the error is of TLS.
            ssl = sys.modules.get("ssl")
            if ssl is None or not isinstance(error, (ssl.SSLWantReadError, ssl.SSLWantWriteError)):
                raise error
            # TLS may have to read before it can write, and the other way round (SSL_write(3)).
            events = READ if isinstance(error, ssl.SSLWantReadError) else WRITE
        await self._wait(events)

    async def _wait(self, events: int) -> int:
        found = await self._driver.ready((self.sock,), events, min(self._max_wait, time_left(self._deadline)))
        if not found:
            raise TimeoutError("timed out")
        return found[self.sock]


class Pool:
    """Idle connections by scheme, host and port. Each process has its own: after a fork, two would share one socket."""

    def __init__(self) -> None:
        self._idle = PerProcess(_Idle, leave=_Idle.close)

    def take(self, key: Key) -> Connection | None:
        """Return an idle connection that is still usable, or None."""
        idle = self._idle.get()
        while (connection := idle.pop(key)) is not None:
            if _is_usable(connection):
                return connection
            connection.close()
        return None

    def give(self, key: Key, connection: Connection) -> None:
        """Keep a connection for the next upload."""
        connection.idle_since = time.monotonic()
        self._idle.get().add(key, connection)

    def close(self) -> None:
        """Close them all."""
        self._idle.get().close()


class _Idle:
    """The idle connections of one process."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._connections: dict[Key, list[Connection]] = {}
        self._swept = time.monotonic()

    def pop(self, key: Key) -> Connection | None:
        with self._lock:
            connections = self._connections.get(key)
            return connections.pop() if connections else None

    def add(self, key: Key, connection: Connection) -> None:
        with self._lock:
            self._connections.setdefault(key, []).append(connection)
            old = self._sweep()
        for each in old:
            each.close()

    def close(self) -> None:
        # Runs in the child of a fork too, where another thread may have held the lock: replacing the dict is atomic.
        connections, self._connections = self._connections, {}
        for each in connections.values():
            for connection in each:
                connection.close()

    def _sweep(self) -> list[Connection]:
        """Remove connections that were idle too long: those to hosts without new uploads would stay open."""
        now, limit = time.monotonic(), IDLE_LIMIT.total_seconds()
        if now - self._swept < limit:
            return []
        self._swept = now
        old = []
        for key, connections in list(self._connections.items()):
            kept = [connection for connection in connections if now - connection.idle_since <= limit]
            old += [connection for connection in connections if connection not in kept]
            self._connections[key] = kept
            if not kept:
                del self._connections[key]
        return old


def _is_usable(connection: Connection) -> bool:
    if time.monotonic() - connection.idle_since > IDLE_LIMIT.total_seconds():
        return False
    # An idle connection becomes readable when the server closes it, or responds without a request, such as with a 408
    # (RFC 9110, section 15.5.9).
    return not readable(connection.sock)


def host_header(url: SecretURL) -> str:
    """Return the value of Host, without the scheme's default port (RFC 9110, section 7.2).

    Signers sign it without that port, also where the URL has it (boto3, issue 2179).
    """
    host = bracket(url.host)
    return host if port_of(url) == default_port(url) else f"{host}:{url.port}"


def bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def head(request_line: Secret[str], headers: Mapping[str, str]) -> bytes:
    """Encode the head of a request.

    Raises:
        InvalidTargetError: A header has a line break, which would begin another header, or a character outside Latin-1.
    """
    text = Secret("\r\n".join([request_line.reveal(), *[f"{name}: {value}" for name, value in headers.items()]]))
    if any(text.reveal().count(end) != len(headers) for end in "\r\n") or not _is_sendable(text):
        raise InvalidTargetError(
            "A header of the request has a line break, or a character that HTTP can't send.",
            hint="Check the header values that came with the target.",
        )
    return f"{text.reveal()}\r\n\r\n".encode("latin-1")


def _is_sendable(text: Secret[str]) -> bool:
    return "\0" not in text.reveal() and (text.reveal().isascii() or max(text.reveal()) <= "\xff")


def proxy_headers(proxy: SecretURL | None) -> SecretFields:
    """Return the header with the credentials in a proxy's URL, if it has any."""
    if proxy is None or not proxy.has_userinfo:
        return SecretFields({})
    return SecretFields({"Proxy-Authorization": f"Basic {_login(proxy)}"})


def _login(proxy: SecretURL) -> str:
    parts = urlsplit(proxy.reveal())
    return base64.b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()).decode()
