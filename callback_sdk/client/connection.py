"""The client's connection to a service: one HTTP session that retries where nothing can happen twice."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any, cast

import orjson
import requests
import urllib3
from attrs import define, field
from requests.auth import AuthBase

from callback_sdk import tracing
from callback_sdk.client.certificates import authorities, check_authorities
from callback_sdk.client.content import content_of, is_too_long, too_large
from callback_sdk.client.login import LoginCredentials
from callback_sdk.client.responses import ServiceResponse, read, unreachable
from callback_sdk.client.transport import CarefulRetry, Limits, Retry, limited, new_session, retry_policy
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
from callback_sdk.transport.proxies import check_proxy, is_direct

JSON = "application/json"

_NO_PROXIES = dict.fromkeys(("http", "https", "all"))


class _BearerAuth(AuthBase):
    """Puts the token, if any, into a request. With an authenticator, requests never looks into a netrc file."""

    def __init__(self, token: Secret[str] | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return request


@define(frozen=True, kw_only=True)
class Request:
    """What to ask the service for.

    Attributes:
        method: The HTTP method.
        path: What follows the service's URL, quoted.
        body: What to send, streamed with its length.
        content_type: The body's media type.
        accept: Media type of the response. A body that isn't JSON is returned as bytes.
        deadline: When the request ends at the latest, by the monotonic clock. With one, a failed request is not
            repeated here: who has a deadline asks again.
        hidden: Strings that an error must not repeat, should the service quote them.
        key: The idempotency key.
        resume_key: The key to come back with after a failure, where that is another one.
        repeatable: Whether the service is known to heed the key, so that a POST may be sent again like a GET.
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

    @property
    def headers(self) -> dict[str, str]:
        """Names and values, but for the token."""
        given = {"Accept": self.accept, "Content-Type": self.content_type, "Idempotency-Key": self.key}
        return {name: value for name, value in given.items() if value is not None}


class _BodyFile:
    """A body as the file that requests wants: of known length, read in pieces, and again from the start."""

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
            raise OSError("Only the start can be returned to.")
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
                problem = f"can't be read any more: {error.__cause__.strerror}"
        raise FeaturesError(f"The features {problem}.", hint="Leave the file alone until the task is submitted.")


