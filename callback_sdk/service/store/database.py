"""The interface of a database: concurrent reads, and writes that are durable when they return."""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from callback_sdk.errors import CallbackSDKError, ConfigurationError
from callback_sdk.redaction import strip_traceback
from callback_sdk.service.store.changes import TaskChanges
from callback_sdk.service.supervision.outages import OutageLog

T = TypeVar("T")

_REFUSALS = re.compile(
    r'FATAL: (?:password authentication failed|no pg_hba\.conf entry|(?:role|database) "[^"]{1,100}" does not exist)'
)
"""Errors of connections that PostgreSQL will always refuse. libpq has no SQLSTATE for a failed connection."""

_log = logging.getLogger(__name__)

_RETRY = 1.0
"""Seconds between attempts of a write that must not be lost."""


class StoreUnavailableError(CallbackSDKError):
    """The database can't be reached or written. Stored data is safe."""


class StoreRefusedError(StoreUnavailableError):
    """The database refuses the connection: the user, password or database name is wrong."""


class StoreFullError(StoreUnavailableError):
    """The disk of the database is full. The write was rolled back."""


class Database(ABC):
    """A database. Subclasses implement how it is opened and how it commits.

    Args:
        engine: The SQLAlchemy engine. It must hide parameters, as some are credentials.
        reading: The engine of read-only connections; `engine` when None.

    Attributes:
        changes: Tells which tasks have changed.
    """

    def __init__(self, engine: sa.Engine, *, reading: sa.Engine | None = None) -> None:
        self.engine = engine
        self.changes = TaskChanges()
        self.closed = False
        self._reading = reading or engine
        # One log for all threads: during an outage each waiting thread would log every failure.
        self._outage = OutageLog(_log, failing="Writes wait for the database", working="The database is written again")

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a connection that reads committed data.

        Raises:
            StoreUnavailableError: The database can't be reached.
        """
        with unavailable(), self._reading.connect() as connection:
            yield connection

    @property
    def place(self) -> str:
        """Location for operators: the file, or host and database name."""
        url = self.engine.url
        return f"{url.host or ''}{f':{url.port}' if url.port else ''}/{url.database}" if url.host else str(url.database)

    def check(self) -> None:
        """Check that the database can be read and written.

        Raises:
            StoreUnavailableError: The database is unavailable or read-only.
        """
        with self.read() as connection:
            connection.execute(sa.select(1))

    @abstractmethod
    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a transaction and return when it is durable.

        Args:
            work: Called with the connection. If it raises, only its own writes are rolled back.

        Raises:
            ConfigurationError: The database is closed.
            StoreUnavailableError: The database can't be written. If the connection was lost during the commit, the
                work may have been committed.
        """

    def write_one(self, statement: sa.Executable, values: Mapping[str, Any]) -> Sequence[sa.Row[Any]]:
        """Run one statement in a separate transaction, and return its rows when it is durable.

        Args:
            statement: A statement that returns rows.
            values: Values of its parameters.

        Raises:
            StoreUnavailableError: The database can't be written; see `write`.
        """
        return self.write(lambda connection: connection.execute(statement, values).all())

    def write_with_retry(self, work: Callable[[sa.Connection], T]) -> T:
        """Run work that must not be lost: retry while the database can't be written.

        Args:
            work: Called with the connection, possibly several times. It must detect that an earlier call was committed.

        Raises:
            ConfigurationError: The database has been closed.
        """
        while True:
            try:
                done = self.write(work)
            except StoreUnavailableError as error:  # noqa: PERF203 - retries are rare
                self._outage.record_failure(error)
                time.sleep(_RETRY)
            else:
                self._outage.record_recovery()
                return done

    @abstractmethod
    def follow(self, stopping: threading.Event) -> None:
        """Tell `changes` what other processes have changed, until stopped.

        Args:
            stopping: Set to return.
        """

    @abstractmethod
    def copy(self, target: Path) -> None:
        """Write a consistent copy of the database to a new file, while it is in use, and check the copy.

        Raises:
            ConfigurationError: A program is missing.
            StoreUnavailableError: The database can't be read, or the copy can't be written or is damaged.
        """

    @abstractmethod
    def load(self, source: Path) -> None:
        """Load a copy to this database, which must be empty. Nothing is loaded if that fails.

        Raises:
            ConfigurationError: A program is missing.
            StoreUnavailableError: The copy can't be loaded.
        """

    def release_space(self) -> int:
        """Return the space of deleted rows to the file system, and the number of released bytes; 0 if there is little.

        PostgreSQL does this by itself, as far as it can.
        """
        return 0

    def close(self) -> None:
        """Close all connections."""
        self.closed = True
        self.engine.dispose()

    def _refuse_when_closed(self) -> None:
        if self.closed:
            raise ConfigurationError(
                "The store is closed.", hint="The service is stopping. Try again when it is running."
            )


@contextmanager
def unavailable() -> Iterator[None]:
    """Raise errors of an unavailable, full or locked database as `StoreUnavailableError`, without their frames."""
    failure: StoreUnavailableError
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        failure = _unavailable(error)
    except sa.exc.DBAPIError as error:
        # An error without a statement is about the connection, such as an option that the driver doesn't know.
        # SQLSTATE 25006 (read_only_sql_transaction): the server is a standby, so the primary is unavailable.
        is_unavailable = error.connection_invalidated or getattr(error.orig, "sqlstate", None) == "25006"
        if not is_unavailable and error.statement is not None:
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
    failure = kind(f"The database is unavailable: {reason}.", hint=hint)
    failure.__cause__ = cause
    return failure


def _advice(cause: BaseException) -> tuple[type[StoreUnavailableError], str]:
    # SQLSTATE 53100 is disk_full. Python 3.10 has no error codes of SQLite, so the text of SQLITE_FULL is compared.
    if getattr(cause, "sqlstate", None) == "53100" or "database or disk is full" in str(cause):
        return StoreFullError, "Free space on the disk of the database, then try again."
    if isinstance(cause, sqlite3.Error):
        return StoreUnavailableError, "Check the database file, its disk and the limits of this process."
    return StoreUnavailableError, "Check that the database is running and has free disk space."
