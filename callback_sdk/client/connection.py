"""The client's connection to a service: one HTTP session that retries where nothing can happen twice."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from datetime import timedelta
from http.cookiejar import DefaultCookiePolicy
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.cookies import RequestsCookieJar

from callback_sdk._version import __version__
from callback_sdk.body import Body
from callback_sdk.client.answers import Answer, read, unreachable
from callback_sdk.errors import (
    CallbackSDKError,
    ConfigurationError,
    EncodingError,
    FeaturesError,
    InvalidTargetError,
)
from callback_sdk.readings import total_seconds
from callback_sdk.redaction import HIDDEN, Secret, SecretURL, without_frames

LONGEST_RETRY_AFTER = 30.0
"""Seconds, at most, that a service's `Retry-After` is waited for before the next try."""


class _Retry(urllib3.Retry):
    """Retries for every call that can be repeated, and for a POST only where nothing can happen twice.

    A POST is sent again when no connection came about (urllib3 counts that for every method), and when the
    service says that it refuses for now: 429 (RFC 6585, section 4), or 503 with `Retry-After` (RFC 9110,
    section 15.6.4). A connection that breaks later, any other 5xx and a missing answer may all come after the
    task was accepted, and a second try could make a second task.
    """

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        if method.upper() == "POST":
            return bool(self.total) and (status_code == 429 or (status_code == 503 and has_retry_after))
        return super().is_retry(method, status_code, has_retry_after)

    def parse_retry_after(self, retry_after: str) -> float:
        try:
            return min(super().parse_retry_after(retry_after), LONGEST_RETRY_AFTER)
        except urllib3.exceptions.InvalidHeader:
            return 1.0


class _Bearer(AuthBase):
    """Puts the token into each request. With an authenticator, requests never looks into a netrc file."""

    def __init__(self, token: Secret[str]) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return request


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
        token: The bearer token.
        timeout: The longest silence of the service within one answer.
        connect_timeout: The longest wait for a connection.
        retries: Tries after the first one.

    Raises:
        ConfigurationError: One of them can't be used.
    """

    def __init__(
        self,
        url: SecretURL,
        token: Secret[str],
        *,
        timeout: timedelta,
        connect_timeout: timedelta,
        retries: int,
    ) -> None:
        self.url = _base_url(url)
        self._token = _checked(token)
        self._timeouts = (
            total_seconds("connect_timeout", connect_timeout),
            total_seconds("timeout", timeout),
        )
        if not isinstance(retries, int) or not 0 <= retries <= 100:
            raise ConfigurationError(f"retries is {retries!r}.", hint="Give a whole number from 0 to 100.")
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"callback-sdk/{__version__}"
        self._session.auth = _Bearer(token)
        # A shared cookie jar is the one part of a session that threads would fight over.
        self._session.cookies = RequestsCookieJar(DefaultCookiePolicy(allowed_domains=[]))
        # A proxy can't reach this machine's own loopback address, and would be shown the token.
        self._session.trust_env = not _is_loopback(url.host)
        adapter = HTTPAdapter(max_retries=_policy(retries))
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Body | None = None,
        content_type: str | None = None,
        at_most: float | None = None,
        hidden: Secret[tuple[str, ...]] | None = None,
    ) -> Answer:
        """Make one request.

        Args:
            method: The HTTP method.
            path: What follows the service's URL, quoted.
            body: What to send, streamed with its length.
            content_type: The body's media type.
            at_most: Seconds that no time-out may be beyond.
            hidden: Strings that an error must not repeat, should the service quote them.

        Returns:
            The answer to a 2xx.

        Raises:
            ServiceError: Any other answer, or none.
        """
        timeouts = tuple(min(seconds, seconds if at_most is None else max(at_most, 0.5)) for seconds in self._timeouts)
        headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if content_type else {})
        response = self._send(method, path, headers, body, timeouts)
        return read(response, self.url, Secret((self._token.reveal(), *(hidden.reveal() if hidden else ()))))

    def _send(
        self, method: str, path: str, headers: dict[str, str], body: Body | None, timeouts: tuple[float, ...]
    ) -> requests.Response:
        failure: BaseException
        try:
            return self._session.request(
                method,
                self.url + path,
                headers=headers,
                data=None if body is None else cast("Any", _Upload(body)),
                timeout=(timeouts[0], timeouts[1]),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            failure = unreachable(error, self.url, method)
        except (CallbackSDKError, KeyboardInterrupt) as error:
            failure = without_frames(error)
        # Raised only here, because the frames below have the token in their locals.
        raise failure


def _policy(retries: int) -> _Retry:
    return _Retry(
        total=retries,
        redirect=0,
        allowed_methods=frozenset({"GET", "HEAD", "DELETE"}),
        status_forcelist=frozenset({408, 425, 429, 500, 502, 503, 504}),
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


def _checked(token: Secret[str]) -> Secret[str]:
    # RFC 6750, section 2.1, allows fewer characters still; these are what can't stand in a header.
    if not re.fullmatch(r"[\x21-\x7e]+", token.reveal()):
        raise ConfigurationError(
            "The token is empty, or has a space or another character that no token has.",
            hint="Check token= or CALLBACK_SDK_TOKEN for a line's end or quotes too many.",
        )
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
