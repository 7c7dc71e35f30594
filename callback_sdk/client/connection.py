"""The client's connection to a service: an HTTP session that retries requests unless this could duplicate a task."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar, cast

import orjson
import requests
import urllib3
from attrs import define, evolve, field
from requests.auth import AuthBase

from callback_sdk import tracing
from callback_sdk.client.certificates import authorities, check_authorities
from callback_sdk.client.content import content_of, is_too_long, too_large
from callback_sdk.client.deadline import earliest
from callback_sdk.client.login import LoginCredentials
from callback_sdk.client.responses import ServiceResponse, read, unexpected_response, unreachable
from callback_sdk.client.server_events import EventParser, EventTooLongError, ServerEvent
from callback_sdk.client.transport import (
    CarefulRetry,
    Limits,
    Retry,
    limit,
    new_session,
    retry_policy,
    set_read_timeout,
)
from callback_sdk.concurrency.forking import PerProcess
from callback_sdk.documents.body import Body
from callback_sdk.errors import (
    AuthenticationError,
    CallbackSDKError,
    ConfigurationError,
    EncodingError,
    FeaturesError,
    InvalidTargetError,
    ServiceConnectionError,
)
from callback_sdk.parsing import Duration, total_seconds
from callback_sdk.redaction import HIDDEN, Secret, SecretURL, strip_traceback
from callback_sdk.text.descriptions import short_repr
from callback_sdk.transport.proxies import check_proxy, is_direct, proxy_credentials

T = TypeVar("T")

JSON = "application/json"

_CHUNK = 64 * 1024
"""Maximum bytes of a piece of a response that is read in pieces."""

EVENTS = "text/event-stream"

_FIRST_SILENCE = 5.0
"""Seconds in which a stream of events must begin: the service sends something at once."""

_SILENCE = 60.0
"""Seconds without a byte after which a stream of events is given up: the service sends a comment every 25 s."""

_NO_PROXIES = dict.fromkeys(("http", "https", "all"))


class _BearerAuth(AuthBase):
    """Adds the token, if any, to a request. With an authenticator, requests doesn't read credentials from netrc."""

    def __init__(self, token: Secret[str] | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return request


@define(frozen=True, kw_only=True)
class Request:
    """A request to the service.

    Attributes:
        method: The HTTP method.
        path: Path after the service's URL, quoted.
        body: The body, streamed with its length.
        content_type: Media type of the body.
        accept: Media type of the response. A body that isn't JSON is returned as bytes.
        deadline: Time by which the request must end, in seconds of the monotonic clock. A request with a deadline is
            not retried here, because its caller polls.
        hidden: Strings to remove from errors, because the service might quote them.
        key: The idempotency key.
        resume_key: The key with which the caller can repeat the call after a failure, if it differs from `key`.
        repeatable: Whether the service is known to support the key, so that a POST may be retried like a GET.
        conditions: Further headers, such as `Range`.
        wait: Seconds for which the service may hold the response back.
    """

    method: str
    path: str
    body: Body | None = None
    content_type: str | None = None
    accept: str = JSON
    deadline: float | None = None
    hidden: Secret[tuple[str, ...]] = field(factory=lambda: Secret(()))
    key: str | None = None
    resume_key: str | None = None
    repeatable: bool = False
    conditions: Mapping[str, str] = field(factory=dict)
    wait: float = 0.0

    @property
    def headers(self) -> dict[str, str]:
        """The headers, except the token."""
        given = {"Accept": self.accept, "Content-Type": self.content_type, "Idempotency-Key": self.key}
        return {**{name: value for name, value in given.items() if value is not None}, **self.conditions}


@define(frozen=True)
class Stream:
    """A 2xx response whose content is read in pieces.

    Attributes:
        status: The HTTP status.
        headers: The headers.
        chunks: The content. An error of the connection is a `ServiceConnectionError`.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    chunks: Iterator[bytes] = field(repr=False)


class _BodyFile:
    """A body as a file for requests: with a length, read in pieces, and rewindable to the start."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.seek(0)

    def __len__(self) -> int:
        return self._body.size

    def __iter__(self) -> Iterable[bytes]:
        return self._chunks

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position:
            raise OSError("The body can only be rewound to its start.")
        self._position = 0
        self._rest = memoryview(b"")
        self._chunks = self._body.chunks()
        return 0

    def read(self, size: int = -1) -> bytes:
        if not self._rest:
            self._rest = memoryview(self._next())
        piece = self._rest[:size] if size >= 0 else self._rest
        self._rest = self._rest[len(piece) :]
        self._position += len(piece)
        return bytes(piece)

    def _next(self) -> bytes:
        try:
            return next(self._chunks, b"")
        except EncodingError as error:
            problem = "were changed while they were being sent"
            if isinstance(error.__cause__, OSError):
                problem = f"can no longer be read: {error.__cause__.strerror}"
        raise FeaturesError(f"The features {problem}.", hint="Don't change the file until the task is submitted.")


class ServiceConnection:
    """Requests to one service.

    Args:
        url: URL of the service's API; `/api/v2` is added to a URL without a path.
        credentials: Source of the bearer token.
        timeout: Read timeout.
        connect_timeout: Timeout of a connection attempt.
        retries: Maximum attempts after the first one.
        max_response: Maximum bytes of a 2xx response, decompressed.

    Raises:
        ConfigurationError: An argument is invalid.
    """

    def __init__(
        self,
        url: SecretURL,
        credentials: LoginCredentials,
        *,
        timeout: Duration,
        connect_timeout: Duration,
        retries: int,
        max_response: float,
    ) -> None:
        self.url = _base_url(url)
        self._credentials = credentials
        self._timeouts = (
            total_seconds("connect_timeout", connect_timeout),
            total_seconds("timeout", timeout),
        )
        if not isinstance(retries, int) or isinstance(retries, bool) or not 0 <= retries <= 100:
            raise ConfigurationError(f"retries is {short_repr(retries)}.", hint="Give a whole number from 0 to 100.")
        self._place = SecretURL(self.url)
        self._max_response = max_response
        self.retries = retries
        self._careful = retry_policy(CarefulRetry, retries, {"GET", "HEAD", "DELETE"})
        self._repeating = retry_policy(Retry, retries, {"POST"})
        self._session = PerProcess(new_session)

    def close(self) -> None:
        """Close all connections of this process."""
        session = self._session.pop()
        if session is not None:
            session.close()

    def use(self, credentials: LoginCredentials) -> None:
        """Use other credentials for all further requests."""
        self._credentials = credentials

    def log_in(self) -> None:
        """Log in now instead of at the first request.

        Raises:
            ServiceError: The login failed.
        """
        self._credentials.token(partial(self._post, deadline=None))

    def renew(self) -> bool:
        """Replace the token; return False if the credentials can't get a new one.

        Raises:
            ServiceError: The service issued no token.
        """
        post = partial(self._post, deadline=None)
        return self._credentials.renew(self._credentials.token(post), post) is not None

    def verify(self, token: Secret[str] | None = None) -> None:
        """Verify a token at the service; the token of the credentials if None.

        Raises:
            AuthenticationError: The token is invalid.
            ServiceError: The token could not be verified.
        """
        token = token or self._credentials.token(partial(self._post, deadline=None))
        self._post("/token/verify/", Secret({"token": token.reveal()}), deadline=None)

    def request(self, method: str, path: str, **options: Any) -> ServiceResponse:
        """Make a request. If the service rejects the token, repeat it once with a new token, if there is one.

        Args:
            method: The HTTP method.
            path: Path after the service's URL, quoted.
            **options: The other attributes of `Request`.

        Returns:
            The 2xx response.

        Raises:
            ServiceError: The service sent another response, or none.
        """
        return self._authenticate(Request(method=method, path=path, **options), self._exchange)

    def events(self, path: str, *, last_event_id: str | None, deadline: float) -> Generator[ServerEvent, None, None]:
        """Make a GET request for server-sent events, and yield them until the stream ends.

        Args:
            path: Path after the service's URL, quoted.
            last_event_id: Id of the last event that is known.
            deadline: Time by which the stream must end, in seconds of the monotonic clock.

        Raises:
            ServiceError: The service sent another response, or nothing in time: a proxy may hold back what it sends.
        """
        conditions = {"Accept-Encoding": "identity"}
        if last_event_id is not None:
            conditions["Last-Event-ID"] = last_event_id
        request = Request(method="GET", path=path, accept=EVENTS, conditions=conditions, deadline=deadline)
        stream = self._authenticate(request, partial(self._open, max_bytes=math.inf, silence=_FIRST_SILENCE))
        if not stream.headers.get("Content-Type", "").startswith(EVENTS):
            raise unexpected_response("a stream of events")
        parser = EventParser()
        with contextlib.closing(cast("Generator[bytes, None, None]", stream.chunks)) as chunks:
            try:
                for chunk in chunks:
                    yield from parser.feed(chunk)
            except EventTooLongError:
                raise unexpected_response("events of a bounded length") from None

    def stream(self, path: str, *, conditions: Mapping[str, str], max_bytes: float) -> Stream:
        """Make a GET request for content of any size; see `request`.

        Args:
            path: Path after the service's URL, quoted.
            conditions: Further headers, such as `Range`.
            max_bytes: Maximum bytes of the content.

        Raises:
            ServiceError: The service sent another response, or none.
        """
        # Of a compressed response no range could be continued.
        conditions = {"Accept-Encoding": "identity", **conditions}
        request = Request(method="GET", path=path, accept="*/*", conditions=conditions)
        return self._authenticate(request, partial(self._open, max_bytes=max_bytes))

    def _authenticate(self, request: Request, exchange: Callable[[Request, Secret[str] | None], T]) -> T:
        post = partial(self._post, deadline=request.deadline)
        token = self._credentials.token(post, request.deadline)
        try:
            return exchange(request, token)
        except AuthenticationError as error:
            other = self._credentials.renew(token, post, request.deadline) if error.status == 401 else None
            if other is None:
                raise
        return exchange(request, other)

    def _post(self, path: str, data: Secret[dict[str, str]], *, deadline: float | None) -> ServiceResponse:
        request = Request(
            method="POST",
            path=path,
            body=Body(orjson.dumps(data.reveal())),
            content_type=JSON,
            deadline=deadline,
            hidden=Secret(tuple(data.reveal().values())),
            # A login may be retried, because a second one has no side effects.
            repeatable=True,
        )
        return self._exchange(request, None)

    def _exchange(self, request: Request, token: Secret[str] | None) -> ServiceResponse:
        response, content = self._send(request, token)
        return read(response, content, self.url, self._secrets_of(request, token), as_file=request.accept != JSON)

    def _secrets_of(self, request: Request, token: Secret[str] | None) -> Secret[tuple[str, ...]]:
        """Return all strings to remove from errors of a request, including its token, which may have been replaced."""
        sent = () if token is None else (token.reveal(),)
        for_proxy = proxy_credentials(self._place).reveal()
        return Secret((*sent, *self._credentials.secrets(), *request.hidden.reveal(), *for_proxy))

    def _open(
        self, request: Request, token: Secret[str] | None, *, max_bytes: float, silence: float | None = None
    ) -> Stream:
        limits = evolve(self._limits(request), max_bytes=max_bytes)
        with self._translate_errors(request, token, limits):
            response = self._respond(request, token, limits)
            if silence is not None:
                set_read_timeout(response, silence)
            # Only the content of an error is read here.
            content = b"" if response.ok else content_of(response, self.url, self._max_response)
        read(response, content, self.url, self._secrets_of(request, token), as_file=True)

        def chunks() -> Iterator[bytes]:
            with self._translate_errors(request, token, limits), contextlib.closing(response):
                for chunk in response.iter_content(_CHUNK):
                    if silence is not None:
                        set_read_timeout(response, _SILENCE)
                    yield chunk

        return Stream(response.status_code, response.headers, chunks())

    def _send(self, request: Request, token: Secret[str] | None) -> tuple[requests.Response, bytes]:
        limits = self._limits(request)
        with self._translate_errors(request, token, limits):
            response = self._respond(request, token, limits)
            return response, content_of(response, self.url, self._max_response)

    def _respond(self, request: Request, token: Secret[str] | None, limits: Limits) -> requests.Response:
        with limit(limits):
            return self._session.get().request(
                request.method,
                self.url + request.path,
                headers=request.headers | _trace_headers(),
                data=None if request.body is None else cast("Any", _BodyFile(request.body)),
                timeout=self._timeouts_of(request),
                auth=_BearerAuth(token),
                allow_redirects=False,
                proxies=cast("Any", self._proxies()),
                verify=authorities() if self.url.startswith("https:") else True,
                stream=True,
            )

    @contextlib.contextmanager
    def _translate_errors(self, request: Request, token: Secret[str] | None, limits: Limits) -> Iterator[None]:
        """Raise errors of requests and the libraries below it as errors of this package, without their frames."""
        failure: BaseException
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - also an interrupt, and what a signal handler raises
            if is_too_long(error):
                failure = too_large(self.url, limits.max_bytes)
            else:
                hidden = self._secrets_of(request, token)
                failure = strip_traceback(_translate(error, self.url, request, hidden, was_sent=limits.progress.sent))
        else:
            return
        # Raised outside the except block, because the frames of the original error have the token as a local variable.
        raise failure

    def _proxies(self) -> dict[str, None]:
        # No proxy for loopback addresses: it couldn't reach this machine's, and would receive the token.
        if is_direct(self._place):
            return dict(_NO_PROXIES)
        check_proxy(self._place)
        return {}

    def _limits(self, request: Request) -> Limits:
        deadline = earliest(request.deadline)
        if request.deadline is not None:
            return Limits(urllib3.Retry(0, raise_on_redirect=False), deadline, self._max_response)
        is_repeated = request.repeatable and request.method == "POST"
        return Limits(self._repeating if is_repeated else self._careful, deadline, self._max_response)

    def _timeouts_of(self, request: Request) -> tuple[float, float]:
        left = earliest(request.deadline) - time.monotonic()
        if left <= 0:
            raise ServiceConnectionError(f"The timeout expired before a request to {self.url}.", hint="Increase it.")
        return min(self._timeouts[0], left), min(self._timeouts[1] + request.wait, left)


def _translate(
    error: BaseException, url: str, request: Request, hidden: Secret[tuple[str, ...]], *, was_sent: bool
) -> BaseException:
    """Return the error of this package for an error of requests or a library below it."""
    # Other exceptions than those of requests occur too, for example for a malformed URL of a proxy or a redirect.
    if isinstance(error, CallbackSDKError) or not isinstance(
        error, (OSError, ValueError, urllib3.exceptions.HTTPError)
    ):
        return error
    if isinstance(error, requests.exceptions.SSLError):
        try:
            check_authorities()
        except ConfigurationError as problem:
            return problem
    may_count = was_sent and request.method == "POST"
    return unreachable(error, url, request.resume_key or request.key, may_be_accepted=may_count, hidden=hidden)


def _trace_headers() -> dict[str, str]:
    traceparent = tracing.current()
    return {} if traceparent is None else {tracing.TRACEPARENT: traceparent}


def _base_url(url: SecretURL) -> str:
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            f"The service's URL {url} is not an http or https URL.",
            hint="Give a URL such as http://127.0.0.1:8000/api/v2.",
        )
    if url.has_userinfo or str(url).endswith(f"?{HIDDEN}") or "#" in url.reveal():
        raise ConfigurationError(
            f"The service's URL {url} has a user, a query or a fragment.", hint="Give the token as token=..."
        )
    return url.bare.rstrip("/") + ("/api/v2" if url.path in ("", "/") else "")


def service_url(url: Secret[str]) -> SecretURL:
    """Parse the service's URL.

    Raises:
        ConfigurationError: The URL is malformed.
    """
    try:
        return SecretURL(url.reveal().strip())
    except InvalidTargetError:
        pass
    raise ConfigurationError("The service's URL has a malformed host or port.", hint="Check url= or CALLBACK_SDK_URL.")
