"""Bearer tokens: short-lived JSON Web Tokens (RFC 7519), and API tokens that are valid until they are revoked."""

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

# The first matching entry is used; the last one matches every error.
_REASONS: tuple[tuple[type[jwt.InvalidTokenError], str], ...] = (
    (jwt.ExpiredSignatureError, "The token has expired."),
    (jwt.MissingRequiredClaimError, "The token lacks a required claim."),
    (jwt.InvalidIssuerError, "The token has another issuer."),
    (jwt.InvalidAlgorithmError, f"The token is not signed with {_ALGORITHM}."),
    (jwt.InvalidTokenError, "The token is malformed."),
)


class TokenError(CallbackSDKError):
    """A token is invalid; the message has the reason."""


@define(frozen=True)
class TokenClaims:
    """The claims of a token.

    Attributes:
        user_id: Id of its user.
        generation: The user's token generation at the time of issue; incrementing it revokes the token.
        session: Id of its session; None for a token without one.
        token_id: Id of the token.
    """

    user_id: str
    generation: int
    session: str | None = None
    token_id: str = field(default="", eq=False)


@define(frozen=True)
class Tokens:
    """Issues and verifies tokens.

    Attributes:
        keys: Keys of 32 bytes, newest first. The newest one signs; all of them verify.
        access: Lifetime of an access token.
        refresh: Lifetime of a refresh token.
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
        """Issue a token.

        Args:
            user_id: Id of its user.
            generation: The user's token generation.
            kind: `"access"` or `"refresh"`.
            session: Id of its session.
            token_id: Id of the token; a random one if None.
            expires_at: Expiry, in seconds since 1970 in UTC; after the lifetime of its kind if None.
        """
        moment = datetime.now(timezone.utc)
        life = self.access if kind == ACCESS else self.refresh
        payload = {
            "sub": user_id,
            "gen": generation,
            # The claim names are those of Simple JWT (Django REST framework).
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
        """Verify a token, and return its claims.

        Args:
            token: The token.
            kind: The required kind, `"access"` or `"refresh"`.

        Raises:
            TokenError: The token is expired, of another kind, malformed, or its signature is invalid.
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
                    # Tolerates clock skew: the issuer's clock may be slightly ahead.
                    options={"require": list(_NEEDED), "verify_iat": False},
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidTokenError as error:
                reason = next(text for failure, text in _REASONS if isinstance(error, failure))
            # Outside the except clause, so that the error has no frames of PyJWT, which contain the token.
            raise TokenError(reason, hint=_hint(kind))
        raise TokenError("The signature of the token is invalid.", hint=_hint(kind))


def new_api_token() -> Secret[str]:
    """Generate an API token: 256 random bits, with a prefix that secret scanners can detect."""
    return Secret(_PREFIX + secrets.token_urlsafe(32))


def digest(token: Secret[str]) -> str:
    """Return the SHA-256 of an API token in hex. 256 random bits need no slow hash."""
    return hashlib.sha256(_bytes(token)).hexdigest()


def is_jwt(token: Secret[str]) -> bool:
    """Return whether a token is a JSON Web Token, which has two dots; an API token has none."""
    return token.reveal().count(".") == 2


def _hint(kind: str) -> str:
    if kind == REFRESH:
        return "Log in at /token/."
    return "Get a new token at /token/refresh/ or /token/, or send an API token."


def _bytes(token: Secret[str]) -> bytes:
    # Lone surrogates are encoded too, and match no token: a UnicodeEncodeError would contain the token.
    return token.reveal().encode("utf-8", "surrogatepass")
