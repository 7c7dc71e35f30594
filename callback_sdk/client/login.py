"""What shows the service who the client is: a token, or a name and a password that get one."""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from callback_sdk.client.responses import ServiceResponse
from callback_sdk.concurrency.forking import RLock, after_fork
from callback_sdk.errors import AuthenticationError, ConfigurationError, ServiceConnectionError, ServiceError
from callback_sdk.redaction import Secret

if TYPE_CHECKING:
    from callback_sdk.config.client import ClientConfig

Post = Callable[[str, Secret[dict[str, str]]], ServiceResponse]
"""Sends JSON to a path of the service, without a token."""

_ACCESS_TOKEN_SECONDS = 25 * 60.0
"""Seconds that an access token is used for, a little less than it lives: a refusal in the middle of a large upload
may be seen as a broken connection only."""


class LoginCredentials(Protocol):
    """Where a token comes from."""

    def token(self, post: Post, deadline: float | None = None) -> Secret[str]:
        """Return the token for the next request, which ends at the deadline, by the monotonic clock."""

    def renewed(self, refused: Secret[str], post: Post, deadline: float | None = None) -> Secret[str] | None:
        """Return another token after one was refused with a 401; None when there can't be one."""

    def hidden(self) -> tuple[str, ...]:
        """Return every string that no error may repeat."""


class StaticToken:
    """One token for all requests.

    Args:
        token: The token.

    Raises:
        ConfigurationError: No token looks like this.
    """

    def __init__(self, token: Secret[str]) -> None:
        # RFC 6750, section 2.1, allows fewer characters still; these are what can't stand in a header.
        if not re.fullmatch(r"[\x21-\x7e]+", token.reveal()):
            raise ConfigurationError(
                "The token is empty, or has a space or another character that no token has.",
                hint="Check token= or CALLBACK_SDK_TOKEN for a line's end or quotes too many.",
            )
        self._token = token

    def token(self, post: Post, deadline: float | None = None) -> Secret[str]:
        """Return the token."""
        return self._token

    def renewed(self, refused: Secret[str], post: Post, deadline: float | None = None) -> Secret[str] | None:
        """Return None: there is no other one."""
        return None

    def hidden(self) -> tuple[str, ...]:
        """Return the token."""
        return (self._token.reveal(),)


class Login:
    """Logs in when it is first needed, and stays logged in. Threads share it.

    Args:
        username: Who logs in.
        password: Their password.
    """

    def __init__(self, username: str, password: Secret[str]) -> None:
        self._username = username
        self._password = password
        self._access: Secret[str] | None = None
        self._refresh: Secret[str] | None = None
        self._stale_at = 0.0
        # Held while a token is fetched, so that threads that come meanwhile get it too, and don't ask for more.
        self._lock = RLock()
        # A refresh token is used once: where parent and child both use it, the service revokes all that came of it.
        after_fork(self, type(self)._forget_refresh_token)

    def token(self, post: Post, deadline: float | None = None) -> Secret[str]:
        """Return an access token; log in if there is none yet.

        Raises:
            AuthenticationError: The service knows no such user, or another password.
            ServiceError: It didn't tell.
        """
        with self._locked(deadline):
            if self._access is None or time.monotonic() >= self._stale_at:
                return self._renew(post)
            return self._access

    def renewed(self, refused: Secret[str], post: Post, deadline: float | None = None) -> Secret[str] | None:
        """Return another access token, by the refresh token or, when that is refused too, by logging in again.

        Raises:
            ServiceError: As `token` does.
        """
        with self._locked(deadline):
            if self._access is not None and self._access is not refused:
                # Another thread was here first.
                return self._access
            return self._renew(post)

    def hidden(self) -> tuple[str, ...]:
        """Return the password and the tokens."""
        secrets = (self._password, self._access, self._refresh)
        return tuple(secret.reveal() for secret in secrets if secret is not None)

    @contextlib.contextmanager
    def _locked(self, deadline: float | None) -> Iterator[None]:
        seconds = -1 if deadline is None else max(0.0, deadline - time.monotonic())
        if not self._lock.acquire(timeout=seconds):
            raise ServiceConnectionError(
                "Another thread is still logging in, and there is no time left.", hint="Allow a longer wait."
            )
        try:
            yield
        finally:
            self._lock.release()

    def _forget_refresh_token(self) -> None:
        self._refresh = None

    def _renew(self, post: Post) -> Secret[str]:
        if self._refresh is not None:
            try:
                return self._keep(post("/token/refresh/", Secret({"refresh": self._refresh.reveal()})))
            except AuthenticationError:
                self._refresh = None
        return self._log_in(post)

    def _log_in(self, post: Post) -> Secret[str]:
        try:
            answer = post("/token/", Secret({"username": self._username, "password": self._password.reveal()}))
        except AuthenticationError as error:
            error.hint = (
                "Check username= and password=, or CALLBACK_SDK_USERNAME and CALLBACK_SDK_PASSWORD. "
                "`callback-sdk users set-password` sets a new one."
            )
            raise
        _member(answer, "refresh")
        return self._keep(answer)

    def _keep(self, answer: ServiceResponse) -> Secret[str]:
        self._access = _member(answer, "access")
        if "refresh" in answer.data:
            # A service that rotates refresh tokens gives a new one with each access token.
            self._refresh = _member(answer, "refresh")
        self._stale_at = time.monotonic() + _ACCESS_TOKEN_SECONDS
        return self._access


