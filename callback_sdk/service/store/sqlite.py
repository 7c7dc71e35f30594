"""SQLite: readers side by side, and one writer at a time that commits what waits in one go.

A commit with `synchronous=FULL` waits for the disk. Requests that come meanwhile wait for the same one
disk write and not for one each: the first of them whose turn it is makes it for all.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from callback_sdk.errors import ConfigurationError
from callback_sdk.service.files import check_writable
from callback_sdk.service.store import clock
from callback_sdk.service.store.database import Database, StoreUnavailableError, unavailable
from callback_sdk.service.supervision.shortages import unusable

T = TypeVar("T")

_OLDEST = (3, 35)
"""The first SQLite whose statements return what they wrote."""

_BUSY_TIMEOUT = 30
"""Seconds to wait for another process's lock, such as a backup's."""

_GROUP = 200
"""Writes in one commit, at most."""


class SQLiteDatabase(Database):
    """One SQLite file, which several processes of one machine may share.

    The file is made with mode 0600 when it is missing.

    Args:
        path: The file.

    Raises:
        ConfigurationError: It can't be made.
    """

    def __init__(self, path: Path) -> None:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise ConfigurationError(
                f"This Python has SQLite {sqlite3.sqlite_version}, which is too old.",
                hint="Use one with SQLite 3.35 or later, or a PostgreSQL database: --database postgresql://...",
            )
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise unusable(
                f"The database {path} can't be opened: {error.strerror}.",
                hint="Name another one with --database.",
                error=error,
            ) from error
        # Parameters of statements are credentials: no exception may show them.
        engine = sa.create_engine(f"sqlite:///{path}", hide_parameters=True, connect_args={"timeout": _BUSY_TIMEOUT})
        super().__init__(engine)
        self._path = path
        sa.event.listen(engine, "connect", _configure)
        sa.event.listen(engine, "begin", _begin)
        self._writing = engine.execution_options(callback_sdk_write=True)
        self._waiting: queue.SimpleQueue[_Write] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._turn = threading.Lock()

    def check(self) -> None:
        """Make sure that it can be read, and that its disk has space; see `Database.check`."""
        super().check()
        try:
            check_writable(self._path.parent)
        except ConfigurationError as error:
            raise StoreUnavailableError(f"The database can't be written. {error.message}", hint=error.hint) from error

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run one piece of work and return when it is on disk; see `Database.write`."""
        future: Future[T] = Future()
        with self._closing:
            self._refuse_when_closed()
            self._waiting.put(_Write(work, future))
        # Not in a thread of its own, which every write would have to wake, and to be woken by.
        with unavailable():
            while not future.done():
                self._take_turn(future.done)
            return future.result()

    def close(self) -> None:
        """Finish what waits and close the file."""
        with self._closing:
            self.closed = True
        while not self._waiting.empty():
            self._take_turn(self._waiting.empty)
        with self._turn:
            super().close()

    def _take_turn(self, needless: Callable[[], bool]) -> None:
        """Commit what waits, unless that has become needless while somebody else had the turn."""
        with self._turn:
            if needless():
                return
            group: list[_Write] = []
            try:
                while len(group) < _GROUP and not self._waiting.empty():
                    group.append(self._waiting.get())
                self._commit(group)
            finally:
                # But for a Ctrl-C in this thread, there are none.
                for write in group:
                    if not write.future.done():
                        write.future.set_exception(_broken_off())

    def _commit(self, writes: list[_Write]) -> None:
        begun = False
        try:
            with self._writing.begin() as connection:
                begun = True
                # Who is alone needs no savepoint: there is nobody else's work in the transaction.
                run = _Write.run_alone if len(writes) == 1 else _Write.run
                resolved = [run(write, connection) for write in writes]
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            if begun and len(writes) > 1:
                # One of them may have undone the others' work too: each gets a transaction of its own.
                for write in writes:
                    self._commit([write])
            else:
                # What kept them all from beginning, such as a lock, would keep each of them as long.
                for write in writes:
                    write.future.set_exception(error)
        else:
            for resolve in resolved:
                resolve()


class _Write:
    def __init__(self, work: Callable[[sa.Connection], Any], future: Future[Any]) -> None:
        self.work = work
        self.future = future

    def run_alone(self, connection: sa.Connection) -> Callable[[], None]:
        """Do the work in a transaction of its own, and return what `run` does.

        Raises:
            Exception: The work failed.
        """
        value = self.work(connection)
        return lambda: self.future.set_result(value)

    def run(self, connection: sa.Connection) -> Callable[[], None]:
        """Do the work, and return what tells the waiting thread, to be called after the commit.

        Raises:
            Exception: The work failed, and took the whole transaction with it, as a full disk does in SQLite.
        """
        # Not SQLAlchemy's own savepoints, which take longer than most of what is done in them.
        driver: Any = connection.connection.driver_connection
        driver.execute("SAVEPOINT one")
        try:
            value = self.work(connection)
        except Exception as error:
            if not driver.in_transaction:
                # There is no savepoint to go back to.
                raise
            failure = error
            driver.execute("ROLLBACK TO one")
            return lambda: self.future.set_exception(failure)
        driver.execute("RELEASE one")
        return lambda: self.future.set_result(value)


def _broken_off() -> StoreUnavailableError:
    return StoreUnavailableError(
        "What was to be written was broken off.", hint="It may be kept all the same: look before you do it again."
    )


def _configure(connection: Any, _: Any) -> None:
    # The driver's own transactions break savepoints; SQLAlchemy's documentation on SQLite advises this.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    clock.install(connection)


def _begin(connection: sa.Connection) -> None:
    # Who only reads asks for one thing at a time, and needs no transaction around it.
    if connection.get_execution_options().get("callback_sdk_write", False):
        driver: Any = connection.connection.driver_connection
        driver.execute("BEGIN IMMEDIATE")
