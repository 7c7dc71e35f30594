"""Authentication of users by passwords, API tokens and access tokens; creation of the first user."""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from pathlib import Path

from callback_sdk.redaction import Secret
from callback_sdk.service.access.audit import AuditLog
from callback_sdk.service.access.passwords import hash_password, needs_rehash, verify_password
from callback_sdk.service.access.tokens import (
    ACCESS,
    REFRESH,
    TokenClaims,
    TokenError,
    Tokens,
    digest,
    is_jwt,
    new_api_token,
)
from callback_sdk.service.store import User
from callback_sdk.service.store.cipher import CredentialCipher, secret_file
from callback_sdk.service.store.models import OPERATOR
from callback_sdk.service.store.sessions import SessionStore
from callback_sdk.service.store.users import FIRST_USER, UserError, UserStore

_log = logging.getLogger(__name__)


class Authenticator:
    """Authenticates users, and issues and rotates their tokens.

    Args:
        users: The users in the store.
        sessions: The login sessions.
        cipher: Derives the keys that sign tokens.
        audit: The audit log.
    """

    def __init__(self, users: UserStore, sessions: SessionStore, cipher: CredentialCipher, audit: AuditLog) -> None:
        self._users = users
        self._sessions = sessions
        self._tokens = Tokens(cipher.derive("tokens"))
        self._audit = audit

    def log_in(self, name: str, password: Secret[str]) -> tuple[Secret[str], Secret[str]]:
        """Log a user in, and return an access token and a refresh token.

        Raises:
            TokenError: The name or the password is wrong, or the user is disabled.
        """
        user = self.authenticate(name, password)
        session, token_id = uuid.uuid4().hex, uuid.uuid4().hex
        life = self._tokens.refresh.total_seconds()
        self._sessions.open(session, user.user_id, life=life, token_id=token_id)
        refresh = self._tokens.issue(user.user_id, user.token_generation, REFRESH, session=session, token_id=token_id)
        return self._tokens.issue(user.user_id, user.token_generation, session=session), refresh

    def account(self, name: str) -> str | None:
        """Return the name of an account; None if it doesn't exist."""
        user = self._users.find(name)
        return None if user is None else user.name

    def authenticate(self, name: str, password: Secret[str]) -> User:
        """Verify a user's password, and return the user.

        Raises:
            TokenError: The name or the password is wrong, or the user is disabled.
        """
        user = self._users.find(name)
        if not verify_password(user.password_hash if user else None, password) or user is None or user.disabled:
            raise TokenError(
                "Wrong user name or password.", hint="Check your credentials, or ask the operator for an account."
            )
        if user.password_hash is not None and needs_rehash(user.password_hash):
            self._users.rehash(user.user_id, user.password_hash, hash_password(password))
        return user

    def renew(self, refresh: Secret[str], *, address: str | None = None) -> tuple[Secret[str], Secret[str]]:
        """Rotate a refresh token: return a new access token and the next refresh token. The old one becomes invalid.

        Reuse of an old token ends its session, as the token may have been stolen. For one minute, reuse returns the
        same tokens instead, as the first response may have been lost.

        Args:
            refresh: The current refresh token.
            address: The client's address, for the audit log.

        Raises:
            TokenError: The refresh token is invalid, expired or revoked.
        """
        claims = self._tokens.read(refresh, REFRESH)
        user, session = self._user_of_claims(claims), claims.session
        if session is None:
            # Issued by a version without sessions.
            raise _revocation()
        rotation = self._sessions.rotate(session, claims.token_id, uuid.uuid4().hex)
        if rotation.reused:
            self._audit.record("refresh-token-reused", user.name, address=address)
        if rotation.token_id is None:
            raise _revocation()
        following = self._tokens.issue(
            user.user_id,
            user.token_generation,
            REFRESH,
            session=session,
            token_id=rotation.token_id,
            expires_at=rotation.expires_at,
        )
        return self._tokens.issue(user.user_id, user.token_generation, session=session), following

    def authenticate_token(self, token: Secret[str]) -> User:
        """Return the user of an access token or an API token.

        Raises:
            TokenError: The token is invalid, expired or revoked.
        """
        if is_jwt(token):
            return self._user_of_claims(self._tokens.read(token, ACCESS))
        user = self._users.of_token(digest(token))
        if user is None or user.disabled:
            raise TokenError(
                "The token is invalid or was revoked.",
                hint="Send a token printed by `callback-sdk users add`, or the token in the file token of the data "
                "directory, or log in at /token/.",
            )
        return user

    def _user_of_claims(self, claims: TokenClaims) -> User:
        user = self._users.get(claims.user_id) if claims.session is None else self._sessions.user(claims.session)
        if (
            user is None
            or user.disabled
            or (user.user_id, user.token_generation) != (claims.user_id, claims.generation)
        ):
            raise _revocation()
        return user


def _revocation() -> TokenError:
    return TokenError("The token was revoked.", hint="Log in at /token/ again.")


def ensure_first_user(users: UserStore, token_file: Path, audit: AuditLog, *, label: str) -> None:
    """Create the operator `admin` if it is missing, with the API token of a file, which is created if it is missing.

    Args:
        users: The users in the store.
        token_file: The file; a new file has mode 0600.
        audit: The audit log.
        label: Identifies this service's token among those of other services on the same database: a new token
            replaces the old one.
    """
    is_new = not token_file.exists()
    token = secret_file(token_file, new_api_token)
    # Another service may start concurrently on the same database.
    with suppress(UserError):
        users.add(FIRST_USER, user_id=FIRST_USER, role=OPERATOR)
    user = users.by_name(FIRST_USER)
    if not users.add_token(user.user_id, digest(token), label=label, only=True):
        _log.warning(
            "The token in %s was revoked. Write a token of `callback-sdk users create-token %s` to the file, or remove "
            "the file and start the service again to create a token.",
            token_file,
            FIRST_USER,
            extra={"action": "start"},
        )
    elif is_new:
        audit.record("token-created", None, owner=FIRST_USER, via="serve")
