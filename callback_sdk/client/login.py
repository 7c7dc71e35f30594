"""Credentials of the client: a token, or a user name and a password to log in with."""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from callback_sdk.client.deadline import earliest
from callback_sdk.client.responses import ServiceResponse
from callback_sdk.concurrency.forking import RLock, after_fork
from callback_sdk.documents.decoding import has_lone_surrogate
from callback_sdk.errors import AuthenticationError, ConfigurationError, ServiceConnectionError, ServiceError
from callback_sdk.redaction import Secret, clearing_locals

if TYPE_CHECKING:
    from callback_sdk.config.client import ClientConfig

Post = Callable[[str, Secret[dict[str, str]]], ServiceResponse]
"""Posts JSON to a path of the service without a token."""

_ACCESS_TOKEN_SECONDS = 25 * 60.0
"""Seconds for which an access token is used, slightly less than its lifetime. If the service rejects a token during a
large upload, the client may see only a broken connection."""


class LoginCredentials(Protocol):
    """The interface of sources of tokens."""

    def token(self, post: Post, deadline: float | None = None) -> Secret[str]:
        """Return the token for a request with a deadline, in seconds of the monotonic clock."""

    def renew(self, refused: Secret[str], post: Post, deadline: float | None = None) -> Secret[str] | None:
        """Return a new token after one was rejected with 401; None if there is no other token."""

    def secrets(self) -> tuple[str, ...]:
        """Return all strings to remove from errors."""


class StaticToken:
    """One token for all requests.

    Args:
        token: The token.

    Raises:
        ConfigurationError: The token is empty or has an invalid character.
    """

    def __init__(self, token: Secret[str]) -> None:
        # RFC 6750, section 2.1, is stricter; only characters that a header can't contain are rejected here.
        if not re.fullmatch(r"[\x21-\x7e]+", token.reveal()):
            raise ConfigurationError(
                "The token is empty, or has a space or another character that a token can't contain.",
                hint="Check token= or CALLBACK_SDK_TOKEN for a trailing newline or extra quotes.",
            )
        self._token = token

    def token(self, post: Post, deadline: float | None = None) -> Secret[str]:
        """Return the token."""
        return self._token

    def renew(self, refused: Secret[str], post: Post, deadline: float | None = None) -> Secret[str] | None:
        """Return None, because there is no other token."""
        return None

    def secrets(self) -> tuple[str, ...]:
        """Return the token."""
        return (self._token.reveal(),)


class Login:
    """Logs in at the first request, and refreshes the token as needed. Thread-safe.

    Args:
        username: User name.
        password: The user's password.
    """

    def __init__(self, username: str, password: Secret[str]) -> None:
        self._username = username
        self._password = password
        self._access: Secret[str] | None = None
        self._refresh: Secret[str] | None = None
        self._stale_at = 0.0
        # Held while a token is requested, so that concurrent threads use the same token instead of requesting more.
        self._lock = RLock()
        # A refresh token can be used once. If parent and child both used it, the service would revoke its session.
        after_fork(self, type(self)._discard_refresh_token)

    def token(self, post: Post, deadline: float | None = None) -> Secret[str]:
        """Return an access token; log in if there is none yet.

        Raises:
            AuthenticationError: The user name or the password is wrong.
            ServiceError: The login failed for another reason.
        """
        with self._lock_until(deadline):
            if self._access is None or time.monotonic() >= self._stale_at:
                return self._renew(post)
            return self._access

    def renew(self, refused: Secret[str], post: Post, deadline: float | None = None) -> Secret[str] | None:
        """Return a new access token by the refresh token, or by a new login if that is rejected too.

        Raises:
            ServiceError: The login failed; see `token`.
        """
        with self._lock_until(deadline):
            if self._access is not None and self._access is not refused:
                # Another thread has already replaced the token.
                return self._access
            return self._renew(post)

    def secrets(self) -> tuple[str, ...]:
        """Return the password and the tokens."""
        secrets = (self._password, self._access, self._refresh)
        return tuple(secret.reveal() for secret in secrets if secret is not None)

    @contextlib.contextmanager
    def _lock_until(self, deadline: float | None) -> Iterator[None]:
        # acquire() raises an OverflowError for more.
        seconds = min(max(0.0, earliest(deadline) - time.monotonic()), threading.TIMEOUT_MAX)
        if not self._lock.acquire(timeout=seconds):
            raise ServiceConnectionError(
                "The timeout expired while another thread was logging in.", hint="Increase the timeout."
            )
        try:
            yield
        finally:
            self._lock.release()

    def _discard_refresh_token(self) -> None:
        self._refresh = None

    def _renew(self, post: Post) -> Secret[str]:
        if self._refresh is not None:
            try:
                return self._store_tokens(post("/token/refresh/", Secret({"refresh": self._refresh.reveal()})))
            except AuthenticationError:
                self._refresh = None
        return self._log_in(post)

    def _log_in(self, post: Post) -> Secret[str]:
        try:
            answer = post("/token/", Secret({"username": self._username, "password": self._password.reveal()}))
        except AuthenticationError as error:
            error.replace_hint(
                "Check username= and password=, or CALLBACK_SDK_USERNAME and CALLBACK_SDK_PASSWORD. "
                "`callback-sdk users set-password` sets a new password."
            )
            raise
        _member(answer, "refresh")
        return self._store_tokens(answer)

    def _store_tokens(self, answer: ServiceResponse) -> Secret[str]:
        self._access = _member(answer, "access")
        if "refresh" in answer.data:
            # A service that rotates refresh tokens returns a new one with each access token.
            self._refresh = _member(answer, "refresh")
        self._stale_at = time.monotonic() + _ACCESS_TOKEN_SECONDS
        return self._access


