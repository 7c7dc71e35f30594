"""A database that keeps what it is told: reads side by side, and writes that are on disk when they return."""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa

from callback_sdk.errors import CallbackSDKError, ConfigurationError
from callback_sdk.redaction import strip_traceback
from callback_sdk.service.supervision.outages import OutageLog

T = TypeVar("T")

_REFUSALS = re.compile(
    r"FATAL: (?:password authentication failed|no pg_hba\.conf entry|(?:role|database) .{1,100} does not exist)"
)
"""What PostgreSQL answers to a connection that it will never take. libpq tells no SQLSTATE of a failed connection."""

_log = logging.getLogger(__name__)

_RETRY = 1.0
"""Seconds between tries of a write that must not be lost."""


class StoreUnavailableError(CallbackSDKError):
    """The database can't be reached, or can't be written; what it has is safe."""


class StoreRefusedError(StoreUnavailableError):
    """The database refuses the connection: its user, password or name is wrong. Only another setting helps."""


class StoreFullError(StoreUnavailableError):
    """The database's disk is full, so it has undone what was to be written."""


class Database(ABC):
    """One database. Its subclasses know how it is opened and how it commits.

    Args:
        engine: SQLAlchemy's; it must hide parameters, as some are credentials.
        reading: The same with the options of connections that only read.
    """

    def __init__(self, engine: sa.Engine, *, reading: sa.Engine | None = None) -> None:
        self.engine = engine
        self.closed = False
        self._reading = reading or engine
        # One for all threads that wait to write: while the database is away, each would log every failure.
        self._outage = OutageLog(_log, failing="Writes wait for the database", working="The database is written again")

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection that sees what is committed.

        Raises:
            StoreUnavailableError: The database can't be reached.
        """
        with unavailable(), self._reading.connect() as connection:
            yield connection

    @property
    def place(self) -> str:
        """Where it is, for people who run the service: its file, or its host and name."""
        url = self.engine.url
        return f"{url.host or ''}{f':{url.port}' if url.port else ''}/{url.database}" if url.host else str(url.database)

    def check(self) -> None:
        """Make sure that it answers, and takes what is written.

        Raises:
            StoreUnavailableError: It doesn't.
        """
        with self.read() as connection:
            connection.execute(sa.select(1))

    @abstractmethod
    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run one piece of work in a transaction and return when it is on disk.

        Args:
            work: Gets the connection. What it raises undoes its own writes alone.

        Raises:
            ConfigurationError: The database is closed.
            StoreUnavailableError: It can't be written. When the connection was lost at the very end, the work
                may be done all the same.
        """

    def write_one(self, statement: sa.Executable, values: Mapping[str, Any]) -> Sequence[sa.Row[Any]]:
        """Run one statement that is a transaction of its own, and return its rows when it is on disk.

        Args:
            statement: It returns rows.
            values: Of its parameters.

        Raises:
            StoreUnavailableError: As `write` does.
        """
        return self.write(lambda connection: connection.execute(statement, values).all())

    def write_with_retry(self, work: Callable[[sa.Connection], T]) -> T:
        """Run one piece of work that must not be lost: while the database can't be written, try again.

        Args:
            work: Gets the connection, perhaps several times; the last one may find its work done already.

        Raises:
            ConfigurationError: The database was closed meanwhile.
        """
        while True:
            try:
                done = self.write(work)
            except StoreUnavailableError as error:  # noqa: PERF203 - one round in a good while
                self._outage.failed(error)
                time.sleep(_RETRY)
            else:
                self._outage.recovered()
                return done

    def close(self) -> None:
        """Close all connections."""
        self.closed = True
        self.engine.dispose()

    def _refuse_when_closed(self) -> None:
        if self.closed:
            raise ConfigurationError("The store is closed.", hint="The service is stopping; ask again when it is up.")


@contextmanager
def unavailable() -> Iterator[None]:
    """Turn the errors of a database that is away, full or locked into one of ours, without their frames."""
    failure: StoreUnavailableError
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        failure = _unavailable(error)
    except sa.exc.DBAPIError as error:
        # One without a statement is about the connection: an option that the driver doesn't know.
        # 25006: a standby, or a primary that is one now, which is to say that the right one is away.
        away = error.connection_invalidated or getattr(error.orig, "sqlstate", None) == "25006"
        if not away and error.statement is not None:
            raise
        failure = _unavailable(error)
    else:
        return
    raise failure


def _unavailable(error: sa.exc.SQLAlchemyError) -> StoreUnavailableError:
    cause = strip_traceback(getattr(error, "orig", None)) or error
    reason = " ".join(str(cause).split())[:300]
    failure: StoreUnavailableError
    if _REFUSALS.search(reason):
        failure = StoreRefusedError(
            f"The database refuses the connection: {reason}.",
            hint="Check the user, the password and the database's name in CALLBACK_SDK_DATABASE.",
        )
        failure.__cause__ = cause
        return failure
    kind, hint = _advice(cause)
    failure = kind(f"The database can't be used: {reason}.", hint=hint)
    failure.__cause__ = cause
    return failure


def _advice(cause: BaseException) -> tuple[type[StoreUnavailableError], str]:
    # 53100: disk_full. Python 3.10 has no code of SQLite's errors, so the text of SQLITE_FULL tells.
    if getattr(cause, "sqlstate", None) == "53100" or "database or disk is full" in str(cause):
        return StoreFullError, "Free space on the database's disk; then try again."
    if isinstance(cause, sqlite3.Error):
        return StoreUnavailableError, "Check its file, its disk and the limits of this process; then try again."
    return StoreUnavailableError, "See that it runs and that its disk has room; then try again."
