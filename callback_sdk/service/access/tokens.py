"""Bearer tokens: JSON Web Tokens (RFC 7519) that pass soon, and API tokens that stay until they are revoked."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import jwt
from attrs import define, field

from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import Secret

ACCESS = "access"
REFRESH = "refresh"

_ISSUER = "callback-sdk"
_ALGORITHM = "HS256"
_PREFIX = "cbk_"
_NEEDED = ("exp", "iat", "sub", "gen", "jti", "iss")

# The first that fits counts; the last one fits always.
_REASONS: tuple[tuple[type[jwt.InvalidTokenError], str], ...] = (
    (jwt.ExpiredSignatureError, "The token has expired."),
    (jwt.MissingRequiredClaimError, "The token lacks a claim that ours have."),
    (jwt.InvalidIssuerError, "Somebody else gave the token out."),
    (jwt.InvalidAlgorithmError, f"The token is not signed with {_ALGORITHM}."),
    (jwt.InvalidTokenError, "The token is malformed."),
)


class TokenError(CallbackSDKError):
    """A token doesn't count; the text says why."""


@define(frozen=True)
class TokenClaims:
    """What a token says.

    Attributes:
        user_id: Whose it is.
        generation: The user's generation when it was given out: a later one makes it worthless.
        session: The session that it belongs to; None for one that was made without.
        token_id: Its own id.
    """

    user_id: str
    generation: int
    session: str | None = None
    token_id: str = field(default="", eq=False)


@define(frozen=True)
class Tokens:
    """Gives out tokens and reads them.

    Attributes:
        keys: 32 bytes each, the newest first. It signs; all of them verify.
        access: How long an access token lives.
        refresh: How long a refresh token lives.
    """

    keys: Sequence[Secret[bytes]] = field(repr=False)
    access: timedelta = field(default=timedelta(minutes=30), kw_only=True)
    refresh: timedelta = field(default=timedelta(days=7), kw_only=True)

    def issue(
        self,
        user_id: str,
        generation: int,
        kind: str = ACCESS,
        *,
        session: str | None = None,
        token_id: str | None = None,
        expires_at: float | None = None,
    ) -> Secret[str]:
        """Make a token.

        Args:
            user_id: Whose.
            generation: The user's generation.
            kind: `"access"` or `"refresh"`.
            session: The session that ends it.
            token_id: Its id; a new one when None.
            expires_at: When it ends, in seconds since 1970 in UTC; after the life of its kind when None.
        """
        moment = datetime.now(timezone.utc)
        life = self.access if kind == ACCESS else self.refresh
        payload = {
            "sub": user_id,
            "gen": generation,
            # As Simple JWT of the Django REST framework names it.
            "token_type": kind,
            "iat": moment,
            "exp": moment + life if expires_at is None else int(expires_at),
            "jti": token_id or uuid.uuid4().hex,
            "iss": _ISSUER,
        }
        if session is not None:
            payload["sid"] = session
        return Secret(jwt.encode(payload, self.keys[0].reveal(), algorithm=_ALGORITHM))

    def read(self, token: Secret[str], kind: str = ACCESS) -> TokenClaims:
        """Return what a token says.

        Args:
            token: The token.
            kind: Which it must be.

        Raises:
            TokenError: It is expired, changed, of another kind, or no token at all.
        """
        payload = self._payload(token, kind)
        user_id, generation, session = payload["sub"], payload["gen"], payload.get("sid")
        if payload.get("token_type") != kind:
            raise TokenError(f"This token is not of type {kind}.", hint=_hint(kind))
        texts = (user_id, payload["jti"], session or "")
        if not all(isinstance(text, str) for text in texts) or not isinstance(generation, int):
            raise TokenError("The token is malformed.", hint=_hint(kind))
        return TokenClaims(user_id, generation, session, payload["jti"])

    def _payload(self, token: Secret[str], kind: str) -> dict[str, Any]:
        for key in self.keys:
            try:
                return jwt.decode(
                    _bytes(token),
                    key.reveal(),
                    algorithms=[_ALGORITHM],
                    issuer=_ISSUER,
                    # A machine whose clock is a second ahead gives out good tokens, too.
                    options={"require": list(_NEEDED), "verify_iat": False},
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidTokenError as error:
                reason = next(text for failure, text in _REASONS if isinstance(error, failure))
            # Outside of the except clause, so that no frame of PyJWT, which has the token, comes along.
            raise TokenError(reason, hint=_hint(kind))
        raise TokenError("The signature of the token is invalid.", hint=_hint(kind))


def new_api_token() -> Secret[str]:
    """Make an API token: a prefix that scanners for leaked secrets can look for, and 256 random bits."""
    return Secret(_PREFIX + secrets.token_urlsafe(32))


def digest(token: Secret[str]) -> str:
    """Return what is kept of an API token: its SHA-256 in hex. Nobody can guess 256 random bits, however fast."""
    return hashlib.sha256(_bytes(token)).hexdigest()


def is_jwt(token: Secret[str]) -> bool:
    """Tell a JSON Web Token, which has two dots, from an API token, which has none."""
    return token.reveal().count(".") == 2


def _hint(kind: str) -> str:
    if kind == REFRESH:
        return "Log in at /token/."
    return "Get a new one at /token/refresh/ or /token/, or send an API token."


def _bytes(token: Secret[str]) -> bytes:
    # A lone surrogate passes, and fits nothing: the error would carry the whole token.
    return token.reveal().encode("utf-8", "surrogatepass")
