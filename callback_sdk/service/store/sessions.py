"""Sessions in the store: of the web UI, and of API logins with rotating refresh tokens.

Services behind one load balancer share them: a session that ends, ends in all of them.
"""

from __future__ import annotations

import sqlalchemy as sa
from attrs import define

from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import User
from callback_sdk.service.store.tables import sessions, users

REUSE_INTERVAL = 60.0
"""Grace period, in seconds, in which the previous refresh token still works: the first response may have been lost."""

_SESSION: sa.BindParameter[str] = sa.bindparam("_session")
_SELECT_USER = (
    sa.select(*(users.c[name] for name in User.__annotations__))
    .join(sessions, sessions.c.user_id == users.c.user_id)
    .where(sessions.c.session_id == _SESSION, sessions.c.expires_at > now())
)
_UPDATE_TOKEN = (
    sessions.update()
    .where(
        sessions.c.session_id == _SESSION,
        sessions.c.current_token == sa.bindparam("_token"),
        sessions.c.expires_at > now(),
    )
    .values(previous_token=sessions.c.current_token, current_token=sa.bindparam("_next"), rotated_at=now())
    .returning(sessions.c.expires_at)
)
_SELECT_SESSION = sa.select(
    sessions.c.current_token,
    sessions.c.expires_at,
    sa.and_(
        sessions.c.previous_token == sa.bindparam("_token"),
        sessions.c.rotated_at > now() - sa.bindparam("_reuse_interval", type_=sa.Double),
    ).label("is_repeated"),
).where(sessions.c.session_id == _SESSION, sessions.c.expires_at > now())


@define(frozen=True, kw_only=True)
class Rotation:
    """The result of rotating a refresh token.

    Attributes:
        token_id: Id of the next refresh token; None if the session has ended.
        expires_at: End of the session, in seconds since 1970 in UTC.
        reused: Whether the session was ended now because the token had been used before.
    """

    token_id: str | None = None
    expires_at: float = 0.0
    reused: bool = False


class SessionStore:
    """Sessions in a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, session_id: str, user_id: str, *, life: float, token_id: str | None = None) -> None:
        """Store a new session.

        Args:
            session_id: Id of the session.
            user_id: Id of its user.
            life: Lifetime, in seconds.
            token_id: Id of its first refresh token; None for a session of the web UI.
        """
        row = {"session_id": session_id, "user_id": user_id, "current_token": token_id}
        insert = sessions.insert().values(**row, created_at=now(), expires_at=now() + life)
        self._database.write(lambda connection: connection.execute(insert))

    def user(self, session_id: str) -> User | None:
        """Return the user of a session; None if it has ended."""
        with self._database.read() as connection:
            row = connection.execute(_SELECT_USER, {"_session": session_id}).mappings().first()
        return None if row is None else User(**row)

    def rotate(self, session_id: str, token_id: str, next_id: str) -> Rotation:
        """Replace the current refresh token; end the session if the given token is not the current one.

        Args:
            session_id: The session.
            token_id: Id of the token in the request.
            next_id: Id of the token that replaces it.
        """
        values = {"_session": session_id, "_token": token_id, "_next": next_id, "_reuse_interval": REUSE_INTERVAL}
        gone = sessions.delete().where(sessions.c.session_id == session_id)

        def work(connection: sa.Connection) -> Rotation:
            # The update is atomic: a concurrent request finds another current token.
            expires_at = connection.execute(_UPDATE_TOKEN, values).scalar()
            if expires_at is not None:
                return Rotation(token_id=next_id, expires_at=expires_at)
            known = connection.execute(_SELECT_SESSION, values).first()
            if known is None:
                return Rotation()
            if known.is_repeated:
                return Rotation(token_id=known.current_token, expires_at=known.expires_at)
            connection.execute(gone)
            return Rotation(reused=True)

        return self._database.write(work)

    def close(self, session_id: str) -> bool:
        """End a session; return False if it had ended already."""
        gone = sessions.delete().where(sessions.c.session_id == session_id)
        return self._database.write(lambda connection: bool(connection.execute(gone).rowcount))

    def delete_all(self) -> None:
        """Log out all users."""
        self._database.write(lambda connection: connection.execute(sessions.delete()))

    def delete_expired(self) -> None:
        """Delete expired sessions."""
        gone = sessions.delete().where(sessions.c.expires_at <= now())
        self._database.write(lambda connection: connection.execute(gone))
