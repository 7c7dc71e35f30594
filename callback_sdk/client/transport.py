"""The HTTP session of the client: each process has its own, threads share it, and a deadline bounds a whole request.

requests and urllib3 bound each wait for the next byte, not the sum of them, and know no bound for name resolution. So
the connections here read and connect under the deadline of the call that uses them.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import queue
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar

import requests
import urllib3
from attrs import define, field
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NameResolutionError, NewConnectionError, SSLError

from callback_sdk._version import __version__
from callback_sdk.concurrency.forking import after_fork
from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import SecretURL
from callback_sdk.transport.connect import connect_happy_eyeballs, resolve, time_left
from callback_sdk.transport.retry import is_retryable, parse_retry_after

MAX_RETRY_AFTER = 30.0
"""Seconds, at most, that a service's `Retry-After` is waited for before the next attempt."""

IDLE_LIMIT = 20.0
"""Seconds that an idle connection is kept for. Servers close theirs after 5 to 60 s, just when a request is on its way;
and of one that a laptop's sleep or a NAT has cut, nobody learns."""

MAX_IDLE = 256
"""Connections that are kept open for the next requests; more than this only help threads that run at the same time."""


MAX_REFUSAL = 256 * 1024
"""Bytes of a response that is not a 2xx: its error message is cut after 1,000 characters anyway."""

_MAX_HEAD = 8 * 1024 * 1024
"""Bytes before the content of a response; http.client takes 100 headers of 64 KiB, and any number of 1xx responses."""


class ResponseTooLong(OSError):  # noqa: N818 - its user sees a ResponseTooLargeError
    """A response has more bytes than it may. An OSError, so that urllib3 closes the connection."""


@define
class SendProgress:
    """How far the attempts of one request came.

    Attributes:
        sent: Whether any of it may have reached the service. What fails before that is the connection: its name
            resolution, a proxy's tunnel, the TLS handshake.
    """

    sent: bool = False


@define(frozen=True)
class Limits:
    """What bounds the request that a thread is making.

    Attributes:
        retries: Which failures are followed by another attempt.
        deadline: When the request ends at the latest, by the monotonic clock.
        max_bytes: How many bytes of a 2xx are read.
        progress: What becomes of it.
    """

    retries: urllib3.Retry
    deadline: float = float("inf")
    max_bytes: float = float("inf")
    progress: SendProgress = field(factory=SendProgress)


_NO_RETRIES = Limits(urllib3.Retry(0))

_limits: ContextVar[Limits] = ContextVar("limits", default=_NO_RETRIES)


@contextlib.contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Bound the requests that are made inside the block."""
    token = _limits.set(limits)
    try:
        yield
    finally:
        _limits.reset(token)


R = TypeVar("R", bound="Retry")


class Retry(urllib3.Retry):
    """Retries for every call that can be repeated."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """Return whether a response is followed by another attempt."""
        return bool(self.total) and self._is_method_retryable(method) and is_retryable(status_code)

    def increment(
        self: R,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> R:
        """Count an attempt; a certificate that can't be verified has no other one, as that doesn't pass by itself."""
        if isinstance(error, SSLError) and any(isinstance(arg, ssl.SSLCertVerificationError) for arg in error.args):
            raise MaxRetryError(_pool, url or "", error)
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def parse_retry_after(self, retry_after: str) -> float:
        """Return the seconds that the service asks to wait, within bounds; one when that can't be read."""
        delay = parse_retry_after(retry_after)
        return 1.0 if delay is None else min(delay.total_seconds(), MAX_RETRY_AFTER)


class CarefulRetry(Retry):
    """Retries for a POST only where nothing can happen twice.

    A POST is sent again when no connection came about (urllib3 counts that for every method), and when the
    service says that it refuses for now: 429 (RFC 6585, section 4), or 503 with `Retry-After` (RFC 9110,
    section 15.6.4). A connection that breaks later, any other 5xx and a missing response may all come after the
    task was accepted, and a second attempt could create a duplicate task.
    """

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """Return whether a response is followed by another attempt."""
        if method.upper() == "POST":
            return bool(self.total) and (status_code == 429 or (status_code == 503 and has_retry_after))
        return super().is_retry(method, status_code, has_retry_after)


def retry_policy(kind: type[Retry], retries: int, methods: set[str]) -> Retry:
    """Return a policy of retries, for the failures of connections and for responses."""
    return kind(
        total=retries,
        redirect=0,
        allowed_methods=frozenset(methods),
        backoff_factor=0.2,
        backoff_max=8,
        backoff_jitter=0.2,
        raise_on_status=False,
        raise_on_redirect=False,
    )


