"""SQLite: concurrent readers, and one writer at a time that commits all waiting writes together (group commit).

A commit with `synchronous=FULL` waits for an fsync. Writes that arrive meanwhile share the next commit, so that the
throughput isn't bound by one fsync per write.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from callback_sdk.errors import ConfigurationError
from callback_sdk.service.files import check_writable
from callback_sdk.service.store import clock
from callback_sdk.service.store.database import Database, StoreUnavailableError, unavailable
from callback_sdk.service.supervision.shortages import unusable

T = TypeVar("T")

_MIN_VERSION = (3, 35)
"""The first version of SQLite with RETURNING."""

_BUSY_TIMEOUT = 30
"""Seconds to wait for another process's lock, such as a backup's."""

_GROUP = 200
"""Maximum number of writes in one commit."""


_LOOK = 0.05
"""Seconds between two looks whether another connection has changed the file."""

_PAGES = 256
"""Pages that are released in one transaction: 1 MiB, which takes a few milliseconds."""

_MIN_RELEASED = 16 * 1024 * 1024
"""Bytes of free pages that are never worth releasing."""

_MAX_FREE = 0.25
"""Part of the file that free pages may take."""


class SQLiteDatabase(Database):
    """A SQLite file, which several processes of one machine may share.

    A missing file is created with mode 0600.

    Args:
        path: The file.

    Raises:
        ConfigurationError: The file can't be created.
    """

    def __init__(self, path: Path) -> None:
        if sqlite3.sqlite_version_info < _MIN_VERSION:
            raise ConfigurationError(
                f"This Python has SQLite {sqlite3.sqlite_version}, which is too old.",
                hint="Use a Python with SQLite 3.35 or later, or PostgreSQL: --database postgresql://...",
            )
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise unusable(
                f"The database {path} can't be opened: {error.strerror}.",
                hint="Choose another file with --database.",
                error=error,
            ) from error
        # Parameters of statements include credentials, which no exception may show.
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
        """Check that the file can be read and that its disk has space; see `Database.check`."""
        super().check()
        try:
            check_writable(self._path.parent)
        except ConfigurationError as error:
            raise StoreUnavailableError(f"The database can't be written. {error.message}", hint=error.hint) from error

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a group commit; see `Database.write`."""
        future: Future[T] = Future()
        with self._closing:
            self._refuse_when_closed()
            self._waiting.put(_Write(work, future))
        # The waiting threads commit by turns. A writer thread would cost two wakeups per write.
        with unavailable():
            while not future.done():
                self._commit_group(future.done)
            return future.result()

    def follow(self, stopping: threading.Event) -> None:
        """Look whether anything has changed, while there are listeners; see `Database.follow`.

        SQLite has no notifications. The value of `PRAGMA data_version` differs after any commit of another connection,
        and reading it takes some microseconds.
        """
        with closing(sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT, isolation_level=None)) as connection:
            seen: Any = None
            while not stopping.wait(_LOOK):
                if self.changes.is_heard:
                    before, (seen,) = seen, connection.execute("PRAGMA data_version").fetchone()
                    if seen != before:
                        self.changes.tell(None)

    def copy(self, target: Path) -> None:
        """Copy the file with SQLite's online backup; see `Database.copy`.

        All pages are copied in one step. Between several steps another process could write, and the backup would start
        again each time (SQLite, "Using the SQLite Online Backup API").
        """
        try:
            with closing(sqlite3.connect(target)) as copied, self.read() as connection:
                driver: Any = connection.connection.driver_connection
                driver.backup(copied)
                # In WAL mode the copy would consist of several files.
                copied.execute("PRAGMA journal_mode=DELETE")
                problems = [*copied.execute("PRAGMA integrity_check(1)"), *copied.execute("PRAGMA foreign_key_check")]
        except sqlite3.Error as error:
            raise StoreUnavailableError(
                f"The database can't be copied to {target.parent}: {error}.",
                hint="Check this directory, its disk and its free space.",
            ) from error
        if problems != [("ok",)]:
            raise StoreUnavailableError(
                f"The copy of the database is damaged: {str(problems[0])[:200]}.",
                hint="Check the disks. If the database itself is damaged, restore an earlier backup.",
            )

    def load(self, source: Path) -> None:
        """Copy a copy back; see `Database.load`."""
        try:
            with closing(sqlite3.connect(source)) as original, self.read() as connection:
                driver: Any = connection.connection.driver_connection
                original.backup(driver)
        except sqlite3.Error as error:
            raise StoreUnavailableError(
                f"The database can't be copied from {source}: {error}.",
                hint="Check this file, and the disk of the new database.",
            ) from error

    def release_space(self) -> int:
        """Release free pages in small transactions; see `Database.release_space`.

        New databases, and upgraded ones, are in the mode `auto_vacuum=INCREMENTAL`. VACUUM would block all writes while
        it rewrites the whole file.
        """
        free, total, page = self._pages()
        if free * page < _MIN_RELEASED or free < total * _MAX_FREE:
            return 0
        released = 0
        # Some are kept, as new rows need them soon.
        while not self.closed and free > total * _MAX_FREE / 2:
            started = time.monotonic()
            self.write(_release_pages)
            time.sleep(time.monotonic() - started)
            left = self._pages()[0]
            if left >= free:
                break
            released, total, free = released + (free - left) * page, total - (free - left), left
        return released

    def _pages(self) -> tuple[int, int, int]:
        """Return the number of free pages, of all pages, and the bytes of a page."""
        with self.read() as connection:
            names = ("freelist_count", "page_count", "page_size")
            free, total, page = (connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names)
            return free, total, page

    def close(self) -> None:
        """Commit all waiting writes and close the file."""
        with self._closing:
            self.closed = True
        while not self._waiting.empty():
            self._commit_group(self._waiting.empty)
        with self._turn:
            super().close()

    def _commit_group(self, needless: Callable[[], bool]) -> None:
        """Commit all waiting writes, unless another thread has done so while this one waited for its turn."""
        with self._turn:
            if needless():
                return
            group: list[_Write] = []
            try:
                while len(group) < _GROUP and not self._waiting.empty():
                    group.append(self._waiting.get())
                self._commit(group)
            finally:
                # Writes are left only after an exception in this thread, such as KeyboardInterrupt.
                for write in group:
                    if not write.future.done():
                        write.future.set_exception(_interrupted_error())

    def _commit(self, writes: list[_Write]) -> None:
        begun = False
        try:
            with self._writing.begin() as connection:
                begun = True
                # A single write needs no savepoint, because a rollback undoes only its own changes.
                run = _Write.run_alone if len(writes) == 1 else _Write.run
                resolved = [run(write, connection) for write in writes]
        except Exception as error:  # noqa: BLE001 - the waiting threads must receive it
            if begun and len(writes) > 1:
                # SQLITE_FULL and SQLITE_IOERR roll back the whole transaction (SQLite, "Transactions"), so each write
                # is repeated in a separate one.
                for write in writes:
                    self._commit([write])
            else:
                # BEGIN failed, for example because another process holds the lock. Each repetition would wait as long.
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
        """Run the work in a transaction without a savepoint, and return the same as `run`.

        Raises:
            Exception: The work failed.
        """
        value = self.work(connection)
        return lambda: self.future.set_result(value)

    def run(self, connection: sa.Connection) -> Callable[[], None]:
        """Run the work in a savepoint, and return the function that reports to the waiting thread after the commit.

        Raises:
            Exception: The work failed, and SQLite has rolled back the whole transaction, as it does on a full disk.
        """
        # SQLAlchemy's own savepoints would take longer than most of the work in them.
        driver: Any = connection.connection.driver_connection
        driver.execute("SAVEPOINT one")
        try:
            value = self.work(connection)
        except Exception as error:
            if not driver.in_transaction:
                # SQLite has rolled back the transaction with its savepoints.
                raise
            failure = error
            driver.execute("ROLLBACK TO one")
            return lambda: self.future.set_exception(failure)
        driver.execute("RELEASE one")
        return lambda: self.future.set_result(value)


