"""The sessions in the store: of the web pages, and of log-ins whose refresh tokens follow one another.

Services behind one balancer share them: whatever ends a session ends it everywhere.
"""

from __future__ import annotations

import sqlalchemy as sa
from attrs import define

from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import User
from callback_sdk.service.store.tables import sessions, users

REUSE_INTERVAL = 60.0
"""Seconds in which the refresh token before the last one gets the same answer again: the first answer may be lost."""

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
        sessions.c.rotated_at > now() - sa.bindparam("_grace", type_=sa.Double),
    ).label("is_repeated"),
).where(sessions.c.session_id == _SESSION, sessions.c.expires_at > now())


@define(frozen=True, kw_only=True)
class Rotation:
    """What came of a refresh token.

    Attributes:
        token_id: Id of the token that takes its place; None when the session is over.
        expires_at: End of the session, in seconds since 1970 in UTC.
        reused: Whether the session was ended by this, as the token had been used before.
    """

    token_id: str | None = None
    expires_at: float = 0.0
    reused: bool = False


class SessionStore:
    """Sessions in a database.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, session_id: str, user_id: str, *, life: float, token_id: str | None = None) -> None:
        """Keep a new session.

        Args:
            session_id: Its id.
            user_id: Whose it is.
            life: Seconds until it ends by itself.
            token_id: Id of its first refresh token, if it has any.
        """
        row = {"session_id": session_id, "user_id": user_id, "current_token": token_id}
        insert = sessions.insert().values(**row, created_at=now(), expires_at=now() + life)
        self._database.write(lambda connection: connection.execute(insert))

    def user(self, session_id: str) -> User | None:
        """Return whose session it is; None when it is over."""
        with self._database.read() as connection:
            row = connection.execute(_SELECT_USER, {"_session": session_id}).mappings().first()
        return None if row is None else User(**row)

    def rotate(self, session_id: str, token_id: str, next_id: str) -> Rotation:
        """Put another refresh token in the place of the current one; end the session when it is not the current one.

        Args:
            session_id: The session.
            token_id: Id of the token that was sent.
            next_id: Id of the one that takes its place.
        """
        values = {"_session": session_id, "_token": token_id, "_next": next_id, "_grace": REUSE_INTERVAL}
        gone = sessions.delete().where(sessions.c.session_id == session_id)

        def work(connection: sa.Connection) -> Rotation:
            # The update decides who is first: whoever comes at the same moment finds another current token.
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
        """End a session; False when it was over."""
        gone = sessions.delete().where(sessions.c.session_id == session_id)
        return self._database.write(lambda connection: bool(connection.execute(gone).rowcount))

    def forget(self) -> None:
        """Remove what has ended by itself."""
        gone = sessions.delete().where(sessions.c.expires_at <= now())
        self._database.write(lambda connection: connection.execute(gone))
