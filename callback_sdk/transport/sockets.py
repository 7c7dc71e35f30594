"""Connections for uploads: where they go is our choice, and no server can hold them longer than it should."""

from __future__ import annotations

import base64
import re
import socket
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from urllib.parse import unquote, urlsplit

from callback_sdk.concurrency.forking import PerProcess, RLock
from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.hosts import ascii_host, port_of
from callback_sdk.transport.connect import Addresses, connect_happy_eyeballs, time_left
from callback_sdk.transport.polling import readable
from callback_sdk.transport.response import ResponseParser

_UNSENDABLE = re.compile("\\r(?!\\n)|[^\x01-\xff]")

IDLE_LIMIT = timedelta(seconds=20)
"""How long a connection may rest before it is not used again; servers close theirs after 5 to 60 s."""

Resolve = Callable[[SecretURL, float], Addresses]
"""From a URL, and the moment to give up at, to the addresses to connect to."""

Key = tuple[str, str, int]
"""Scheme, host and port: what a connection can be used again for."""


class TunnelError(OSError):
    """A proxy didn't open a tunnel.

    Attributes:
        status: HTTP status of its answer.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status}")
        self.status = status


class Connection:
    """A connection that was resolved by us, through a proxy or not."""

    sock: socket.socket

    def __init__(self, url: SecretURL, proxy: SecretURL | None, resolve: Resolve, deadline: float) -> None:
        self.absolute = proxy is not None and url.scheme == "http"
        self.proxy_headers = _proxy_headers(proxy)
        self.idle_since = 0.0
        self._url = url
        self._tunnelled = proxy is not None and url.scheme == "https"
        self._dial: Callable[[], socket.socket] = lambda: connect_happy_eyeballs(
            resolve(proxy or url, deadline), deadline
        )
        self._deadline = deadline

    def connect(self) -> None:
        """Connect to an address that was resolved, never to one that was not.

        Raises:
            TunnelError: The proxy refuses.
            OSError: No address can be reached.
        """
        self.sock = self._dial()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tunnelled:
            self._open_tunnel()

    def close(self) -> None:
        """Close it, if it ever came about."""
        if hasattr(self, "sock"):
            self.sock.close()

    def _open_tunnel(self) -> None:
        place = f"{bracketed(ascii_host(self._url))}:{port_of(self._url)}"
        timed = TimedSocket(self.sock, self._deadline, timedelta.max)
        timed.sendall(head(Secret(f"CONNECT {place} HTTP/1.1"), {"Host": place, **self.proxy_headers.reveal()}))
        response = ResponseParser()
        response.read(timed.receive, head_only=True)
        if not 200 <= response.status < 300:
            raise TunnelError(response.status)


class TimedSocket:
    """A socket that no server can hold on to: each wait ends with the attempt's own deadline."""

    def __init__(self, sock: socket.socket, deadline: float, max_wait: timedelta) -> None:
        self.sock = sock
        self._deadline = deadline
        self._max_wait = max_wait.total_seconds()

    def arm(self) -> socket.socket:
        """Set what is left of the time, and return the socket."""
        self.sock.settimeout(min(self._max_wait, time_left(self._deadline)))
        return self.sock

    def sendall(self, data: bytes) -> None:
        """Send it all, or time out."""
        self.arm().sendall(data)

    def receive(self, size: int) -> bytes:
        """Return what comes, at most so many bytes and none at the end, or time out."""
        return self.arm().recv(size)


class Pool:
    """Connections that rest, by scheme, host and port. Each process has its own."""

    def __init__(self) -> None:
        self._idle = PerProcess(_Idle, leave=_Idle.close)

    def take(self, key: Key) -> Connection | None:
        """Return a connection that is still good, or None."""
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
    """The resting connections of one process."""

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
        # Inside a fork nothing may wait for a lock; taking the whole dict out is one step.
        connections, self._connections = self._connections, {}
        for each in connections.values():
            for connection in each:
                connection.close()

    def _sweep(self) -> list[Connection]:
        """Take out what rested too long, now and then: hosts that nothing goes to any more would keep theirs open."""
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
    # What can be read from a resting connection is its end, or a protocol error.
    return not readable(connection.sock)


def host_header(url: SecretURL) -> str:
    host = bracketed(ascii_host(url))
    return host if url.port is None else f"{host}:{url.port}"


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def head(request_line: Secret[str], headers: Mapping[str, str]) -> bytes:
    """Return the head of a request.

    Raises:
        InvalidTargetError: A header can't be sent, as it would end, or isn't Latin-1.
    """
    text = Secret("\r\n".join([request_line.reveal(), *(f"{name}: {value}" for name, value in headers.items())]))
    if text.reveal().count("\n") != len(headers) or _UNSENDABLE.search(text.reveal()):
        raise InvalidTargetError(
            "A header of the request has a line break, or a character that HTTP can't send.",
            hint="Look at the values that came with the target.",
        )
    return f"{text.reveal()}\r\n\r\n".encode("latin-1")


def _proxy_headers(proxy: SecretURL | None) -> SecretFields:
    if proxy is None or not proxy.has_userinfo:
        return SecretFields({})
    return SecretFields({"Proxy-Authorization": f"Basic {_login(proxy)}"})


def _login(proxy: SecretURL) -> str:
    parts = urlsplit(proxy.reveal())
    return base64.b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()).decode()
