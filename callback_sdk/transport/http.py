"""Send one upload over HTTP/1.1 and return the response: the only way by which results reach targets.

It is built on sockets and the parser of `httptools`, and not on urllib3, requests or httpx, for four reasons:

- An absolute deadline for each attempt. Their timeouts bound one read, so a server that sends a byte now and then
  holds an attempt as long as it likes.
- A pinned address. The connection goes to the very address that the address guard checked (`sockets.Connection`), while
  `Host`, SNI and the certificate keep the name.
- No URL in any log or exception. urllib3 logs path and query at DEBUG, httpx the URL at INFO, and the exceptions of
  requests quote it. A presigned URL is a credential.
- About a fifth of the CPU time for each upload (`benchmarks/delivery.py`).

`tests/unit/transport/test_sender_contract.py` has the contract, for any other sender.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from attrs import define, evolve, field

from callback_sdk._version import __version__
from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.body import Body, FileRange
from callback_sdk.errors import CallbackSDKError, DeliveryError, InvalidTargetError
from callback_sdk.parsing import Duration, to_timedelta
from callback_sdk.redaction import Secret, SecretFields, SecretURL, strip_traceback
from callback_sdk.targets.hosts import port_of
from callback_sdk.targets.locations import resolve_location
from callback_sdk.targets.upload import Upload
from callback_sdk.transport.connect import resolve
from callback_sdk.transport.driver import BLOCKING, Driver, blocking
from callback_sdk.transport.polling import readable
from callback_sdk.transport.response import InvalidResponseError, Response, read_response
from callback_sdk.transport.sockets import (
    Connection,
    Key,
    Pool,
    Route,
    TimedSocket,
    head,
    host_header,
)

if TYPE_CHECKING:
    from callback_sdk.transport.tls import TLS, ClientCert

logger = logging.getLogger(__name__)

USER_AGENT = f"callback-sdk/{__version__}"

MAX_REDIRECTS = 3

PACKET_SIZE = 64 * 1024
"""Parts of a request are joined up to this many bytes: each write is a separate packet under TCP_NODELAY."""

MIN_BODY_RATE = 128 * 1024
"""Bytes per second. The attempt's timeout grows with the body, so that a large one over a slow line can arrive."""


# Three functions and not one with an argument: mypy's attrs plugin knows named converters only.


def _connect_timeout(value: Duration) -> timedelta:
    return to_timedelta("Timeouts.connect", value)


def _read_timeout(value: Duration) -> timedelta:
    return to_timedelta("Timeouts.read", value)


def _attempt_timeout(value: Duration) -> timedelta:
    return to_timedelta("Timeouts.attempt", value)


@define(frozen=True, kw_only=True)
class Timeouts:
    """Timeouts of one attempt, each a `timedelta` or a number of seconds.

    Attributes:
        connect: To connect to the server, including the TLS handshake.
        read: Between two pieces of data, in either direction.
        attempt: For the whole attempt, plus the time that the body takes at 128 KiB per second.

    Raises:
        ConfigurationError: A timeout is not a duration, or not positive.
    """

    connect: timedelta = field(default=timedelta(seconds=5), converter=_connect_timeout)
    read: timedelta = field(default=timedelta(seconds=30), converter=_read_timeout)
    attempt: timedelta = field(default=timedelta(minutes=2), converter=_attempt_timeout)


def attempt_seconds(timeouts: Timeouts, size: int) -> float:
    """Return the maximum duration of an attempt.

    Args:
        timeouts: The timeouts.
        size: Bytes of the body.
    """
    return timeouts.attempt.total_seconds() + size / MIN_BODY_RATE


def same_host(origin: SecretURL, destination: SecretURL) -> bool:
    """Return whether a redirect stays on the same host; the port may change."""
    return origin.host == destination.host


