"""The HTTP session of the client: one per process, thread-safe, with a deadline for each request.

The timeouts of requests and urllib3 apply to each read, not to their sum, and not to name resolution. So the
connections here apply the deadline of the current call when they connect and read.
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
from callback_sdk.transport.driver import BLOCKING, run
from callback_sdk.transport.retry import is_retryable, parse_retry_after

MAX_RETRY_AFTER = 30.0
"""Maximum delay before the next attempt that a `Retry-After` can request, in seconds."""

IDLE_LIMIT = 20.0
"""Seconds for which an idle connection is kept. Servers close idle connections after 5 to 60 s, possibly while a
request is being sent, and a connection that was lost by suspend or a NAT timeout looks open."""

MAX_IDLE = 256
"""Maximum number of idle connections that are kept."""


MAX_REFUSAL = 256 * 1024
"""Maximum bytes of a response that is not a 2xx; its error message is truncated to 1,000 characters."""

_MAX_HEAD = 8 * 1024 * 1024
"""Maximum bytes before the content of a response. http.client accepts 100 headers of 64 KiB each, and an unlimited
number of 1xx responses."""


class ResponseTooLong(OSError):  # noqa: N818 - its user sees a ResponseTooLargeError
    """A response exceeds its limit of bytes. An OSError, so that urllib3 closes the connection."""


@define
class SendProgress:
    """The progress of the attempts of one request.

    Attributes:
        sent: Whether the service may have received a part of the request. Failures before that are failures of name
            resolution, a proxy's tunnel or the TLS handshake.
    """

    sent: bool = False


@define(frozen=True)
class Limits:
    """The limits of a thread's current request.

    Attributes:
        retries: The retry policy.
        deadline: Time by which the request must end, in seconds of the monotonic clock.
        max_bytes: Maximum bytes of a 2xx response.
        progress: Records the progress of the request.
    """

    retries: urllib3.Retry
    deadline: float = float("inf")
    max_bytes: float = float("inf")
    progress: SendProgress = field(factory=SendProgress)


_NO_RETRIES = Limits(urllib3.Retry(0))

_limits: ContextVar[Limits] = ContextVar("limits", default=_NO_RETRIES)


@contextlib.contextmanager
def limit(limits: Limits) -> Iterator[None]:
    """Apply limits to the requests of this thread inside the block."""
    token = _limits.set(limits)
    try:
        yield
    finally:
        _limits.reset(token)


R = TypeVar("R", bound="Retry")


class Retry(urllib3.Retry):
    """Retry policy of calls that can be repeated."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """Return whether a response is retried."""
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
        """Count an attempt.

        A failed certificate verification is not retried, because it is permanent, and no attempt is retried after the
        deadline.
        """
        if isinstance(error, SSLError) and any(isinstance(arg, ssl.SSLCertVerificationError) for arg in error.args):
            raise MaxRetryError(_pool, url or "", error)
        following = super().increment(method, url, response, error, _pool, _stacktrace)
        asked_for = following.get_retry_after(response) if response is not None else None
        if time.monotonic() + (asked_for or following.get_backoff_time()) >= _limits.get().deadline:
            raise MaxRetryError(_pool, url or "", error)
        return following

    def parse_retry_after(self, retry_after: str) -> float:
        """Return the delay of a `Retry-After` in seconds, up to the maximum; 1 if the header can't be parsed."""
        delay = parse_retry_after(retry_after)
        return 1.0 if delay is None else min(delay.total_seconds(), MAX_RETRY_AFTER)


class CarefulRetry(Retry):
    """Retry policy of a POST: only if a retry can't create a duplicate task.

    A POST is retried if no connection was made (urllib3 does so for every method), and if the service rejects the
    request temporarily: 429 (RFC 6585, section 4), or 503 with `Retry-After` (RFC 9110, section 15.6.4). After a
    connection that breaks later, any other 5xx or a missing response, the task may have been accepted.
    """

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """Return whether a response is retried."""
        if method.upper() == "POST":
            return bool(self.total) and (status_code == 429 or (status_code == 503 and has_retry_after))
        return super().is_retry(method, status_code, has_retry_after)


