"""Users in the store, and the digests of their API tokens."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import USER, User
from callback_sdk.service.store.tables import sessions, tokens, users

FIRST_USER = "admin"
"""Name and id of the user for whom `serve` writes an API token to its data directory."""

_REVOKED = "revoked"
"""Label of a revoked token. Its row is kept, so that a token file can't reactivate it."""

_COLUMNS = tuple(users.c[name] for name in User.__annotations__)

# These statements are built once: building one takes longer than running it.
_PARAMETER: sa.BindParameter[str] = sa.bindparam("_wanted")
_SELECT_BY_NAME = sa.select(*_COLUMNS).where(users.c.name == _PARAMETER)
_SELECT_BY_ID = sa.select(*_COLUMNS).where(users.c.user_id == _PARAMETER)
_SELECT_BY_TOKEN = sa.select(*_COLUMNS).where(
    users.c.user_id
    == sa.select(tokens.c.user_id)
    .where(tokens.c.token_hash == _PARAMETER, tokens.c.label != _REVOKED)
    .scalar_subquery()
)


class UserError(CallbackSDKError, ValueError):
    """The user doesn't exist, or exists already."""


class UserStore:
    """Users in a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        name: str,
        *,
        password_hash: str | None = None,
        user_id: str | None = None,
        role: str = USER,
        may_read: bool = False,
    ) -> User:
        """Create a user.

        Args:
            name: User name.
            password_hash: Argon2 hash of the password; None for a user with API tokens only.
            user_id: Id of the user; a random one if None.
            role: `"user"` or `"operator"`.
            may_read: Whether an operator may read the results of other users' tasks.

        Raises:
            UserError: The name is taken.
        """
        row = {
            "user_id": user_id or uuid.uuid4().hex,
            "name": name,
            "password_hash": password_hash,
            "role": role,
            "may_read": may_read,
        }
        try:
            self._database.write(lambda connection: connection.execute(users.insert().values(**row, created_at=now())))
        except sa.exc.IntegrityError:
            raise UserError(f"The user {name!r} already exists.", hint="Choose another name.") from None
        return self.by_name(name)

    def all(self) -> list[User]:
        """Return all users, ordered by name."""
        with self._database.read() as connection:
            return [_user(row) for row in connection.execute(sa.select(*_COLUMNS).order_by(users.c.name)).mappings()]

    def by_name(self, name: str) -> User:
        """Return a user by name.

        Raises:
            UserError: The user doesn't exist.
        """
        user = self._fetch_one(_SELECT_BY_NAME, name)
        if user is None:
            raise UserError(f"The user {name!r} doesn't exist.", hint="List the users with callback-sdk users list.")
        return user

    def find(self, name: str) -> User | None:
        """Return a user by name; None if there is none."""
        return self._fetch_one(_SELECT_BY_NAME, name)

    def get(self, user_id: str) -> User | None:
        """Return a user by id; None if there is none."""
        return self._fetch_one(_SELECT_BY_ID, user_id)

    def of_token(self, token_hash: str) -> User | None:
        """Return the user of an API token by the token's digest; None if no user has it."""
        return self._fetch_one(_SELECT_BY_TOKEN, token_hash)

    def disable(self, name: str, *, disabled: bool = True) -> User:
        """Disable or enable a user. Existing sessions and access tokens are revoked.

        Raises:
            UserError: The user doesn't exist.
        """
        return self._change(name, {"disabled": disabled})

    def set_role(self, name: str, role: str, *, may_read: bool = False) -> User:
        """Change the role of a user, from the next request on.

        Raises:
            UserError: The user doesn't exist.
        """
        user = self.by_name(name)
        change = users.update().where(users.c.user_id == user.user_id).values(role=role, may_read=may_read)
        self._database.write(lambda connection: connection.execute(change))
        return self.by_name(name)

    def set_password(self, name: str, password_hash: str) -> User:
        """Store the hash of a user's new password. Existing sessions and access tokens are revoked.

        Raises:
            UserError: The user doesn't exist.
        """
        return self._change(name, {"password_hash": password_hash})

    def rehash(self, user_id: str, old: str, new: str) -> None:
        """Replace the hash of an unchanged password, unless a new password has been set meanwhile."""
        same = users.update().where(users.c.user_id == user_id, users.c.password_hash == old).values(password_hash=new)
        self._database.write(lambda connection: connection.execute(same))

    def add_token(self, user_id: str, token_hash: str, *, label: str, only: bool = False) -> bool:
        """Store the digest of an API token; return False if the token has been revoked.

        Args:
            user_id: Id of the token's user.
            token_hash: SHA-256 of the token.
            label: Purpose of the token.
            only: Whether the token replaces all others with the same label.
        """

        def insert(connection: sa.Connection) -> bool:
            if only:
                same = (tokens.c.user_id == user_id, tokens.c.label == label, tokens.c.token_hash != token_hash)
                connection.execute(tokens.delete().where(*same))
            known = connection.execute(sa.select(tokens.c.label).where(tokens.c.token_hash == token_hash)).scalar()
            if known is None:
                row = {"token_hash": token_hash, "user_id": user_id, "label": label}
                connection.execute(tokens.insert().values(**row, created_at=now()))
            return known != _REVOKED

        return self._database.write(insert)

    def revoke_tokens(self, user_id: str) -> int:
        """Revoke all tokens of a user, and return the number of revoked API tokens.

        The user's sessions, refresh tokens and access tokens are revoked too.
        """
        good = (tokens.c.user_id == user_id, tokens.c.label != _REVOKED)
        revoked = tokens.update().where(*good).values(label=_REVOKED)

        def revoke(connection: sa.Connection) -> int:
            _end_sessions(connection, user_id, {})
            return connection.execute(revoked).rowcount

        return self._database.write(revoke)

    def _change(self, name: str, values: dict[str, Any]) -> User:
        user = self.by_name(name)
        self._database.write(lambda connection: _end_sessions(connection, user.user_id, values))
        return self.by_name(name)

    def _fetch_one(self, query: sa.Select[Any], value: str) -> User | None:
        with self._database.read() as connection:
            row = connection.execute(query, {"_wanted": value}).mappings().first()
        return None if row is None else _user(row)


def _end_sessions(connection: sa.Connection, user_id: str, values: dict[str, Any]) -> None:
    """End all sessions of a user, and update the user's columns in the same transaction."""
    raised = users.update().where(users.c.user_id == user_id)
    connection.execute(raised.values(**values, token_generation=users.c.token_generation + 1))
    connection.execute(sessions.delete().where(sessions.c.user_id == user_id))


def _user(row: sa.RowMapping) -> User:
    return User(**row)
