"""TCP connections of the service: limits of their number, and timeouts of idle, slow and stalled ones."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from attrs import define, evolve, field
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from callback_sdk.service.api.client_addresses import LOOPBACK, Network, is_in, network_of

_log = logging.getLogger(__name__)

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept open for the next request: longer than nginx (60) and most load balancers, so
that they close it first. Otherwise a request may arrive while the connection is closed, and the proxy responds 502."""

_HEAD = 15.0
"""Timeout for the head of a request, in seconds; for the first request, from the start of the connection."""

_UNREAD = 60.0
"""Timeout for a client that doesn't read its response, in seconds."""

_STALLED = 1.0
"""Seconds without a byte of its body after which a request may be evicted for another connection."""

_SLOW_AFTER = 2.0
"""Seconds of waiting for a client before its transfer rate is evaluated."""

_SLOW_RATE = 16 * 1024
"""Minimum transfer rate of a request, in bytes per second of waiting for its client; a slower one may be evicted."""

_CLOSING = 30.0
"""Seconds until a closed connection whose client doesn't read the last bytes is aborted."""

_SWEEP = 1.0
"""Seconds between sweeps of all connections."""

_BURST = 64
"""Connections accepted per iteration of the event loop."""

_BACKLOG = 1024
"""Backlog of the listening socket: connections that the kernel queues until they are accepted."""

_QUIET = 60.0
"""Minimum seconds between two log records about the same problem."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@define(frozen=True, kw_only=True)
class ConnectionLimits:
    """Limits of concurrent connections.

    Attributes:
        total: Maximum number of all connections.
        per_address: Maximum number from one IPv4 address or IPv6 /64 network. Trusted proxies are exempt.
        trusted_proxies: Networks of the reverse proxies in front of the service.
    """

    total: int = 1000
    per_address: int = 200
    trusted_proxies: Sequence[Network] = LOOPBACK

    def fit_to(self, open_files: int) -> ConnectionLimits:
        """Return the limits reduced to half of the limit on open files, as requests open files too."""
        room = max(8, open_files // 2)
        if room >= self.total:
            return self
        _log.warning(
            "With a limit of %d open files, the limit of connections is %d. For %d connections, raise the limit of "
            "open files: ulimit -n, or LimitNOFILE= of systemd.",
            open_files,
            room,
            self.total,
        )
        return evolve(self, total=room, per_address=min(self.per_address, room // 2))


def open_files() -> int:
    """Return this process's limit on open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 2**31


@define
class _Seldom:
    """Logs at most one warning a minute, with the number of suppressed ones."""

    _text: str
    _last: float = field(default=-_QUIET, init=False)
    _count: int = field(default=0, init=False)

    def note(self, *values: object) -> None:
        """Log the text, unless it was logged less than a minute ago."""
        self._count += 1
        if time.monotonic() - self._last >= _QUIET:
            _log.warning(f"{self._text} This has happened %d times since it was last logged.", *values, self._count)
            self._last, self._count = time.monotonic(), 0


