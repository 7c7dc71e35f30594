"""The outbox's SQLite file: creation, connection, schema upgrades, and conversion of errors."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from callback_sdk.concurrency.forking import RLock, after_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.errors import CallbackSDKError, ConfigurationError, OutboxError
from callback_sdk.filesystem.files import DIRECTORY, PRIVATE, create_directory, create_file
from callback_sdk.filesystem.locks import wait_for_lock

BUSY_TIMEOUT = 30.0
"""Seconds to wait for another process's write."""

VERSION = 7
"""Version of the tables, in `PRAGMA user_version`."""

_APPLICATION = int.from_bytes(b"cbox", "big")
"""`PRAGMA application_id` of an outbox: SQLite keeps it in the file's header for programs to recognize their files."""

_SENT_OUTPUTS = """CREATE TABLE sent_outputs (
        result INTEGER NOT NULL REFERENCES results(id) ON DELETE CASCADE,
        upload TEXT NOT NULL,
        file TEXT NOT NULL,
        PRIMARY KEY (result, upload)
    ) WITHOUT ROWID"""
"""Output files that a target has. The column `upload` identifies file and target; `file` is a `StoredFile`."""

_OPEN_JOBS = """CREATE TABLE open_jobs (
        key TEXT PRIMARY KEY,
        job_id TEXT NOT NULL,
        targets TEXT NOT NULL,
        owner TEXT NOT NULL,
        reports_loss INTEGER NOT NULL,
        begun_at REAL NOT NULL
    ) WITHOUT ROWID"""

_TABLES = (
    """CREATE TABLE results (
        id INTEGER PRIMARY KEY,
        job TEXT NOT NULL,
        nulls_written INTEGER NOT NULL,
        object_url TEXT,
        data BLOB,
        file TEXT,
        outputs TEXT
    )""",
    """CREATE TABLE deliveries (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        result INTEGER NOT NULL REFERENCES results(id),
        job_id TEXT NOT NULL,
        target_kind TEXT NOT NULL,
        url TEXT NOT NULL,
        host TEXT NOT NULL,
        target TEXT,
        status TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'dead')),
        attempts INTEGER NOT NULL DEFAULT 0,
        next_attempt_at REAL,
        error TEXT,
        receipt TEXT,
        owner TEXT,
        lease_expires_at REAL,
        claim INTEGER NOT NULL DEFAULT 0,
        created_at REAL NOT NULL,
        finished_at REAL,
        outputs TEXT,
        object_url TEXT,
        events TEXT
    )""",
    _SENT_OUTPUTS,
    _OPEN_JOBS,
    "CREATE INDEX deliveries_due ON deliveries (status, next_attempt_at)",
    "CREATE INDEX deliveries_result ON deliveries (result)",
    "CREATE INDEX deliveries_owner ON deliveries (owner) WHERE owner IS NOT NULL",
)

_UPGRADES = {
    2: (
        "ALTER TABLE results RENAME COLUMN nulled TO nulls_written",
        "ALTER TABLE deliveries RENAME COLUMN state TO status",
        "ALTER TABLE deliveries RENAME COLUMN next_attempt TO next_attempt_at",
        "ALTER TABLE deliveries RENAME COLUMN lease TO lease_expires_at",
        "ALTER TABLE deliveries RENAME COLUMN created TO created_at",
        "ALTER TABLE deliveries RENAME COLUMN settled TO finished_at",
    ),
    3: ("ALTER TABLE deliveries RENAME COLUMN kind TO target_kind",),
    4: (
        "ALTER TABLE results ADD COLUMN outputs TEXT",
        "ALTER TABLE deliveries ADD COLUMN outputs TEXT",
        _SENT_OUTPUTS,
    ),
    5: ("ALTER TABLE deliveries ADD COLUMN object_url TEXT",),
    6: (_OPEN_JOBS,),
    7: ("ALTER TABLE deliveries ADD COLUMN events TEXT",),
}
"""Statements that upgrade a file to each version from the previous one."""

_OPENING = RLock()