class ServiceConnection:
    """Requests to one service.

    Args:
        url: Where its API is; `/api/v2` is added to a URL without a path.
        credentials: Where the bearer token comes from.
        timeout: Read timeout.
        connect_timeout: Timeout of a connection attempt.
        retries: Attempts after the first one.
        max_response: How many bytes of a 2xx are read, decompressed.

    Raises:
        ConfigurationError: One of them can't be used.
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
        if not isinstance(retries, int) or not 0 <= retries <= 100:
            raise ConfigurationError(f"retries is {retries!r}.", hint="Give a whole number from 0 to 100.")
        self._place = SecretURL(self.url)
        self._max_response = max_response
        self._careful = retry_policy(CarefulRetry, retries, {"GET", "HEAD", "DELETE"})
        self._repeating = retry_policy(Retry, retries, {"POST"})
        self._session = PerProcess(new_session)

    def close(self) -> None:
        """Close all connections of this process."""
        session = self._session.pop()
        if session is not None:
            session.close()

    def use(self, credentials: LoginCredentials) -> None:
        """Send other credentials from now on."""
        self._credentials = credentials

    def log_in(self) -> None:
        """Get a token now, and not with the first request.

        Raises:
            ServiceError: The service gave none.
        """
        self._credentials.token(partial(self._post, deadline=None))

    def renew(self) -> bool:
        """Replace the token, and return whether there was something to replace it by.

        Raises:
            ServiceError: The service gave none.
        """
        post = partial(self._post, deadline=None)
        return self._credentials.renewed(self._credentials.token(post), post) is not None

    def verify(self, token: Secret[str] | None = None) -> None:
        """Ask the service whether a token is valid; the one that is sent when None.

        Raises:
            AuthenticationError: It isn't.
            ServiceError: The service didn't tell.
        """
        token = token or self._credentials.token(partial(self._post, deadline=None))
        self._post("/token/verify/", Secret({"token": token.reveal()}), deadline=None)

    def request(self, method: str, path: str, **options: Any) -> ServiceResponse:
        """Make one request, and once more with another token when that is refused and there is another.

        Args:
            method: The HTTP method.
            path: What follows the service's URL, quoted.
            **options: The other attributes of `Request`.

        Returns:
            The response, if it is a 2xx.

        Raises:
            ServiceError: Any other response, or none.
        """
        request = Request(method=method, path=path, **options)
        post = partial(self._post, deadline=request.deadline)
        token = self._credentials.token(post, request.deadline)
        try:
            return self._ask(request, token)
        except AuthenticationError as error:
            other = self._credentials.renewed(token, post, request.deadline) if error.status == 401 else None
            if other is None:
                raise
        return self._ask(request, other)

    def _post(self, path: str, data: Secret[dict[str, str]], *, deadline: float | None) -> ServiceResponse:
        request = Request(
            method="POST",
            path=path,
            body=Body(orjson.dumps(data.reveal())),
            content_type=JSON,
            deadline=deadline,
            hidden=Secret(tuple(data.reveal().values())),
            # A second login creates nothing.
            repeatable=True,
        )
        return self._ask(request, None)

    def _ask(self, request: Request, token: Secret[str] | None) -> ServiceResponse:
        response, content = self._send(request, token)
        return read(response, content, self.url, self._hidden(request, token), as_file=request.accept != JSON)

    def _hidden(self, request: Request, token: Secret[str] | None) -> Secret[tuple[str, ...]]:
        """Return every string that no error of a request may repeat; the token may have been replaced meanwhile."""
        sent = () if token is None else (token.reveal(),)
        return Secret((*sent, *self._credentials.hidden(), *request.hidden.reveal()))

    def _send(self, request: Request, token: Secret[str] | None) -> tuple[requests.Response, bytes]:
        failure: BaseException
        limits = self._limits(request)
        try:
            with limited(limits):
                response = self._session.get().request(
                    request.method,
                    self.url + request.path,
                    headers=request.headers | _traced(),
                    data=None if request.body is None else cast("Any", _BodyFile(request.body)),
                    timeout=self._timeouts_until(request.deadline),
                    auth=_BearerAuth(token),
                    allow_redirects=False,
                    proxies=cast("Any", self._proxies()),
                    verify=authorities() if self.url.startswith("https:") else True,
                    stream=True,
                )
                return response, content_of(response, self.url, self._max_response)
        except BaseException as error:  # noqa: BLE001 - also an interrupt, and what a signal handler raises
            if is_too_long(error):
                failure = too_large(self.url, self._max_response)
            else:
                hidden = self._hidden(request, token)
                failure = strip_traceback(_translated(error, self.url, request, hidden, was_sent=limits.progress.sent))
        # Raised only here, because the frames below have the token in their locals.
        raise failure

    def _proxies(self) -> dict[str, None]:
        # A proxy can't reach this machine's own loopback address, and would be shown the token.
        if is_direct(self._place):
            return dict(_NO_PROXIES)
        check_proxy(self._place)
        return {}

    def _limits(self, request: Request) -> Limits:
        if request.deadline is not None:
            return Limits(urllib3.Retry(0, raise_on_redirect=False), request.deadline, self._max_response)
        is_repeated = request.repeatable and request.method == "POST"
        return Limits(self._repeating if is_repeated else self._careful, max_bytes=self._max_response)

    def _timeouts_until(self, deadline: float | None) -> tuple[float, float]:
        if deadline is None:
            return self._timeouts
        left = deadline - time.monotonic()
        if left <= 0:
            raise ServiceConnectionError(f"There was no time left to ask {self.url}.", hint="Allow a longer wait.")
        return min(self._timeouts[0], left), min(self._timeouts[1], left)


def _translated(
    error: BaseException, url: str, request: Request, hidden: Secret[tuple[str, ...]], *, was_sent: bool
) -> BaseException:
    """Return an error of ours for whatever the libraries below raise."""
    # Not only requests' own errors: a malformed URL of a proxy or a redirect raises others.
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


def _traced() -> dict[str, str]:
    traceparent = tracing.current()
    return {} if traceparent is None else {tracing.TRACEPARENT: traceparent}


def _base_url(url: SecretURL) -> str:
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            f"The service's URL {url} is not an http or https URL.",
            hint="Give one such as http://127.0.0.1:8000/api/v2.",
        )
    if url.has_userinfo or str(url).endswith(f"?{HIDDEN}") or "#" in url.reveal():
        raise ConfigurationError(
            f"The service's URL {url} has a user, a query or a fragment.", hint="Give the token as token=..."
        )
    return str(url).rstrip("/") + ("/api/v2" if url.path in ("", "/") else "")


def service_url(url: Secret[str]) -> SecretURL:
    """Read the service's URL.

    Raises:
        ConfigurationError: It is malformed.
    """
    try:
        return SecretURL(url.reveal().strip())
    except InvalidTargetError:
        pass
    raise ConfigurationError("The service's URL has a malformed host or port.", hint="Check url= or CALLBACK_SDK_URL.")