def _interrupted_error() -> StoreUnavailableError:
    return StoreUnavailableError(
        "The write was interrupted.", hint="The write may have been committed. Check before you repeat it."
    )


def _configure(connection: Any, _: Any) -> None:
    # sqlite3 begins transactions implicitly, which breaks savepoints. The setting follows SQLAlchemy's documentation of
    # SQLite, "Serializable isolation / Savepoints / Transactional DDL".
    connection.isolation_level = None
    cursor = connection.cursor()
    # WAL: readers don't block the writer. FULL: in WAL mode, NORMAL doesn't sync each commit, so a power failure could
    # lose acknowledged writes. Foreign keys are off by default (SQLite, "PRAGMA Statements").
    # The mode of auto_vacuum can be chosen before the first table is created, and by VACUUM.
    for pragma in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    clock.install(connection)


def _release_pages(connection: sa.Connection) -> None:
    driver: Any = connection.connection.driver_connection
    # Each step of the statement releases one page, and sqlite3 makes a single step, as the statement has no columns.
    for _ in range(_PAGES):
        driver.execute("PRAGMA incremental_vacuum(1)")


def _begin(connection: sa.Connection) -> None:
    # Readers run single statements, which need no transaction. Writers take the lock at once: a transaction that
    # begins as a reader and then writes fails with SQLITE_BUSY_SNAPSHOT if another one has written meanwhile.
    if connection.get_execution_options().get("callback_sdk_write", False):
        driver: Any = connection.connection.driver_connection
        driver.execute("BEGIN IMMEDIATE")