def new_session() -> requests.Session:
    """Return a session that threads may share."""
    session = _ServiceSession()
    session.headers["User-Agent"] = f"callback-sdk/{__version__}"
    # A shared cookie jar is the one part of a session that threads would fight over.
    session.cookies = RequestsCookieJar(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _Adapter()
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class _ServiceSession(requests.Session):
    """A session that follows no redirect, and so neither parses its Location nor reads its content whole."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class _Adapter(HTTPAdapter):
    """Makes bounded connections, and takes the retries of the call from its limits."""

    @property
    def max_retries(self) -> urllib3.Retry:
        return _limits.get().retries

    @max_retries.setter
    def max_retries(self, value: object) -> None:
        pass

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _bound_connections(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options)
        if is_new:
            _bound_connections(manager)
        return manager


def _bound_connections(manager: urllib3.PoolManager) -> None:
    """Let a manager of pools make our kind of its connections, whatever its own kind is, SOCKS among them."""
    manager.pool_classes_by_scheme = {scheme: _bounded(pool) for scheme, pool in manager.pool_classes_by_scheme.items()}


def _bounded(pool: type[Any]) -> type[Any]:
    plain = pool.ConnectionCls
    dials_itself = plain._new_conn is not HTTPConnection._new_conn
    mixins = (_BoundedConnection,) if dials_itself else (_DialedConnection, _BoundedConnection)
    connection = type(plain.__name__, (*mixins, plain), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection, "QueueCls": _IdleConnections})


class _IdleConnections:
    """The idle connections of one pool, the last used first. It needs no lock, so it can't be locked after a fork.

    Unlike `queue.LifoQueue` it is never full: urllib3 would log a warning for every connection above the limit.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self._connections: deque[tuple[float, Any]] = deque()
        # Two processes that use one connection read each other's responses.
        after_fork(self, _IdleConnections.close_all)

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        try:
            while True:
                since, connection = self._connections.pop()
                if _is_fresh(since):
                    return connection
                connection.close()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = False) -> None:
        # urllib3 puts None for a connection that it has closed, and when it makes a pool.
        if connection is not None:
            self._connections.append((_now(), connection))
            self._sweep()

    def qsize(self) -> int:
        return len(self._connections)

    def close_all(self) -> None:
        """Close what is idle; in a child process that closes its own copies only, without a word to the service."""
        with contextlib.suppress(IndexError):
            while True:
                self._connections.pop()[1].close()

    def _sweep(self) -> None:
        """Close the connection that was idle for longest, if the service has closed its end, or there are too many."""
        try:
            since, oldest = self._connections.popleft()
        except IndexError:
            return
        if _is_fresh(since) and oldest.is_connected and len(self._connections) < MAX_IDLE:
            self._connections.appendleft((since, oldest))
        else:
            oldest.close()


def _now() -> float:
    # Not the monotonic clock, which stands still while a machine sleeps.
    return time.time()


def _is_fresh(since: float) -> bool:
    return abs(_now() - since) < IDLE_LIMIT


class _BoundedConnection:
    """A connection whose responses, those of a proxy included, are read until the deadline only."""

    class response_class(http.client.HTTPResponse):  # noqa: N801 - http.client's own name
        def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
            readable = _Readable(sock)
            super().__init__(readable, *args, **kwargs)  # type: ignore[arg-type]
            self._file = readable.file

        def begin(self) -> None:
            super().begin()
            # Here, as urllib3 reads the refusals that it retries after by itself, and the whole of each.
            limits = _limits.get()
            self._file.in_head = False
            self._file.left = 2 * limits.max_bytes + _MAX_HEAD if 200 <= self.status < 300 else MAX_REFUSAL

    def endheaders(self: Any, *args: Any, **kwargs: Any) -> None:
        # Sends the head, and connects before that, unless urllib3 did: over TLS it always does.
        if self.sock is None:
            self.connect()
        _limits.get().progress.sent = True
        super().endheaders(*args, **kwargs)  # type: ignore[misc]


class _DialedConnection:
    """A connection whose name resolution and addresses share one timeout."""

    def _new_conn(self: Any) -> socket.socket:
        until = min(time.monotonic() + self.timeout, _limits.get().deadline)
        host = f"[{self._dns_host}]" if ":" in self._dns_host else self._dns_host
        try:
            sock = connect_happy_eyeballs(resolve(SecretURL(f"http://{host}:{self.port}"), until), until)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from error
        except (OSError, InvalidTargetError) as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error
        for option in self.socket_options or ():
            sock.setsockopt(*option)
        return sock


class _Readable:
    """What `http.client` takes for a socket, to make a file of it."""

    def __init__(self, sock: Any) -> None:
        self.file = _BoundedFile(sock, _limits.get().deadline)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self.file)


class _BoundedFile(io.RawIOBase):
    """Reads a socket; each wait ends with the deadline, so a slow stream of single bytes does too.

    Attributes:
        left: How many more bytes may be read.
        in_head: Whether they are part of the head.
    """

    def __init__(self, sock: Any, deadline: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._timeout = sock.gettimeout() or float("inf")
        self._deadline = deadline
        self.left: float = _MAX_HEAD
        self.in_head = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds = min(self._timeout, time_left(self._deadline))
        self._sock.settimeout(None if seconds == float("inf") else seconds)
        count: int | None = self._raw.readinto(buffer)
        self.left -= count or 0
        if self.left < 0:
            if self.in_head:
                raise OSError(f"The response has a head of more than {_MAX_HEAD} bytes.")
            raise ResponseTooLong("The response is longer than its limit.")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
