"""Signing secrets of webhooks in the store: each user has their own, encrypted."""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa

from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import Secret
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import SigningSecret
from callback_sdk.service.store.tables import signing_secrets, users
from callback_sdk.webhooks import Scheme, SigningKey, decode_secret

MAX_SECRETS = 6
"""Maximum number of secrets of one user that sign at a time: each signature makes the header longer."""

# These statements are built once: building one takes longer than running it.
_USER: sa.BindParameter[str] = sa.bindparam("_user")
_CURRENT = (
    signing_secrets.c.user_id == _USER,
    sa.or_(signing_secrets.c.expires_at.is_(None), signing_secrets.c.expires_at > now()),
)
_NEWEST_FIRST = (signing_secrets.c.created_at.desc(), signing_secrets.c.secret_id)
_SHOWN = tuple(signing_secrets.c[name] for name in SigningSecret.__annotations__)
_SELECT = sa.select(*_SHOWN).where(*_CURRENT).order_by(*_NEWEST_FIRST)
_SELECT_ENCRYPTED = sa.select(signing_secrets.c.encrypted_secret).where(*_CURRENT).order_by(*_NEWEST_FIRST)
_LOCK_USER = sa.select(users.c.user_id).where(users.c.user_id == _USER).with_for_update()
_DELETE_EXPIRED = signing_secrets.delete().where(
    signing_secrets.c.user_id == _USER, signing_secrets.c.expires_at <= now()
)
_END = now() + sa.bindparam("_overlap", type_=sa.Double)
_UPDATE_EARLIER = (
    signing_secrets.update()
    .where(
        signing_secrets.c.user_id == _USER,
        signing_secrets.c.scheme == sa.bindparam("_scheme"),
        sa.or_(signing_secrets.c.expires_at.is_(None), signing_secrets.c.expires_at > _END),
    )
    .values(expires_at=_END)
)
_INSERT = signing_secrets.insert().values(created_at=now()).returning(*_SHOWN)


class TooManySecretsError(CallbackSDKError, ValueError):
    """A user has too many signing secrets at a time."""


class SigningSecretStore:
    """Signing secrets in a database.

    Args:
        database: The database.
        cipher: Encrypts the secrets.
    """

    def __init__(self, database: Database, cipher: CredentialCipher) -> None:
        self._database = database
        self._cipher = cipher

    def add(
        self, user_id: str, secret: Secret[str], *, scheme: Scheme, public_key: str | None, overlap: float
    ) -> SigningSecret:
        """Store a new secret of a user. Earlier ones of the same scheme sign for the overlap only.

        Args:
            user_id: The user.
            secret: The secret.
            scheme: Its scheme.
            public_key: Its public key; None for `v1`.
            overlap: Seconds in which webhooks are signed with the earlier secrets too.

        Raises:
            TooManySecretsError: The user has too many secrets that sign.
        """
        row = {
            "secret_id": secrets.token_hex(8),
            "user_id": user_id,
            "scheme": scheme,
            "public_key": public_key,
            "encrypted_secret": self._cipher.encrypt(secret),
            "expires_at": None,
        }

        def insert(connection: sa.Connection) -> SigningSecret:
            # One rotation at a time: of two concurrent ones, each would leave the other's secret without an end.
            connection.execute(_LOCK_USER, {"_user": user_id})
            connection.execute(_UPDATE_EARLIER, {"_user": user_id, "_scheme": scheme, "_overlap": overlap})
            connection.execute(_DELETE_EXPIRED, {"_user": user_id})
            if len(connection.execute(_SELECT, {"_user": user_id}).all()) >= MAX_SECRETS:
                raise TooManySecretsError(
                    f"The user has {MAX_SECRETS} signing secrets that are valid at the moment.",
                    hint="Revoke one that no receiver uses any more, or give a shorter overlap.",
                )
            return _secret(connection.execute(_INSERT, row).mappings().one())

        return self._database.write(insert)

    def of(self, user_id: str) -> list[SigningSecret]:
        """Return the secrets of a user that currently sign, newest first."""
        with self._database.read() as connection:
            return [_secret(row) for row in connection.execute(_SELECT, {"_user": user_id}).mappings()]

    def exist(self) -> bool:
        """Return whether any user has a secret."""
        with self._database.read() as connection:
            return connection.execute(sa.select(signing_secrets.c.secret_id).limit(1)).first() is not None

    def keys(self, user_id: str) -> tuple[SigningKey, ...]:
        """Return the keys that currently sign the webhooks of a user, newest first; none if the user has no secret.

        Raises:
            CredentialCipherError: A secret was encrypted with a key that this process doesn't have.
        """
        with self._database.read() as connection:
            found = connection.execute(_SELECT_ENCRYPTED, {"_user": user_id}).scalars().all()
        return tuple(decode_secret(self._cipher.decrypt(encrypted)) for encrypted in found)

    def revoke(self, user_id: str, secret_id: str) -> bool:
        """Delete a secret of a user, which signs nothing any more; return False if there is none.

        Args:
            user_id: The user.
            secret_id: The secret.
        """
        one = (signing_secrets.c.user_id == user_id, signing_secrets.c.secret_id == secret_id)
        deleted = signing_secrets.delete().where(*one)
        return self._database.write(lambda connection: connection.execute(deleted).rowcount) > 0


def _secret(row: Any) -> SigningSecret:
    return SigningSecret(**row)
