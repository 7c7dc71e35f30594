"""The client's connection to a service: one HTTP session that retries where nothing can happen twice."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import timedelta
from http.cookiejar import DefaultCookiePolicy
from typing import Any, cast

import orjson
import requests
import urllib3
from attrs import define, field
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.cookies import RequestsCookieJar

from callback_sdk import tracing
from callback_sdk._version import __version__
from callback_sdk.body import Body
from callback_sdk.client.answers import Answer, read, unreachable
from callback_sdk.client.login import Credentials
from callback_sdk.errors import (
    AuthenticationError,
    CallbackSDKError,
    ConfigurationError,
    EncodingError,
    FeaturesError,
    InvalidTargetError,
)
from callback_sdk.readings import total_seconds
from callback_sdk.redaction import HIDDEN, Secret, SecretURL, without_frames
from callback_sdk.retry import RETRYABLE_STATUSES

JSON = "application/json"

LONGEST_RETRY_AFTER = 30.0
"""Seconds, at most, that a service's `Retry-After` is waited for before the next try."""


class _Retry(urllib3.Retry):
    """Retries for every call that can be repeated."""

    def parse_retry_after(self, retry_after: str) -> float:
        try:
            return min(super().parse_retry_after(retry_after), LONGEST_RETRY_AFTER)
        except urllib3.exceptions.InvalidHeader:
            return 1.0


class _CarefulRetry(_Retry):
    """Retries for a POST only where nothing can happen twice.

    A POST is sent again when no connection came about (urllib3 counts that for every method), and when the
    service says that it refuses for now: 429 (RFC 6585, section 4), or 503 with `Retry-After` (RFC 9110,
    section 15.6.4). A connection that breaks later, any other 5xx and a missing answer may all come after the
    task was accepted, and a second try could make a second task.
    """

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        if method.upper() == "POST":
            return bool(self.total) and (status_code == 429 or (status_code == 503 and has_retry_after))
        return super().is_retry(method, status_code, has_retry_after)


class _Bearer(AuthBase):
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
        accept: The answer's media type. What is no JSON is returned as it is.
        at_most: Seconds that no time-out may be beyond.
        hidden: Strings that an error must not repeat, should the service quote them.
        key: The idempotency key.
        repeatable: Whether the service is known to heed the key, so that a POST may be sent again like a GET.
    """

    method: str
    path: str
    body: Body | None = None
    content_type: str | None = None
    accept: str = JSON
    at_most: float | None = None
    hidden: Secret[tuple[str, ...]] = field(factory=lambda: Secret(()))
    key: str | None = None
    repeatable: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """Names and values, but for the token."""
        given = {"Accept": self.accept, "Content-Type": self.content_type, "Idempotency-Key": self.key}
        return {name: value for name, value in given.items() if value is not None}


class _Upload:
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
        except EncodingError:
            problem = "were changed while they were being sent"
        except OSError as error:
            # urllib3 would take it for an error of the connection.
            problem = f"can't be read any more: {error.strerror}"
        raise FeaturesError(f"The features {problem}.", hint="Leave the file alone until the task is submitted.")


class Connection:
    """Requests to one service.

    Args:
        url: Where its API is; `/api/v2` is added to a URL without a path.
        credentials: Where the bearer token comes from.
        timeout: The longest silence of the service within one answer.
        connect_timeout: The longest wait for a connection.
        retries: Tries after the first one.

    Raises:
        ConfigurationError: One of them can't be used.
    """

    def __init__(
        self,
        url: SecretURL,
        credentials: Credentials,
        *,
        timeout: timedelta,
        connect_timeout: timedelta,
        retries: int,
    ) -> None:
        self.url = _base_url(url)
        self._credentials = credentials
        self._timeouts = (
            total_seconds("connect_timeout", connect_timeout),
            total_seconds("timeout", timeout),
        )
        if not isinstance(retries, int) or not 0 <= retries <= 100:
            raise ConfigurationError(f"retries is {retries!r}.", hint="Give a whole number from 0 to 100.")
        # A proxy can't reach this machine's own loopback address, and would be shown the token.
        proxies = not _is_loopback(url.host)
        self._session = _session(_policy(_CarefulRetry, retries, {"GET", "HEAD", "DELETE"}), proxies=proxies)
        self._repeating = _session(_policy(_Retry, retries, {"POST"}), proxies=proxies)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()
        self._repeating.close()

    def request(self, method: str, path: str, **options: Any) -> Answer:
        """Make one request, and once more with another token when that is refused and there is another.

        Args:
            method: The HTTP method.
            path: What follows the service's URL, quoted.
            **options: The other attributes of `Request`.

        Returns:
            The answer to a 2xx.

        Raises:
            ServiceError: Any other answer, or none.
        """
        request = Request(method=method, path=path, **options)
        token = self._credentials.token(self._post)
        try:
            return self._ask(request, token)
        except AuthenticationError as error:
            other = self._credentials.renewed(token, self._post) if error.status == 401 else None
            if other is None:
                raise
        return self._ask(request, other)

    def _post(self, path: str, data: Secret[dict[str, str]]) -> Answer:
        body = Body(orjson.dumps(data.reveal()))
        hidden = Secret(tuple(data.reveal().values()))
        # Nothing comes of a second log-in.
        request = Request(method="POST", path=path, body=body, content_type=JSON, hidden=hidden, repeatable=True)
        return self._ask(request, None)

    def _ask(self, request: Request, token: Secret[str] | None) -> Answer:
        response = self._send(request, token)
        hidden = Secret((*self._credentials.hidden(), *request.hidden.reveal()))
        return read(response, self.url, hidden, as_file=request.accept != JSON)

    def _send(self, request: Request, token: Secret[str] | None) -> requests.Response:
        session = self._repeating if request.repeatable and request.method == "POST" else self._session
        limit = max(request.at_most, 0.5) if request.at_most is not None else float("inf")
        failure: BaseException
        try:
            return session.request(
                request.method,
                self.url + request.path,
                headers=request.headers | _traced(),
                data=None if request.body is None else cast("Any", _Upload(request.body)),
                timeout=(min(self._timeouts[0], limit), min(self._timeouts[1], limit)),
                auth=_Bearer(token),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            failure = unreachable(error, self.url, request.method, request.key)
        except (CallbackSDKError, KeyboardInterrupt) as error:
            failure = without_frames(error)
        # Raised only here, because the frames below have the token in their locals.
        raise failure


def _traced() -> dict[str, str]:
    traceparent = tracing.current()
    return {} if traceparent is None else {tracing.TRACEPARENT: traceparent}


def _session(policy: _Retry, *, proxies: bool) -> requests.Session:
    session = requests.Session()
    session.headers["User-Agent"] = f"callback-sdk/{__version__}"
    # A shared cookie jar is the one part of a session that threads would fight over.
    session.cookies = RequestsCookieJar(DefaultCookiePolicy(allowed_domains=[]))
    session.trust_env = proxies
    adapter = HTTPAdapter(max_retries=policy)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _policy(kind: type[_Retry], retries: int, methods: set[str]) -> _Retry:
    return kind(
        total=retries,
        redirect=0,
        allowed_methods=frozenset(methods),
        status_forcelist=RETRYABLE_STATUSES,
        backoff_factor=0.2,
        backoff_max=8,
        backoff_jitter=0.2,
        raise_on_status=False,
        raise_on_redirect=False,
    )


def _base_url(url: SecretURL) -> str:
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            f"The service's URL {url} is no http or https URL.",
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
