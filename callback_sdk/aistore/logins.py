"""Logins at AIStore's AuthN server, which issues tokens."""

from __future__ import annotations

import json
import logging
import math
from typing import Any
from urllib.parse import quote

import requests
import urllib3

from callback_sdk.aistore.certificates import Certificates
from callback_sdk.aistore.lifetimes import clock, lifetime, renew_after
from callback_sdk.concurrency.forking import Lock
from callback_sdk.errors import AIStoreLoginError
from callback_sdk.redaction import Secret, SecretURL, clearing_locals
from callback_sdk.text.quoted_secrets import without_secrets

_log = logging.getLogger(__name__)

_TIMEOUT = (5.0, 30.0)
_MAX_RESPONSE = 64 * 1024
"""Maximum bytes of AuthN's response: a token has a few thousand at most."""

_MAX_MESSAGE = 200
"""Maximum characters of AuthN's message in an error."""

_SHORTEST_HIDDEN = 6
"""Characters of the shortest password that can be hidden in a message."""

_RETRY = 5.0
"""Seconds after which a failed renewal of a token that is still valid is tried again."""


class LogIn:
    """A user's login at AuthN.

    Args:
        username: The user's name.
        password: The user's password.
        endpoint: URL of AuthN.
        lifetime: Lifetime of a token in nanoseconds; AuthN's own default when None.
        certificates: Settings of TLS.
    """

    def __init__(
        self,
        username: str,
        password: Secret[str],
        endpoint: SecretURL,
        lifetime: int | None,
        certificates: Certificates,
    ) -> None:
        self._username, self._password = username, password
        self._url = SecretURL(f"{endpoint.reveal().rstrip('/')}/v1/users/{quote(username, safe='')}")
        self._message = {} if lifetime is None else {"expires_in": lifetime}
        self._certificates = certificates

    def __repr__(self) -> str:
        return f"{self._username!r} at {self._url.bare}"

    @clearing_locals
    def token(self) -> tuple[Secret[str], float]:
        """Log in, and return the token with its lifetime in seconds.

        Raises:
            AIStoreLoginError: AuthN issued no token.
        """
        try:
            answer = requests.post(
                self._url.reveal(),
                json={"password": self._password.reveal()} | self._message,
                timeout=_TIMEOUT,
                allow_redirects=False,
                verify=self._certificates.verify,
                cert=self._certificates.client_cert,
                stream=True,
            )
            with answer:
                content = Secret(next(answer.iter_content(_MAX_RESPONSE), b""))
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            # Not only requests' own: a file of certificates that isn't there raises others.
            # The request, which such an error holds, has the password.
            reason, hint = (
                f"did not respond ({type(error).__name__})",
                "Check the endpoint, and the certificates of TLS.",
            )
        else:
            document = _document(content.reveal())
            token: Secret[Any] = Secret(document.reveal().get("token"))
            if answer.status_code == 200 and isinstance(token.reveal(), str) and token.reveal():
                return token, lifetime(token, answer.headers.get("Date"))
            reason, hint = f"answered {answer.status_code}", "Check the endpoint, user name and password."
            reason += self._quote(document.reveal().get("message"))
        raise AIStoreLoginError(f"AuthN at {self._url.bare} {reason} and issued no token.", hint=hint)

    def _quote(self, message: Any) -> str:
        """Return AuthN's message, which says for instance that a lifetime is too short."""
        if not isinstance(message, str) or not message or len(self._password.reveal()) < _SHORTEST_HIDDEN:
            return ""
        return f" ({without_secrets(message, (self._password.reveal(),))[:_MAX_MESSAGE]})"


class RenewedLogIn:
    """The token of a login, which is renewed before it expires and when it is rejected. Thread-safe.

    Args:
        log_in: The login.
        margin: Seconds before its expiry at which a token is renewed, at most a quarter of its lifetime.
    """

    def __init__(self, log_in: LogIn, margin: float) -> None:
        self._log_in = log_in
        self._margin = margin
        self._token: Secret[str] = Secret("")
        self._renew_at = self._end = -math.inf
        self._lock = Lock()

    def __repr__(self) -> str:
        return repr(self._log_in)

    def __call__(self) -> str:
        """Return a valid token, in plain text.

        Raises:
            AIStoreLoginError: The login failed, and there is no valid token.
        """
        with self._lock:
            if clock() >= self._renew_at:
                self._renew()
            return self._token.reveal()

    def discard(self, refused: Secret[str]) -> None:
        """Log in again at the next use, unless the token was already replaced."""
        with self._lock:
            if refused == self._token:
                self._renew_at = self._end = -math.inf

    def _renew(self) -> None:
        # The lifetime begins before the response arrives.
        now = clock()
        try:
            token, life = self._log_in.token()
        except AIStoreLoginError as error:
            if now >= self._end:
                raise
            _log.warning("%s The previous token is used until it expires.", error)
            self._renew_at = min(now + _RETRY, self._end)
        else:
            self._token, self._end = token, now + life
            self._renew_at = now + renew_after(life, self._margin)


def _document(content: bytes) -> Secret[dict[str, Any]]:
    try:
        found = Secret(json.loads(content))
    except (ValueError, RecursionError):
        return Secret({})
    return found if isinstance(found.reveal(), dict) else Secret({})