def retry_policy(kind: type[Retry], retries: int, methods: set[str]) -> Retry:
    """Return a retry policy for failed connections and responses."""
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
    """Return a thread-safe session."""
    session = _ServiceSession()
    session.headers["User-Agent"] = f"callback-sdk/{__version__}"
    # The cookie jar is the only part of a session that isn't thread-safe, and the service uses no cookies.
    session.cookies = RequestsCookieJar(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _Adapter()
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def set_read_timeout(response: requests.Response, seconds: float) -> None:
    """Set the timeout of each further read of a response's content."""
    original: Any = response.raw._original_response
    original.file.timeout = seconds


class _ServiceSession(requests.Session):
    """A session without redirects: requests would parse the Location header, and read the content without a limit."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class _Adapter(HTTPAdapter):
    """Creates connections with limits, and applies the retry policy of the current call."""

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
    """Replace the connection classes of a pool manager, including those for SOCKS, by subclasses with limits."""
    manager.pool_classes_by_scheme = {scheme: _bound(pool) for scheme, pool in manager.pool_classes_by_scheme.items()}


def _bound(pool: type[Any]) -> type[Any]:
    plain = pool.ConnectionCls
    dials_itself = plain._new_conn is not HTTPConnection._new_conn
    mixins = (_BoundedConnection,) if dials_itself else (_DialedConnection, _BoundedConnection)
    connection = type(plain.__name__, (*mixins, plain), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection, "QueueCls": _IdleConnections})


class _IdleConnections:
    """The idle connections of one pool, last used first. Without a lock, which could be held at a fork.

    Unlike `queue.LifoQueue` it is never full, because urllib3 would log a warning for each connection above the limit.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self._connections: deque[tuple[float, Any]] = deque()
        # After a fork, a child must not use the parent's connections: both would read each other's responses.
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
        # urllib3 puts None for each closed connection, and fills a new pool with None.
        if connection is not None:
            self._connections.append((_now(), connection))
            self._sweep()

    def qsize(self) -> int:
        return len(self._connections)

    def close_all(self) -> None:
        """Close idle connections. A forked child closes its descriptors only, which doesn't end the connections."""
        with contextlib.suppress(IndexError):
            while True:
                self._connections.pop()[1].close()

    def _sweep(self) -> None:
        """Close the connection with the longest idle time, if the service has closed it or there are too many."""
        try:
            since, oldest = self._connections.popleft()
        except IndexError:
            return
        if _is_fresh(since) and oldest.is_connected and len(self._connections) < MAX_IDLE:
            self._connections.appendleft((since, oldest))
        else:
            oldest.close()


def _now() -> float:
    # Not CLOCK_MONOTONIC, which doesn't advance while the machine is suspended (clock_gettime(2)).
    return time.time()


def _is_fresh(since: float) -> bool:
    return abs(_now() - since) < IDLE_LIMIT


class _BoundedConnection:
    """A connection that applies the deadline to reads of responses, including those of a proxy."""

    class response_class(http.client.HTTPResponse):  # noqa: N801 - http.client's own name
        def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
            readable = _SocketFile(sock)
            super().__init__(readable, *args, **kwargs)  # type: ignore[arg-type]
            self.file = readable.file

        def begin(self) -> None:
            super().begin()
            # The limit is applied here, because urllib3 itself reads the whole content of responses that it retries.
            limits = _limits.get()
            self.file.in_head = False
            self.file.left = 2 * limits.max_bytes + _MAX_HEAD if 200 <= self.status < 300 else MAX_REFUSAL

    def endheaders(self: Any, *args: Any, **kwargs: Any) -> None:
        # http.client connects here and sends the head. For TLS, urllib3 has connected before.
        if self.sock is None:
            self.connect()
        _limits.get().progress.sent = True
        super().endheaders(*args, **kwargs)  # type: ignore[misc]

    def send(self: Any, data: Any) -> None:
        # A service that reads slowly must not extend the deadline: a timeout applies to one piece of the body.
        deadline = _limits.get().deadline
        if self.sock is not None and deadline != float("inf"):
            self.sock.settimeout(min(self.sock.gettimeout() or float("inf"), time_left(deadline)))
        super().send(data)  # type: ignore[misc]


class _DialedConnection:
    """A connection with one timeout for name resolution and all addresses together."""

    def _new_conn(self: Any) -> socket.socket:
        until = min(time.monotonic() + self.timeout, _limits.get().deadline)
        host = f"[{self._dns_host}]" if ":" in self._dns_host else self._dns_host
        try:
            addresses = resolve(SecretURL(f"http://{host}:{self.port}"), until)
            sock = run(connect_happy_eyeballs(addresses, until, BLOCKING))
            sock.settimeout(time_left(until))
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from error
        except (OSError, InvalidTargetError) as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error
        for option in self.socket_options or ():
            sock.setsockopt(*option)
        return sock


class _SocketFile:
    """An object with the socket method that `http.client` needs, `makefile`."""

    def __init__(self, sock: Any) -> None:
        self.file = _BoundedFile(sock, _limits.get().deadline)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self.file)


class _BoundedFile(io.RawIOBase):
    """Reads a socket until a deadline, which ends even a slow stream of single bytes.

    Attributes:
        left: Number of bytes that may still be read.
        in_head: Whether the head of the response is being read.
        timeout: Timeout of each read, in seconds.
    """

    def __init__(self, sock: Any, deadline: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self.timeout = sock.gettimeout() or float("inf")
        self._deadline = deadline
        self.left: float = _MAX_HEAD
        self.in_head = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds = min(self.timeout, time_left(self._deadline))
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
