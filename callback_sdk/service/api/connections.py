"""The service's TCP connections: how many there may be, and how long one may wait for a request or for its reader."""

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

from attrs import define, evolve, field
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from callback_sdk.service.api.client_addresses import LOOPBACK, Network, is_in, network_of

_log = logging.getLogger(__name__)

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept for the next request: longer than nginx (60) and most load balancers do, so
that they close it first. Otherwise a request may meet the end of its connection, which a proxy answers with 502."""

_HEAD = 15.0
"""Seconds that the head of a request may take, however it arrives; the first one from the connection's start."""

_UNREAD = 60.0
"""Seconds that a response may wait for a client that doesn't read it."""

_STALLED = 1.0
"""Seconds without a byte of its body after which a request may have to make room for another connection."""

_SLOW_AFTER = 2.0
"""Seconds that the client of a request must have been waited for before its rate says anything."""

_SLOW_RATE = 16 * 1024
"""Bytes of a request per second of waiting for its client; at a lower rate it may have to make room too."""

_CLOSING = 30.0
"""Seconds until a connection that was closed, and whose last bytes nobody takes, is cut off."""

_SWEEP = 1.0
"""Seconds between two looks at all connections."""

_BURST = 64
"""Connections that are accepted before the first of them is looked at."""

_BACKLOG = 1024
"""Connections that the kernel keeps for the service until it accepts them."""

_QUIET = 60.0
"""Seconds between two log records about the same thing."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@define(frozen=True, kw_only=True)
class ConnectionLimits:
    """How many connections there may be at a time.

    Attributes:
        total: Of everybody.
        per_address: From one IPv4 address, or one IPv6 /64 network. Trusted proxies are exempt.
        trusted_proxies: Networks of the reverse proxies in front of the service.
    """

    total: int = 1000
    per_address: int = 200
    trusted_proxies: Sequence[Network] = LOOPBACK

    def fitted(self, open_files: int) -> ConnectionLimits:
        """Return the limits that a limit on open files leaves room for: half of it, as requests open files too."""
        room = max(8, open_files // 2)
        if room >= self.total:
            return self
        _log.warning(
            "Of %d open files, %d may be connections. For %d, raise the limit: ulimit -n, or LimitNOFILE= of systemd.",
            open_files,
            room,
            self.total,
        )
        return evolve(self, total=room, per_address=min(self.per_address, room // 2))


def open_files() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 2**31


@define
class _Seldom:
    """Logs one warning a minute, with the number of those that were left out."""

    _text: str
    _last: float = field(default=-_QUIET, init=False)
    _count: int = field(default=0, init=False)

    def note(self, *values: object) -> None:
        """Log the text, unless that was done a moment ago."""
        self._count += 1
        if time.monotonic() - self._last >= _QUIET:
            _log.warning(f"{self._text} This has happened %d times since it was last logged.", *values, self._count)
            self._last, self._count = time.monotonic(), 0


class Connections:
    """All connections of one server. Everything here happens in the thread of its event loop.

    Where there is no room for another one, the connection that has waited longest for a request makes it, or else one
    whose request has stalled, or else the one whose request comes most slowly. So a health check gets in.

    Args:
        limits: How many there may be.
        clock: Seconds, never put back.
    """

    def __init__(self, limits: ConnectionLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._limits = limits
        self._open: set[ClientConnection] = set()
        self._counts: Counter[str] = Counter()
        self._sweeping: asyncio.TimerHandle | None = None
        self._refused = _Seldom("Too many connections: one from %s was refused.")

    def add(self, connection: ClientConnection) -> str | None:
        """Take a connection in.

        Returns:
            None, or why there is no room for it.
        """
        address = connection.address
        if address is not None and self._counts[address] >= self._limits.per_address:
            if not self._evict(lambda one: one.address == address):
                self._refused.note(address)
                return f"There are {self._limits.per_address} connections from your address already. Reuse them."
        elif len(self._open) >= self._limits.total and not self._evict(lambda _: True):
            self._refused.note(address or "a proxy")
            return f"The service has {self._limits.total} connections already. Try again soon."
        self._open.add(connection)
        if address is not None:
            self._counts[address] += 1
        return None

    def discard(self, connection: ClientConnection) -> None:
        """Forget a connection that has ended."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        if connection.address is not None:
            self._counts[connection.address] -= 1
            if not self._counts[connection.address]:
                del self._counts[connection.address]

    def address_of(self, peer: str | None) -> str | None:
        """Return what connections are counted by; None for a trusted proxy, and where there is no address."""
        return None if peer is None or is_in(peer, self._limits.trusted_proxies) else network_of(peer)

    def sweep(self) -> None:
        """End what has waited for too long."""
        moment = self.clock()
        for connection in tuple(self._open):
            connection.check(moment)

    def sweep_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sweep every second as long as there is a connection."""
        if self._sweeping is None:
            self._sweeping = loop.call_later(_SWEEP, self._sweep_again, loop)

    def _sweep_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeping = None
        self.sweep()
        if self._open:
            self.sweep_on(loop)

    def _evict(self, matches: Callable[[ClientConnection], bool]) -> bool:
        """End the one that has waited longest; first of all one of whoever has most, so that a flood meets itself."""
        matching = [one for one in self._open if matches(one)]
        waiting = [one for one in matching if one.is_waiting] or [one for one in matching if one.is_stalled]
        if waiting:
            victim = max(waiting, key=lambda one: (self._of_same_address(one), -one.since))
        elif slow := [one for one in matching if one.is_slow]:
            victim = max(slow, key=lambda one: (self._of_same_address(one), -one.rate))
        else:
            return False
        victim.end()
        return True

    def _of_same_address(self, connection: ClientConnection) -> int:
        return self._counts[connection.address] if connection.address else 0


class ClientConnection(H11Protocol):
    """One connection: uvicorn's protocol, with the limits that it lacks.

    Uvicorn's own `limit_concurrency` refuses requests and leaves connections open, and its keep-alive timeout begins
    with the end of the first response: a connection without a request stays for ever.

    Args:
        connections: All of the server's.
        **options: Of uvicorn's protocol.
    """

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._all = connections
        self.address: str | None = None
        # When it began to wait for a request.
        self.since = connections.clock()
        self._heard = self.since
        # Bytes of this request, the seconds that its client was waited for, and whether the time since then counts.
        self._received = 0
        self._waited = 0.0
        self._listening = True
        # Whether a part of the head of a request has come.
        self._begun = False
        self._unread_since: float | None = None
        self._closing_since: float | None = None

    # Uvicorn declares it as never None, which it is before the first request.
    cycle: RequestResponseCycle | None  # type: ignore[assignment]

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_stalled(self) -> bool:
        """Whether the rest of a request is due, and nothing of it has come lately."""
        late = self._all.clock() - self._heard > _STALLED
        return late and self._is_due

    @property
    def is_slow(self) -> bool:
        """Whether the rest of a request is due, and comes slowly."""
        return self._is_due and self._waiting_time > _SLOW_AFTER and self.rate < _SLOW_RATE

    @property
    def rate(self) -> float:
        """Bytes of the request per second that its client was waited for."""
        return self._received / max(self._waiting_time, 1e-3)

    @property
    def _waiting_time(self) -> float:
        return self._waited + (self._all.clock() - self._heard if self._listening else 0.0)

    @property
    def _is_due(self) -> bool:
        """Whether the client has to send the rest of a request, which this process is ready to take."""
        cycle = self.cycle
        return cycle is not None and cycle.more_body and not cycle.response_started and not self.flow.read_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many."""
        super().connection_made(transport)
        self.address = self._all.address_of(self.client[0] if self.client else None)
        self._all.sweep_on(self.loop)
        refusal = self._all.add(self)
        if refusal is not None:
            self._answer(b"503 Service Unavailable", refusal, b"retry-after: 5\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._all.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come, unless the connection was refused or is at its end."""
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
        # Not while the process itself is slow to take what has come, as when it writes to a disk.
        self._listening = not self.flow.read_paused

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._begun = False
        self.since = self._all.clock()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Note that the client doesn't read."""
        self._unread_since = self._all.clock()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        self._unread_since = None
        super().resume_writing()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: any client may ask for an upgrade, and the request is answered without one (RFC 9110, 7.8)."""

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; in the middle of a response nothing can be answered."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.end()
        else:
            self._answer(b"400 Bad Request", msg)

    def check(self, moment: float) -> None:
        """End the connection if it has waited for too long.

        Args:
            moment: Now, by the clock of all connections.
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
        """Cut the connection off."""
        self._all.discard(self)
        self.transport.abort()

    def _answer(self, status: bytes, text: str, headers: bytes = b"") -> None:
        # Past h11, in whose state no response may be due: the connection ends with this one.
        body = b'{"status":false,"error":"%b"}' % text.encode()
        self.transport.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n"
            b"cache-control: no-store\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n%b"
            % (status, len(body), headers, body)
        )
        self.transport.close()


