"""Sessions of the web UI, in signed cookies, and their CSRF tokens."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import jwt
from attrs import define, field

from callback_sdk.redaction import Secret
from callback_sdk.service.access.tokens import digest
from callback_sdk.service.access.users import Authenticator
from callback_sdk.service.store import User
from callback_sdk.service.store.sessions import SessionStore
from callback_sdk.service.store.users import UserStore

COOKIE = "callback_sdk_session"

SESSION_LIFETIME = timedelta(hours=12)

_ALGORITHM = "HS256"
_NEEDED = ("exp", "sub", "gen", "jti", "api")


@define(frozen=True, kw_only=True)
class Session:
    """The session of a logged-in user.

    Attributes:
        user: The user.
        csrf: CSRF token, which each form must contain.
        session_id: Id of the session in the store.
    """

    user: User
    csrf: str = field(repr=False)
    session_id: str = field(repr=False)


class Sessions:
    """Creates sessions, and verifies their cookies.

    A session ends at logout, when its API token is revoked, when the password is changed, and when the user is
    disabled.

    Args:
        authenticator: Authenticates users.
        users: The users in the store.
        sessions: The sessions in the store.
        keys: Keys of 32 bytes, newest first. The newest one signs; all of them verify.
    """

    def __init__(
        self, authenticator: Authenticator, users: UserStore, sessions: SessionStore, keys: Sequence[Secret[bytes]]
    ) -> None:
        self._authenticator = authenticator
        self._users = users
        self._sessions = sessions
        self._keys = keys

    def by_password(self, name: str, password: Secret[str]) -> Secret[str]:
        """Create a session with a name and a password, and return the cookie.

        Raises:
            TokenError: The name or the password is wrong, or the user is disabled.
        """
        return self._open(self._authenticator.authenticate(name, password), "")

    def by_token(self, token: Secret[str]) -> tuple[User, Secret[str]]:
        """Create a session with an API token, and return the user and the cookie.

        Raises:
            TokenError: The token is invalid or revoked.
        """
        # The cookie contains only the token's digest, which doesn't authenticate API requests.
        user = self._authenticator.authenticate_token(token)
        return user, self._open(user, digest(token))

    def of(self, cookie: Secret[str]) -> Session | None:
        """Return the session of a cookie; None if it is invalid or has ended."""
        for key in self._keys:
            try:
                claims = jwt.decode(
                    cookie.reveal().encode("utf-8", "surrogatepass"),
                    key.reveal(),
                    algorithms=[_ALGORITHM],
                    options={"require": list(_NEEDED), "verify_iat": False},
                )
            except jwt.InvalidTokenError:
                continue
            user = self._sessions.user(claims["jti"])
            if user is None or user.disabled or (user.user_id, user.token_generation) != (claims["sub"], claims["gen"]):
                return None
            if claims["api"] and self._users.of_token(claims["api"]) != user:
                return None
            return Session(user=user, csrf=_csrf(key, claims["jti"]), session_id=claims["jti"])
        return None

    def close(self, session: Session) -> None:
        """End a session; all copies of its cookie become invalid."""
        self._sessions.close(session.session_id)

    def _open(self, user: User, api: str) -> Secret[str]:
        session_id = secrets.token_hex(16)
        self._sessions.open(session_id, user.user_id, life=SESSION_LIFETIME.total_seconds())
        claims = {
            "sub": user.user_id,
            "gen": user.token_generation,
            "api": api,
            "exp": datetime.now(timezone.utc) + SESSION_LIFETIME,
            "jti": session_id,
        }
        return Secret(jwt.encode(claims, self._keys[0].reveal(), algorithm=_ALGORITHM))


def is_from_here(origin: str | None, host: str | None) -> bool:
    """Return whether a form was sent from this site, by the header `Origin`, which all browsers send with forms."""
    if origin is None:
        return True
    # An origin consists of a scheme and an authority only, without a default port (RFC 6454, sections 6.2 and 7.1).
    # Some proxies add it to Host.
    scheme, _, authority = origin.lower().partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    return host is not None and authority == host.lower().removesuffix(default)


def safe_next(path: str | None, prefix: str) -> str:
    """Return the path to redirect to after login; only paths of the web UI are allowed (open redirects)."""
    if path is None or not path.startswith(f"{prefix}/") or path.startswith(f"{prefix}/log") or "\\" in path:
        return f"{prefix}/overview"
    return path if path.isprintable() and path.isascii() else f"{prefix}/overview"


def _csrf(key: Secret[bytes], session: str) -> str:
    return hmac.new(key.reveal(), f"csrf {session}".encode(), hashlib.sha256).hexdigest()