class RefreshableToken(Login):
    """An access token and a refresh token, for callers without a password. Thread-safe.

    Args:
        refresh: The refresh token.
        access: The first access token; None to get one by the refresh token.
    """

    def __init__(self, refresh: Secret[str], access: Secret[str] | None = None) -> None:
        super().__init__("", Secret(""))
        self._refresh = refresh
        self._access = access
        # The age of the token is unknown, so it is used until the service rejects it.
        self._stale_at = math.inf
        self._is_inherited = False

    def _discard_refresh_token(self) -> None:
        super()._discard_refresh_token()
        self._is_inherited = True

    def _log_in(self, post: Post) -> Secret[str]:
        if self._is_inherited:
            raise AuthenticationError(
                "The service rejects the token, and only the parent process may use the refresh token, which is valid "
                "once.",
                hint="Create a client in this process, with another token or with user name and password.",
            )
        raise AuthenticationError(
            "The service rejects the token and its refresh token.",
            hint="Log in again: get_instance(username=..., password=...).",
        )


def credentials_of(
    token: Secret[Any] | None, username: str | None, password: Secret[Any] | None, config: ClientConfig
) -> LoginCredentials:
    """Choose the credentials: arguments before the environment, and a token before a user name.

    Args:
        token: The token.
        username: User name.
        password: The user's password.
        config: Settings of the environment.

    Raises:
        ConfigurationError: Neither a token nor a user name with a password is given.
    """
    given = username is not None or password is not None
    chosen = _none_if_empty(token) or (None if given else _none_if_empty(config.token))
    if chosen is not None:
        check_string("token", chosen.reveal())
        return StaticToken(chosen)
    name, word = username or config.username, _none_if_empty(password) or _none_if_empty(config.password)
    if name and word is not None:
        check_string("username", name)
        check_string("password", word.reveal())
        return Login(name, word)
    missing = "password" if name else "username" if word is not None else "token"
    raise ConfigurationError(
        f"The client has no {missing}.",
        hint="Give token=, or username= and password=; or set CALLBACK_SDK_TOKEN, or CALLBACK_SDK_USERNAME and "
        "CALLBACK_SDK_PASSWORD. The token of a local service is in the file `token` of the data directory of "
        "`callback-sdk serve`.",
    )


def _none_if_empty(secret: Secret[Any] | None) -> Secret[Any] | None:
    return secret if secret is not None and secret.reveal() not in ("", None) else None


@clearing_locals
def check_string(name: str, value: object) -> None:
    """Check the type of an argument, which may be a credential.

    Raises:
        ConfigurationError: It is not a string, or can't be encoded.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} is of type {type(value).__name__}.", hint="Give a string.")
    if has_lone_surrogate(value):
        raise ConfigurationError(f"{name} has a lone surrogate.", hint="Check how the string is made.")


def check_value(name: str, value: Secret[Any]) -> Secret[str]:
    """Return a wrapped argument whose type has been checked; see `check_string`."""
    check_string(name, value.reveal())
    return value


def _member(answer: ServiceResponse, name: str) -> Secret[str]:
    if isinstance(answer.data, dict) and isinstance(answer.data.get(name), str):
        return Secret(answer.data[name])
    raise ServiceError(
        f"The service's response to a login has no {name} token.",
        hint="Check that the URL points to the API (…/api/v2) and that client and service versions match.",
    )