class Listener(socket.socket):
    """A listening socket that goes on when the process has no file descriptor left.

    asyncio logs each failed `accept` with a traceback, 2,048 times a second, and new connections hang meanwhile
    (CPython issue 151615). Here a spare descriptor takes such a connection, and closes it.
    """

    _spare: int | None = None

    @classmethod
    def of(cls, listening: socket.socket) -> Listener:
        """Make one of a plain socket, which is used up."""
        listener = cls(fileno=listening.detach())
        listener._open_spare()
        return listener

    def listen(self, backlog: int = _BACKLOG, /) -> None:
        """Listen with a backlog of its own: asyncio's is also how many connections it accepts at a time."""
        super().listen(_BACKLOG)

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            BlockingIOError: There is none, or no descriptor for it.
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
        """Stop to listen."""
        self._close_spare()
        super().close()

    def _drop_one(self) -> None:
        if self._spare is None:
            # Whoever took the spare one has it still: the socket stays ready, and nothing may spin meanwhile.
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


def uvicorn_options(connections: Connections, trusted_proxies: Sequence[Network]) -> dict[str, Any]:
    """Return what uvicorn's configuration must say about connections.

    Args:
        connections: All of the server's.
        trusted_proxies: Whose `X-Forwarded-For` and `X-Forwarded-Proto` count.
    """

    def protocol(**options: Any) -> ClientConnection:
        return ClientConnection(connections, **options)

    return {
        # It bounds the head of a request, which uvicorn's other parser doesn't.
        "http": protocol,
        # Another loop accepts by itself, and past the listener.
        "loop": "asyncio",
        # Nothing of ours speaks it, and such a connection would be under nobody's limits.
        "ws": "none",
        "backlog": _BURST,
        "timeout_keep_alive": KEEP_ALIVE,
        # Uvicorn trusts loopback and an environment variable of its own, unless it is told.
        "proxy_headers": bool(trusted_proxies),
        "forwarded_allow_ips": [str(network) for network in trusted_proxies],
    }
