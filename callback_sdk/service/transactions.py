"""Transactions on SQLite: readers side by side, and one writer that commits what waits in one go.

A commit with `synchronous=FULL` waits for the disk. Requests that come meanwhile wait for the same one
disk write and not for one each.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from callback_sdk.errors import ConfigurationError

T = TypeVar("T")

_log = logging.getLogger(__name__)

_BUSY_TIMEOUT = 10
"""Seconds to wait for another process's lock, such as a backup's."""

_RETRY = 1.0
"""Seconds between tries of a write that must not be lost."""

_GROUP = 200
"""Writes in one commit, at most."""


class Transactions:
    """Opens a SQLite file, and runs reads and writes on it.

    The file, made with mode 0600 when it is missing, holds credentials.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        # Parameters of statements are credentials: no exception may show them.
        self._engine = sa.create_engine(
            f"sqlite:///{path}", hide_parameters=True, connect_args={"timeout": _BUSY_TIMEOUT}
        )
        sa.event.listen(self._engine, "connect", _configure)
        sa.event.listen(self._engine, "begin", _begin)
        self._writing = self._engine.execution_options(callback_sdk_write=True)
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Lock()
        self._writer = threading.Thread(target=self._write_all, name="store-writer", daemon=True)
        self._writer.start()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of the database."""
        with self._engine.connect() as connection:
            yield connection

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run one piece of work and return when it is on disk.

        Args:
            work: Gets the connection. What it raises undoes its own writes alone.

        Raises:
            ConfigurationError: The database is closed.
        """
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise ConfigurationError(
                    "The store is closed.", hint="The service is stopping; ask again when it is up."
                )
            self._waiting.put(_Write(work, future))
        return future.result()

    def write_surely(self, work: Callable[[sa.Connection], T]) -> T:
        """Run one piece of work that must not be lost: while the disk is full or locked, try again.

        Args:
            work: Gets the connection, perhaps several times.

        Raises:
            ConfigurationError: The database was closed meanwhile.
        """
        while True:
            try:
                return self.write(work)
            except sa.exc.OperationalError as error:  # noqa: PERF203 - one round in a good while
                _log.error("The database can't be written, another try follows: %s", error.orig)
                time.sleep(_RETRY)

    def close(self) -> None:
        """Finish what waits and close the file."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._writer.join()
        self._engine.dispose()

    def _write_all(self) -> None:
        while True:
            first = self._waiting.get()
            group = [first]
            while len(group) < _GROUP and not self._waiting.empty():
                group.append(self._waiting.get())
            writes = [write for write in group if write is not None]
            if writes:
                self._commit(writes)
            if None in group:
                return

    def _commit(self, writes: list[_Write]) -> None:
        try:
            with self._writing.begin() as connection:
                resolved = [write.run(connection) for write in writes]
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it
            if len(writes) == 1:
                writes[0].future.set_exception(error)
            # One of them may have undone the others' work too: each gets a transaction of its own.
            for write in writes if len(writes) > 1 else ():
                self._commit([write])
        else:
            for resolve in resolved:
                resolve()


class _Write:
    def __init__(self, work: Callable[[sa.Connection], Any], future: Future[Any]) -> None:
        self.work = work
        self.future = future

    def run(self, connection: sa.Connection) -> Callable[[], None]:
        """Do the work, and return what tells the waiting thread, to be called after the commit.

        Raises:
            Exception: The work failed, and took the whole transaction with it, as a full disk does in SQLite.
        """
        causes: list[Exception] = []
        try:
            with connection.begin_nested():
                value = self._run(connection, causes)
        except Exception as error:  # noqa: BLE001 - it belongs to the waiting thread
            causes.append(error)
            if not _in_transaction(connection):
                # The first one: after it, there is no savepoint to go back to, and that is an error too.
                raise causes[0] from None
            return lambda: self.future.set_exception(causes[0])
        return lambda: self.future.set_result(value)

    def _run(self, connection: sa.Connection, causes: list[Exception]) -> Any:
        try:
            return self.work(connection)
        except Exception as error:
            causes.append(error)
            raise


def _in_transaction(connection: sa.Connection) -> bool:
    return bool(getattr(connection.connection.driver_connection, "in_transaction", False))


def _configure(connection: Any, _: Any) -> None:
    # The driver's own transactions break savepoints; SQLAlchemy's documentation on SQLite advises this.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    immediate = connection.get_execution_options().get("callback_sdk_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