class RefreshableToken(Login):
    """A token and the refresh token that replaces it, for a caller without a password. Threads share it.

    Args:
        refresh: The refresh token.
        access: The token to begin with; None to get one by the refresh token.
    """

    def __init__(self, refresh: Secret[str], access: Secret[str] | None = None) -> None:
        super().__init__("", Secret(""))
        self._refresh = refresh
        self._access = access
        # Nobody knows how old it is: it is used until it is refused.
        self._stale_at = math.inf
        self._is_inherited = False

    def _forget_refresh_token(self) -> None:
        super()._forget_refresh_token()
        self._is_inherited = True

    def _log_in(self, post: Post) -> Secret[str]:
        if self._is_inherited:
            raise AuthenticationError(
                "The service rejects the token, and the refresh token belongs to the parent process: it is used once.",
                hint="Make a client in this process, with a token or a name and password of its own.",
            )
        raise AuthenticationError(
            "The service rejects the token and its refresh token.",
            hint="Log in again: get_instance(username=..., password=...).",
        )


def credentials_of(
    token: Secret[Any] | None, username: str | None, password: Secret[Any] | None, config: ClientConfig
) -> LoginCredentials:
    """Choose what shows who the client is: what its caller says first, then the environment; a token first.

    Args:
        token: The token.
        username: The user's name.
        password: The user's password.
        config: The environment's settings.

    Raises:
        ConfigurationError: There is neither a token, nor a name with a password.
    """
    given = username is not None or password is not None
    chosen = _filled(token) or (None if given else _filled(config.token))
    if chosen is not None:
        return StaticToken(_text("token", chosen))
    name, word = username or config.username, _filled(password) or _filled(config.password)
    if name and word is not None:
        return Login(_text("username", Secret(name)).reveal(), _text("password", word))
    missing = "password" if name else "username" if word is not None else "token"
    raise ConfigurationError(
        f"The client has no {missing}.",
        hint="Give token=, or username= and password=; or set CALLBACK_SDK_TOKEN, or CALLBACK_SDK_USERNAME and "
        "CALLBACK_SDK_PASSWORD. `callback-sdk serve` keeps a token of a service of one's own in the file `token` "
        "of its data directory.",
    )


def _filled(secret: Secret[Any] | None) -> Secret[Any] | None:
    return secret if secret is not None and secret.reveal() not in ("", None) else None


def _text(name: str, value: Secret[Any]) -> Secret[str]:
    if not isinstance(value.reveal(), str):
        raise ConfigurationError(f"{name} is of type {type(value.reveal()).__name__}.", hint="Give a string.")
    return value


def _member(answer: ServiceResponse, name: str) -> Secret[str]:
    if isinstance(answer.data, dict) and isinstance(answer.data.get(name), str):
        return Secret(answer.data[name])
    raise ServiceError(
        f"The service's response to a login has no {name} token.",
        hint="Check that the URL points to the API (…/api/v2) and that client and service versions match.",
    )
