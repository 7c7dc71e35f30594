"""Connections for uploads: where they go is our choice, and no server can hold them longer than it should."""

from __future__ import annotations

import base64
import http.client
import io
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import SecretURL
from callback_sdk.stores import port_of

IDLE_LIMIT = timedelta(seconds=20)
"""How long a connection may rest before it is not used again; servers close theirs after 5 to 60 s."""

Addresses = list[tuple[Any, ...]]
"""What `socket.getaddrinfo` returns."""

Key = tuple[str, str, int]
"""Scheme, host and port: what a connection can be used again for."""


class Connection(http.client.HTTPConnection):
    """A connection that was resolved by us, through a proxy or not."""

    def __init__(
        self, url: SecretURL, proxy: SecretURL | None, resolve: Callable[[SecretURL], Addresses], until: float
    ) -> None:
        super().__init__(ascii_host(proxy or url), port_of(proxy or url))
        self.absolute = proxy is not None and url.scheme == "http"
        self.proxy_headers = _proxy_headers(proxy)
        self.idle_since = 0.0
        self._dial: Callable[[], socket.socket] = lambda: _dial(resolve(proxy or url), until)
        if proxy is not None and url.scheme == "https":
            self.set_tunnel(ascii_host(url), port_of(url), headers=self.proxy_headers)
        self._until = until

    def connect(self) -> None:
        """Connect to an address that was resolved, never to one that was not."""
        self.sock = self._dial()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tunnel_host:  # type: ignore[attr-defined]
            self.sock.settimeout(time_left(self._until))
            self._tunnel()  # type: ignore[attr-defined]


class TimedSocket:
    """A socket that no server can hold on to: each wait ends with the attempt's own deadline."""

    def __init__(self, sock: socket.socket, deadline: float, longest: timedelta) -> None:
        self.sock = sock
        self._deadline = deadline
        self._longest = longest.total_seconds()

    def arm(self) -> socket.socket:
        """Set what is left of the time, and return the socket."""
        self.sock.settimeout(min(self._longest, time_left(self._deadline)))
        return self.sock

    def sendall(self, data: bytes) -> None:
        """Send it all, or time out."""
        self.arm().sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return what `http.client` reads answers from."""
        return io.BufferedReader(_TimedReader(self))

    def close(self) -> None:
        """Do nothing: `http.client` closes as soon as it has the head of an answer, and its body is still to come."""


class _TimedReader(io.RawIOBase):
    def __init__(self, timed: TimedSocket) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.arm().recv_into(buffer)


class Pool:
    """Connections that rest, by scheme, host and port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Key, list[Connection]] = {}
        self._process = os.getpid()

    def take(self, key: Key) -> Connection | None:
        """Return a connection that is still good, or None."""
        while True:
            with self._lock:
                self._forget_after_fork()
                idle = self._idle.get(key)
                connection = idle.pop() if idle else None
            if connection is None or _is_good(connection):
                return connection
            connection.close()

    def give(self, key: Key, connection: Connection) -> None:
        """Keep a connection for the next upload."""
        connection.idle_since = time.monotonic()
        with self._lock:
            self._forget_after_fork()
            self._idle.setdefault(key, []).append(connection)

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            connections = [connection for idle in self._idle.values() for connection in idle]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def _forget_after_fork(self) -> None:
        # Two processes that write to one connection would mix their requests. Closing the child's copies
        # leaves the parent's open.
        if self._process != os.getpid():
            for idle in self._idle.values():
                for connection in idle:
                    connection.close()
            self._idle.clear()
            self._process = os.getpid()


def _is_good(connection: Connection) -> bool:
    if time.monotonic() - connection.idle_since > IDLE_LIMIT.total_seconds():
        return False
    # What can be read from a resting connection is its end, or a protocol error.
    return not readable(connection.sock)


def readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def _dial(addresses: Addresses, until: float) -> socket.socket:
    """Connect to the first address that answers."""
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(time_left(until))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def time_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def ascii_host(url: SecretURL) -> str:
    """Return the host as the network takes it: an international name in its ASCII form."""
    if url.host.isascii():
        return url.host
    import idna

    try:
        return idna.encode(url.host, uts46=True).decode()
    except idna.IDNAError:
        raise InvalidTargetError(f"{url} has a host name that can't exist.", hint="Check its spelling.") from None


def host_header(url: SecretURL) -> str:
    host = f"[{url.host}]" if ":" in url.host else ascii_host(url)
    return host if url.port is None else f"{host}:{url.port}"


def _proxy_headers(proxy: SecretURL | None) -> dict[str, str]:
    if proxy is None or not proxy.has_userinfo:
        return {}

    parts = urlsplit(proxy.reveal())
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(login.encode()).decode()}
