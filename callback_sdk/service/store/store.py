"""The store: the only truth about tasks, their deliveries and their owners.

A delivery's target is kept with its credentials, encrypted, because it must be sent after any crash.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.service.store import schema
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.deliveries import DeliveryStore
from callback_sdk.service.store.postgres import PostgresDatabase
from callback_sdk.service.store.sessions import SessionStore
from callback_sdk.service.store.sqlite import SQLiteDatabase
from callback_sdk.service.store.stats import Statistics
from callback_sdk.service.store.tasks import TaskStore
from callback_sdk.service.store.users import UserStore
from callback_sdk.service.store.versions import VersionStore

_SELECT_NOW = sa.select(now())


class Store:
    """All that is kept in one database, whose schema is up to date.

    Args:
        database: Where; the store closes it.
        cipher: The keys of its credentials.

    Attributes:
        tasks: What was submitted.
        deliveries: Where the results go.
        users: Who submits.
        sessions: Who has logged in.
        versions: What trainings have made.
        stats: How much is going on.

    Raises:
        ConfigurationError: The database needs an upgrade, or other keys.
    """

    def __init__(self, database: Database, cipher: CredentialCipher) -> None:
        schema.prepare(database, cipher)
        self.database = database
        self.tasks = TaskStore(database, cipher)
        self.deliveries = DeliveryStore(database, cipher)
        self.users = UserStore(database)
        self.sessions = SessionStore(database)
        self.versions = VersionStore(database)
        self.stats = Statistics(database)

    def check(self) -> None:
        """Make sure that the database answers and can be written; see `Database.check`."""
        self.database.check()

    def clock(self) -> float:
        """Return the time by the database's clock, in seconds since 1970 in UTC."""
        with self.database.read() as connection:
            return connection.execute(_SELECT_NOW).scalar_one()

    def close(self) -> None:
        """Close the database, after all that was written is on disk."""
        self.database.close()


def open_database(url: Secret[str]) -> Database:
    """Open a database by its URL.

    Args:
        url: `sqlite:///PATH`, or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
        ConfigurationError: It is no such URL.
        MissingExtraError: The database's driver is not installed.
    """
    scheme = url.reveal().partition("://")[0].partition("+")[0]
    if scheme in ("postgresql", "postgres"):
        return PostgresDatabase(Secret("postgresql+psycopg://" + url.reveal().partition("://")[2]))
    if scheme == "sqlite" and url.reveal().startswith("sqlite:///") and len(url.reveal()) > len("sqlite:///"):
        return SQLiteDatabase(Path(url.reveal().removeprefix("sqlite:///")))
    raise ConfigurationError(
        f"The database's URL has the scheme {scheme[:20]!r}, or names no database.",
        hint="Give sqlite:///PATH, or postgresql://USER:PASSWORD@HOST/NAME.",
    )
