"""Bearer tokens of AIStore, and of its AuthN server, which issues them."""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import requests
import urllib3

from callback_sdk.concurrency.forking import Lock
from callback_sdk.errors import AIStoreLoginError, ConfigurationError
from callback_sdk.parsing import Duration, to_timedelta, total_seconds
from callback_sdk.redaction import Secret, SecretURL, clearing_locals, replaced

_TIMEOUT = (5.0, 30.0)
_MAX_RESPONSE = 64 * 1024
"""Maximum bytes of AuthN's response: a token has a few thousand at most."""

_NANOSECONDS = 1_000_000_000


class Token:
    """A token that is renewed: logs in on first use, shortly before it expires, and when it is rejected.

    Args:
        username: The user's name.
        password: The user's password.
        authn_endpoint: URL of AuthN, such as `http://authn:52001`.
        expires_in: Lifetime of a token, a `timedelta` or seconds; AuthN's own default when None.
        margin: Time before its expiry at which a token is replaced, a `timedelta` or seconds.
        verify: Whether to verify AuthN's certificate, or the path of a CA bundle.

    Example:
        >>> s3 = aistore.client("http://aistore:8080", token=aistore.Token("anna", password, "http://authn:52001"))
    """

    def __init__(
        self,
        username: str,
        password: str,
        authn_endpoint: str,
        *,
        expires_in: Duration | None = None,
        margin: Duration = timedelta(minutes=1),
        verify: bool | str = True,
    ) -> None:
        self._username = username
        self._password = Secret(password)
        self._url = SecretURL(f"{authn_endpoint.rstrip('/')}/v1/users/{quote(username, safe='')}")
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ConfigurationError(
                "AuthN's endpoint is not a URL.", hint="Give scheme, host and port, such as http://authn:52001."
            )
        self._expires_in = None if expires_in is None else to_timedelta("expires_in", expires_in)
        self._margin = total_seconds("margin", margin, zero=True)
        self._verify = verify
        self._token = Secret("")
        self._end = float("-inf")
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"Token({self._username!r} at {self._url.bare})"

    @clearing_locals
    def __call__(self) -> str:
        """Return a valid token, in plain text.

        Raises:
            AIStoreLoginError: The login failed.
        """
        with self._lock:
            if time.time() > self._end - self._margin:
                self._token = self._log_in()
                self._end = _end(self._token)
                if self._end - self._margin < time.time():
                    # Its lifetime is shorter than the margin: it is replaced when it is rejected.
                    self._end = float("inf")
            return self._token.reveal()

    def discard(self, refused: Secret[str]) -> None:
        """Log in again at the next use, unless the token was already replaced."""
        with self._lock:
            if refused == self._token:
                self._end = float("-inf")

    def _log_in(self) -> Secret[str]:
        reason = ""
        try:
            answer = requests.post(
                self._url.reveal(),
                json={"password": self._password.reveal()} | self._lifetime_request(),
                timeout=_TIMEOUT,
                allow_redirects=False,
                verify=self._verify,
                stream=True,
            )
            with answer:
                content = next(answer.iter_content(_MAX_RESPONSE), b"")
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            # Not only requests' own: a file of certificates that isn't there raises others.
            # The request, which such an error holds, has the password.
            reason = f"did not respond ({type(error).__name__})"
        else:
            token = _read(answer.status_code, content)
            if token is not None:
                return token
            reason = f"answered {answer.status_code}"
        raise AIStoreLoginError(
            f"AuthN at {self._url.bare} {reason} and issued no token.",
            hint="Check the endpoint, user name and password." if "answered" in reason else "Check the endpoint.",
        )

    def _lifetime_request(self) -> dict[str, int]:
        if self._expires_in is None:
            return {}
        return {"expires_in": int(self._expires_in.total_seconds() * _NANOSECONDS)}


TokenSource = str | Callable[[], str]


class Bearer:
    """The bearer token of a client.

    Args:
        source: A token, or a function that returns the current one.
    """

    def __init__(self, source: TokenSource) -> None:
        if not source or not (isinstance(source, str) or callable(source)):
            raise ConfigurationError("The token is empty.", hint="Give a token, or a function that returns one.")
        self._source: Callable[[], str] = Secret(source).reveal if isinstance(source, str) else source
        # botocore handles a request, its response and its retries in one thread.
        self._sent = threading.local()

    def header(self) -> str:
        """Return the value of `Authorization`, in plain text: don't assign it to a variable."""
        self._sent.token = self._current()
        return f"Bearer {self._sent.token.reveal()}"

    def renewed(self) -> bool:
        """Return whether there is a new token instead of the rejected token that this thread sent last."""
        refused: Secret[str] = getattr(self._sent, "token", Secret(""))
        if isinstance(self._source, Token):
            self._source.discard(refused)
        return self._current() != refused

    def is_shown_in(self, location: str) -> bool:
        """Return whether a URL has the last sent token outside its query; queries are always redacted."""
        sent: Secret[str] = getattr(self._sent, "token", Secret(""))
        place = location.partition("?")[0]
        return replaced(place, (sent.reveal(),)) != place

    def _current(self) -> Secret[str]:
        return Secret(self._source())


def _read(status: int, content: bytes) -> Secret[str] | None:
    try:
        token: Secret[Any] = Secret(json.loads(content).get("token") if status == 200 else None)
    except (ValueError, AttributeError):
        return None
    return token if isinstance(token.reveal(), str) and token.reveal() else None


def _end(token: Secret[str]) -> float:
    """Return when a JSON Web Token (RFC 7519) expires, in seconds since 1970; infinity without `exp`."""
    try:
        payload = token.reveal().split(".")[1]
        claims: Any = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return float("inf")