class OutboxDatabase:
    """The connection of one process to an outbox. Its threads use it one at a time.

    Args:
        path: The file.
        folder: The directory of large results and lock files.
        create: Whether to create the file and the directory if they don't exist.
        durable: Whether a commit waits until it is on disk, and survives a power failure.

    Raises:
        ConfigurationError: The file can't be opened, is not an outbox, or was created by a newer version.
        OutboxError: The file is damaged, or the disk is full.
    """

    def __init__(self, path: Path, folder: Path, *, create: bool, durable: bool = True) -> None:
        self.path = path
        self._is_inherited = False
        # Reentrant, so that a signal handler gets an error instead of waiting forever for the frame that it
        # interrupted.
        self._lock = RLock()
        # One at a time: POSIX locks belong to the process, and closing any descriptor of a file drops all locks that
        # the process holds on it (fcntl(2)), SQLite's included.
        with _OPENING, _translated_errors(path):
            _close_inherited(path)
            if create:
                _create_file(path)
            self._connection = _connect(path, folder, durable=durable)
            self._identity = _identity(path)
        _OPEN.add(self)
        after_fork(self, OutboxDatabase._leave_to_parent)

    def close(self) -> None:
        """Close the connection after any running transaction."""
        with self._lock:
            self._connection.close()

    def is_gone(self) -> bool:
        """Return whether the file was deleted or replaced since it was opened, which SQLite doesn't notice."""
        return _identity(self.path) != self._identity

    def read(self, query: str, parameters: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """Return the rows of one query."""
        with self._lock, _translated_errors(self.path):
            self.check()
            return self._connection.execute(query, parameters).fetchall()

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the file and truncate it, unless another process reads it."""
        self.read("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection within a transaction: committed to disk at the end, rolled back after an error."""
        with self._lock, _translated_errors(self.path):
            self._check_not_inherited()
            self._check_not_interrupted()
            try:
                # Inside the try block, because a signal handler may raise right after it.
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                # Checked as late as possible, because a commit to a deleted file is lost.
                self.check()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def check(self) -> None:
        """Raise an error if the file was deleted or replaced since it was opened."""
        self._check_not_inherited()
        if self.is_gone():
            raise OutboxError(
                f"The outbox {self.path} was deleted or replaced while it was open. Its pending deliveries are lost, "
                "unless the file was moved.",
                hint="Write the result again; this creates a new file. Exclude the file from clean-up jobs.",
            )

    def _check_not_inherited(self) -> None:
        # A child process may end the coroutines of its parent, whose deliveries the parent goes on to send.
        if self._is_inherited:
            raise OutboxError(
                f"The outbox {self.path} was opened by the parent process.",
                hint="Don't continue calls of the parent process after a fork. Call the outbox again.",
            )

    def _check_not_interrupted(self) -> None:
        # The lock is held, so a transaction that is open belongs to this thread, below the signal handler.
        if self._connection.in_transaction:
            raise OutboxError(
                f"The outbox {self.path} is being written by the code that this signal handler has interrupted; "
                "nothing was stored or sent.",
                hint="Let the handler set a flag or raise SystemExit, and write the result after that.",
            )

    def acquire(self) -> bool:
        """Wait up to 5 s for a running transaction, and block new ones until `release`; return False on timeout."""
        return self._lock.acquire(timeout=_FORK_WAIT)

    def release(self) -> None:
        """Allow transactions again."""
        self._lock.release()

    def _leave_to_parent(self) -> None:
        self._is_inherited = True
        is_idle = self in _locked_databases() and not self._connection.in_transaction
        (_IDLE if is_idle else _BUSY).append((self.path, self._connection))
        _OPEN.discard(self)


# Forks. SQLite records the locks of a file once per process, and a child inherits that record without the locks. A new
# connection of the child to the same file would trust it. It would take no lock, so that the parent deletes the
# write-ahead log under the child when it closes its own connection; or it would wait forever for the end of a
# transaction of the parent. So a fork waits for running transactions, and a child closes the connections that it
# inherited before it opens its own. No lock is recorded by then, and closing affects neither the locks nor the file of
# the parent ("How To Corrupt An SQLite Database File", section 2.6, is about connections in use).

_OPEN: weakref.WeakSet[OutboxDatabase] = weakref.WeakSet()

_FORK_WAIT = 5.0
"""Maximum seconds that a fork waits for each outbox."""

_IDLE: list[tuple[Path, sqlite3.Connection]] = []
"""Connections of the parent process, which a child closes before it opens its own."""

_BUSY: list[tuple[Path, sqlite3.Connection]] = []
"""Connections with a transaction of the parent process; a child can neither use nor close them."""

_FORKING = threading.local()


def _locked_databases() -> list[OutboxDatabase]:
    return getattr(_FORKING, "databases", [])


def _before_fork() -> None:
    _FORKING.databases = [database for database in list(_OPEN) if database.acquire()]


def _in_parent() -> None:
    for database in _locked_databases():
        database.release()
    _FORKING.databases = []


def _in_child() -> None:
    # `RLock` of this package is a new lock in a child; see `concurrency.forking`.
    _FORKING.databases = []


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)