class HTTPSender:
    """Sends uploads over persistent connections. Thread-safe.

    Args:
        timeouts: Timeouts of one attempt.
        route: How targets are reached.
        may_redirect: Tells whether an upload may be redirected from one URL to another.
        client_cert: The client certificate; see `callback_sdk.transport.tls`.
        driver: Waits for the network.
    """

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        route: Route | None = None,
        may_redirect: Callable[[SecretURL, SecretURL], bool] = same_host,
        client_cert: ClientCert | None = None,
        driver: Driver = BLOCKING,
    ) -> None:
        self._driver = driver
        self._timeouts = timeouts or Timeouts()
        self._route = route or Route(resolve=resolve)
        self._may_redirect = may_redirect
        self._pool = Pool()
        # With a certificate created at once, to report one that can't be loaded.
        self._tls = None if client_cert is None else _new_tls(client_cert)

    async def exchange(self, upload: Upload) -> Response:
        """Make one attempt, including redirects.

        Args:
            upload: The request.

        Returns:
            The server's response, regardless of its status.

        Raises:
            DeliveryError: The server sent no response, or a redirect that isn't allowed.
            TargetError: The address guard rejects the host.
        """
        url = upload.url
        # A store may take as long to assemble the parts of a document as it took to receive them.
        deadline = time.monotonic() + attempt_seconds(self._timeouts, max(upload.body.size, upload.document.size))
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._exchange(upload, url, deadline)
            # The other redirects change the method: RFC 9110, section 15.4, lets a client turn a PUT that gets a 301 or
            # 302 into a GET, and a 303 always is one. requests does so, and reports the 200 of that GET.
            if not (upload.redirects and response.status in (307, 308)):
                return response
            url = self._follow(upload, url, response)
        raise DeliveryError(
            f"{upload.url} redirected more than {MAX_REDIRECTS} times, last to {url}.",
            hint="Give the URL of the store's final host.",
            url=str(upload.url),
            status=response.status,
        )

    send = blocking(exchange)

    def with_timeouts(self, timeouts: Timeouts, driver: Driver) -> HTTPSender:
        """Return a sender with other timeouts, another driver, and the same connections."""
        other = copy.copy(self)
        other._timeouts, other._driver = timeouts, driver
        return other

    def close(self) -> None:
        """Close idle connections."""
        self._pool.close()

    async def _exchange(self, upload: Upload, url: SecretURL, deadline: float) -> Response:
        """Send to one host. An idle connection that the server has closed is replaced once.

        RFC 9110, section 9.2.2, allows the retry of a request if the server can't have processed it.
        """
        stale = False
        while True:
            connection, fresh = None, True
            try:
                # A server that restarts closes all its idle connections: trying each would send the body each time.
                connection = None if stale else self._pool.take(_key(url))
                fresh = connection is None
                connection = connection or await self._connect(url, deadline)
                timed = TimedSocket(connection.sock, deadline, self._timeouts.read, self._driver)
                response, reusable = await _transmit(connection, timed, upload, url)
            except CallbackSDKError as error:
                _close(connection)
                raise strip_traceback(error) from strip_traceback(error.__cause__)
            except uninterrupted(OSError) as error:
                _close(connection)
                if fresh or not _closed_while_idle(error):
                    failure = strip_traceback(error)
                    break
                stale = True
            except BaseException:
                # The task was canceled, or a signal handler raised. The connection isn't reused: the response may come.
                if connection is not None and connection.is_unanswered:
                    logger.warning("the request to %s was interrupted; it may have been processed", url)
                _close(connection)
                raise
            else:
                self._pool.give(_key(url), connection) if reusable else _close(connection)
                return response
        with no_fork:
            from callback_sdk.transport.connection_errors import no_response_error

        raise no_response_error(url, self._route.proxy(url), failure) from failure

    def _follow(self, upload: Upload, url: SecretURL, response: Response) -> SecretURL:
        location = _location(url, response)
        if "location" not in response.headers or location.scheme not in ("http", "https"):
            problem = "without a usable Location"
        elif url.scheme == "https" and location.scheme == "http":
            problem = f"to {upload.scrub(str(location))}, which is not encrypted"
        elif not self._may_redirect(url, location):
            problem = f"to {upload.scrub(str(location))}, which is another {_difference(url, location)}"
        elif _quotes_credentials(upload, url, location):
            # Errors show the host and the path of the URL that responded.
            problem = "to a URL whose host or path quotes a credential of the request"
        else:
            return location
        raise DeliveryError(
            f"{url} redirected {problem}; the upload was not sent there.",
            hint="Presign for the bucket's own region and host, or add the other host to the storage endpoints. For "
            "AIStore, name the cluster's proxy in aistore_clusters (CALLBACK_SDK_AISTORE_CLUSTERS).",
            url=str(url),
            status=response.status,
        )

    async def _connect(self, url: SecretURL, deadline: float) -> Connection:
        connect_deadline = min(deadline, time.monotonic() + self._timeouts.connect.total_seconds())
        proxy = await self._driver.call(self._route.proxy, url)
        connection = Connection(url, self._route, connect_deadline, proxy=proxy, driver=self._driver)
        try:
            await connection.connect()
            if url.scheme == "https":
                await self._encrypt(connection, url.host, connect_deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _encrypt(self, connection: Connection, host: str, deadline: float) -> None:
        with no_fork:
            import ssl

            if self._tls is None:
                self._tls = _new_tls()
        # The first one reads the files of the certificate authorities.
        context = await self._driver.call(self._tls.context)
        connection.sock = self._tls.wrap(context, connection.sock, host)
        try:
            await TimedSocket(connection.sock, deadline, timedelta.max, self._driver).shake_hands()
        except ssl.SSLError:
            self._tls.reload()
            raise


def _new_tls(client_cert: ClientCert | None = None) -> TLS:
    with no_fork:
        from callback_sdk.transport.tls import TLS

    return TLS(client_cert)


async def _transmit(
    connection: Connection, timed: TimedSocket, upload: Upload, url: SecretURL
) -> tuple[Response, bool]:  # fmt: skip
    """Send the request and read the response; also return whether the connection can be reused."""
    head = _head(connection, upload, url)
    connection.is_unanswered = True
    whole = await _send_all(timed, head, upload.body)
    # A response to HEAD has the headers of one to GET, Content-Length included, and no body (RFC 9110, section 9.3.2).
    response, reusable = await read_response(timed.receive, url, head_only=upload.method == "HEAD")
    connection.is_unanswered = False
    added = SecretFields({**upload.url_headers.reveal(), **connection.proxy_headers.reveal()})
    if added.reveal():
        response = evolve(response, added_headers=added)
    if not whole and response.status < 300:
        raise DeliveryError(
            f"{url} answered {response.status} before the whole body was sent, so the result can't have been stored.",
            hint="Check the proxies in front of the server.",
            url=str(url),
            status=response.status,
            retryable=True,
        )
    return response, whole and reusable


def _head(connection: Connection, upload: Upload, url: SecretURL) -> bytes:
    own = {
        "Host": host_header(url),
        "User-Agent": USER_AGENT,
        # Without it any encoding is acceptable (RFC 9110, section 12.5.3), and an error's code may come compressed.
        "Accept-Encoding": "identity",
        # Always a length, never chunks: S3 answers 411 MissingContentLength or 501 NotImplemented to chunks.
        "Content-Length": str(upload.body.size),
    }
    request_line = Secret(f"{upload.method} {_request_target(url, absolute=connection.absolute)} HTTP/1.1")
    for_proxy = connection.proxy_headers if connection.absolute else SecretFields({})
    for_url = upload.url_headers if url is upload.url else SecretFields({})
    given = Secret({**upload.headers.reveal(), **for_url.reveal(), **for_proxy.reveal()})
    # A header that came with the target, such as its User-Agent, must not be there twice.
    others = {name: value for name, value in own.items() if name.lower() not in given.reveal()}
    return head(request_line, {**others, **given.reveal()})


async def _send_all(timed: TimedSocket, head: bytes, body: Body) -> bool:
    """Send a request, but stop when the server responds early; return whether the whole request was sent.

    RFC 9112, section 9.5: a client that sends a body should watch for an early error response, and may stop.
    """
    sent = False
    try:
        for packet in _packets(head, body.pieces() if timed.is_plain else body.chunks()):
            size = packet.size if isinstance(packet, FileRange) else len(packet)
            done = 0
            while done < size:
                if sent and await timed.receives_before_send():
                    return False
                done += await timed.send(packet, done)
                sent = True
    except uninterrupted(OSError):
        # The server has closed its side. A response that it sent before is in the receive buffer still.
        if not readable(timed.sock):
            raise
        return False
    return True


def _packets(head: bytes, pieces: Iterable[bytes | FileRange]) -> Iterator[bytes | FileRange]:
    """Yield a request with its small parts joined: each separate write would wake the server once more."""
    packet = head
    for piece in pieces:
        if isinstance(piece, FileRange):
            yield packet
            yield piece
            packet = b""
        elif len(packet) + len(piece) > PACKET_SIZE:
            yield packet
            packet = piece
        else:
            packet += piece
    yield packet


def _location(url: SecretURL, response: Response) -> SecretURL:
    try:
        return resolve_location(url, response.headers.get("location", ""))
    except InvalidTargetError:
        return SecretURL("")


def _difference(url: SecretURL, location: SecretURL) -> str:
    """Return in which part a redirect differs."""
    if url.host != location.host:
        return "host"
    return "port of this host" if port_of(url) != port_of(location) else "path"


def _quotes_credentials(upload: Upload, url: SecretURL, location: SecretURL) -> bool:
    place = location.origin if location.path == url.path else location.bare
    return upload.scrub(place) != place


def _closed_while_idle(error: OSError) -> bool:
    """Return whether a failure means that the server closed an idle connection before it read the request."""
    if isinstance(error, InvalidResponseError):
        return not error.received
    return not isinstance(error, TimeoutError)


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()


def _key(url: SecretURL) -> Key:
    return url.scheme, url.host, port_of(url)


def _request_target(url: SecretURL, *, absolute: bool) -> str:
    origin = f"{url.scheme}://{host_header(url)}" if absolute else ""
    return origin + quote(url.request_target(), safe="!#$%&'()*+,/:;=?@[]~")