class Connections:
    """All connections of one server. Not thread-safe: its methods run in the event loop.

    At the limit, a new connection evicts the one that has been idle longest, otherwise one with a stalled request,
    otherwise the one with the slowest request. So health checks can always connect.

    Args:
        limits: Limits of their number.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, limits: ConnectionLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._limits = limits
        self._open: set[ClientConnection] = set()
        self._counts: Counter[str] = Counter()
        self._sweeping: asyncio.TimerHandle | None = None
        self._refused = _Seldom("Too many connections: one from %s was refused.")

    def add(self, connection: ClientConnection) -> str | None:
        """Register a connection.

        Returns:
            None, or the reason why it is rejected.
        """
        address = connection.address
        if address is not None and self._counts[address] >= self._limits.per_address:
            if not self._evict(lambda one: one.address == address):
                self._refused.note(address)
                return f"Your address already has {self._limits.per_address} connections. Reuse them."
        elif len(self._open) >= self._limits.total and not self._evict(lambda _: True):
            self._refused.note(address or "a proxy")
            return f"The service already has {self._limits.total} connections. Try again in a few seconds."
        self._open.add(connection)
        if address is not None:
            self._counts[address] += 1
        return None

    def discard(self, connection: ClientConnection) -> None:
        """Unregister a closed connection."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        if connection.address is not None:
            self._counts[connection.address] -= 1
            if not self._counts[connection.address]:
                del self._counts[connection.address]

    def address_of(self, peer: str | None) -> str | None:
        """Return the key by which connections are counted; None for a trusted proxy, or without an address."""
        return None if peer is None or is_in(peer, self._limits.trusted_proxies) else network_of(peer)

    def sweep(self) -> None:
        """Close connections whose timeout has expired."""
        moment = self.clock()
        for connection in tuple(self._open):
            connection.check(moment)

    def sweep_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sweep every second while there are connections."""
        if self._sweeping is None:
            self._sweeping = loop.call_later(_SWEEP, self._sweep_again, loop)

    def _sweep_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeping = None
        self.sweep()
        if self._open:
            self.sweep_on(loop)

    def _evict(self, matches: Callable[[ClientConnection], bool]) -> bool:
        """Evict the connection that has waited longest, preferably of the address with the most connections."""
        matching = [one for one in self._open if matches(one)]
        waiting = [one for one in matching if one.is_waiting] or [one for one in matching if one.is_stalled]
        if waiting:
            evicted = max(waiting, key=lambda one: (self._of_same_address(one), -one.since))
        elif slow := [one for one in matching if one.is_slow]:
            evicted = max(slow, key=lambda one: (self._of_same_address(one), -one.rate))
        else:
            return False
        evicted.end()
        return True

    def _of_same_address(self, connection: ClientConnection) -> int:
        return self._counts[connection.address] if connection.address else 0


class ClientConnection(H11Protocol):
    """A connection: uvicorn's protocol with additional limits.

    Uvicorn's own `limit_concurrency` rejects requests but leaves connections open, and its keep-alive timeout starts
    after the first response: a connection without a request is never closed.

    Args:
        connections: All connections of the server.
        **options: Options of uvicorn's protocol.
    """

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._all = connections
        self.address: str | None = None
        # Start of the wait for a request.
        self.since = connections.clock()
        self._heard = self.since
        # Bytes of this request, seconds of waiting for its client, and whether it is waiting now.
        self._received = 0
        self._waited = 0.0
        self._listening = True
        # Whether a part of the head of a request has been received.
        self._begun = False
        self._unread_since: float | None = None
        self._closing_since: float | None = None

    # Uvicorn declares it as never None, which it is before the first request.
    cycle: RequestResponseCycle | None  # type: ignore[assignment]

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being processed."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_stalled(self) -> bool:
        """Whether the request is incomplete, and no data has been received recently."""
        late = self._all.clock() - self._heard > _STALLED
        return late and self._is_due

    @property
    def is_slow(self) -> bool:
        """Whether the request is incomplete, and its transfer rate is below the minimum."""
        return self._is_due and self._waiting_time > _SLOW_AFTER and self.rate < _SLOW_RATE

    @property
    def rate(self) -> float:
        """Transfer rate of the request, in bytes per second of waiting for its client."""
        return self._received / max(self._waiting_time, 1e-3)

    @property
    def _waiting_time(self) -> float:
        return self._waited + (self._all.clock() - self._heard if self._listening else 0.0)

    @property
    def _is_due(self) -> bool:
        """Whether the request is incomplete and this process is ready to read."""
        cycle = self.cycle
        return cycle is not None and cycle.more_body and not cycle.response_started and not self.flow.read_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, unless there are too many."""
        super().connection_made(transport)
        self.address = self._all.address_of(self.client[0] if self.client else None)
        self._all.sweep_on(self.loop)
        refusal = self._all.add(self)
        if refusal is not None:
            self._answer(b"503 Service Unavailable", refusal, b"retry-after: 5\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection."""
        self._all.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process received data, unless the connection was rejected or is closing."""
        if self.transport.is_closing():
            return
        self._waited, self._heard = self._waiting_time, self._all.clock()
        if self.is_waiting and not self._begun:
            self._begun = True
            self._received, self._waited = 0, 0.0
            if self.cycle is not None:
                self.since = self._heard
        self._received += len(data)
        super().data_received(data)
        # Not while the process itself is slow to process received data, for example while it writes to a disk.
        self._listening = not self.flow.read_paused

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._begun = False
        self.since = self._all.clock()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Record that the client doesn't read."""
        self._unread_since = self._all.clock()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Record that the client reads again."""
        self._unread_since = None
        super().resume_writing()

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: any client may request an upgrade, and the response ignores it (RFC 9110, 7.8)."""

    def send_400_response(self, msg: str) -> None:
        """Respond to invalid HTTP with 400, unless a response is being sent."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.end()
        else:
            self._answer(b"400 Bad Request", msg)

    def check(self, moment: float) -> None:
        """Close the connection if its timeout has expired.

        Args:
            moment: The current time of the connections' clock.
        """
        if self.transport.is_closing():
            self._closing_since = self._closing_since or moment
            if moment - self._closing_since > _CLOSING:
                self.end()
        elif self._unread_since is not None and moment - self._unread_since > _UNREAD:
            self.end()
        elif self.is_waiting and (self._begun or self.cycle is None) and moment - self.since > _HEAD:
            if self._begun:
                self._answer(b"408 Request Timeout", f"The head of the request took longer than {_HEAD:.0f} s.")
            else:
                self.end()

    def end(self) -> None:
        """Abort the connection."""
        self._all.discard(self)
        self.transport.abort()

    def _answer(self, status: bytes, text: str, headers: bytes = b"") -> None:
        # Bypasses h11, whose state may not allow a response: the connection is closed after this one.
        body = b'{"status":false,"error":"%b"}' % text.encode()
        self.transport.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n"
            b"cache-control: no-store\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n%b"
            % (status, len(body), headers, body)
        )
        self.transport.close()


class Listener(socket.socket):
    """A listening socket that keeps working when the process has run out of file descriptors.

    asyncio logs each failed `accept` with a traceback, 2,048 times a second, and new connections hang meanwhile
    (CPython issue 151615). This socket accepts such a connection with a spare descriptor, and closes it.
    """

    _spare: int | None = None

    @classmethod
    def of(cls, listening: socket.socket) -> Listener:
        """Create one from a plain socket, which is detached."""
        listener = cls(fileno=listening.detach())
        listener._open_spare()
        return listener

    def listen(self, backlog: int = _BACKLOG, /) -> None:
        """Listen with a fixed backlog: asyncio's is also the number of connections that it accepts at a time."""
        super().listen(_BACKLOG)

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            BlockingIOError: There is no pending connection, or no descriptor for it.
        """
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            _exhausted.note(error.strerror)
        self._drop_one()
        raise BlockingIOError(errno.EAGAIN, "There was no file descriptor for a connection.")

    def close(self) -> None:
        """Close the socket."""
        self._close_spare()
        super().close()

    def _drop_one(self) -> None:
        if self._spare is None:
            # Another thread uses the spare descriptor: the socket stays ready, so the loop must not spin meanwhile.
            time.sleep(0.05)
        self._close_spare()
        try:
            super().accept()[0].close()
        except OSError:
            pass
        finally:
            self._open_spare()

    def _open_spare(self) -> None:
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._spare = None

    def _close_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None


_exhausted = _Seldom(
    "Connections are closed unanswered, as the process can't open more files (%s). Raise the limit: ulimit -n, or "
    "LimitNOFILE= of systemd."
)


class StoppableServer(uvicorn.Server):
    """A server that tells waiting responses to end before it waits for all of them.

    Args:
        config: Configuration of the server.
        on_stop: Called in the event loop when the server begins to stop.
    """

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the server."""
        self._on_stop()
        await super().shutdown(sockets)


def uvicorn_options(connections: Connections) -> dict[str, Any]:
    """Return the options of uvicorn's configuration about connections.

    Args:
        connections: All connections of the server.
    """

    def protocol(**options: Any) -> ClientConnection:
        return ClientConnection(connections, **options)

    return {
        # h11 limits the size of a request's head; uvicorn's other parser doesn't.
        "http": protocol,
        # uvloop accepts connections itself, bypassing the listener.
        "loop": "asyncio",
        # The service has no WebSockets, and such connections would bypass the limits.
        "ws": "none",
        "backlog": _BURST,
        "timeout_keep_alive": KEEP_ALIVE,
        # By default uvicorn trusts loopback addresses and an environment variable of its own; see `forwarded`.
        "proxy_headers": False,
    }