def _close_inherited(path: Path) -> None:
    if any(busy == path for busy, _ in _BUSY):
        raise OutboxError(
            f"This process was forked during a transaction on the outbox {path}, so it can't use the outbox.",
            hint="Start processes before the outbox is used, or use multiprocessing's start method 'spawn'.",
        )
    while _IDLE:
        _, connection = _IDLE.pop()
        connection.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _create_file(path: Path) -> None:
    if not path.exists():
        # Without its parents: a typo in the path would create a second, empty outbox somewhere else.
        create_directory(path.parent)
        with contextlib.suppress(FileExistsError):
            create_file(path).close()


def _connect(path: Path, folder: Path, *, durable: bool) -> sqlite3.Connection:
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise ConfigurationError(f"The outbox {path} {problem}.", hint="Check the path.")
    # `mode=rw` keeps SQLite from creating the file itself, with the permissions of the umask.
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        connection.row_factory = sqlite3.Row
        # synchronous=FULL: SQLite's default in WAL mode, NORMAL, may lose the latest commits in a power failure.
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        version = _version(connection, path)
        if not version:
            with _exclusive(folder):
                _initialize(connection, path)
        elif version < VERSION:
            _upgrade(connection)
        create_directory(folder)
        # secure_delete: zeroes deleted content, so that credentials don't stay in free pages of the file.
        for pragma in ("foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema version of a file; 0 if the file is empty.

    Raises:
        ConfigurationError: The file is neither empty nor an outbox, or was created by a newer version.
    """
    ((application,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    if application == _APPLICATION:
        if version > VERSION:
            raise ConfigurationError(
                f"The outbox {path} was created by a newer callback-sdk (schema version {version}; this one "
                f"supports {VERSION}).",
                hint="Install the newest version of callback_sdk.",
            )
        return int(version)
    if application or version or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise ConfigurationError(
            f"{path} is a database, but not an outbox.", hint="Choose another file; this file is not changed."
        )
    return 0


def _initialize(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have created the tables since the check.
    if not _version(connection, path):
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def _upgrade(connection: sqlite3.Connection) -> None:
    """Upgrade the tables of an earlier version, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    # Read again, because another process may have upgraded the tables since the check.
    ((version,),) = connection.execute("PRAGMA user_version")
    for step in range(version + 1, VERSION + 1):
        for statement in _UPGRADES[step]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={max(version, VERSION)}")
    connection.execute("COMMIT")


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Lock out other processes that would create the tables at the same time.

    SQLite's busy timeout doesn't apply to the change of the journal mode to WAL.
    """
    create_directory(folder)
    if DIRECTORY is None:
        descriptor = os.open(folder / "creation", os.O_RDWR | os.O_CREAT | PRIVATE, 0o600)
    else:
        descriptor = os.open(folder, os.O_RDONLY | DIRECTORY | PRIVATE)
    try:
        with contextlib.suppress(OSError):
            wait_for_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


_MEANINGS: tuple[tuple[str, type[CallbackSDKError], str, str], ...] = (
    ("is full", OutboxError, "has no space left on its disk", "Free some space. Stored results are not lost."),
    ("readonly", ConfigurationError, "can't be written", "Check the permissions of the file and of its directory."),
    (
        "unable to open",
        ConfigurationError,
        "can't be opened",
        "Check the permissions of the file and of its directory.",
    ),
    ("not a database", ConfigurationError, "is not a database", "Choose another file; this file is not changed."),
    (
        "malformed",
        OutboxError,
        "is damaged",
        "Move the file away, and recover its content with the .recover command of sqlite3.",
    ),
    (
        "locked",
        OutboxError,
        "is locked by another process",
        "Close other programs that have the file open, such as sqlite3, and try again.",
    ),
    ("closed", OutboxError, "was closed", "Close the outbox only after the last write and run have returned."),
    ("disk I/O", OutboxError, "can't be read or written", "Check the disk, quotas, and the limits of this process."),
)
"""Meanings of SQLite's error messages. Python 3.10 doesn't expose error codes (`sqlite_errorcode` is new in 3.11)."""


@contextlib.contextmanager
def _translated_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except uninterrupted(OSError) as error:
        raise ConfigurationError(
            f"The outbox {path} can't be created or opened: {error.strerror or error}.",
            hint="Choose a file in a directory that this process may write to, on a disk with free space. "
            "Only the last directory of the path is created.",
        ) from error
    except sqlite3.Error as error:
        text = str(error)
        for part, kind, meaning, hint in _MEANINGS:
            if part in text:
                raise kind(f"The outbox {path} {meaning}.", hint=hint) from error
        raise OutboxError(f"The outbox {path} failed: {text}.") from error
