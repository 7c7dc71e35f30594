"""The outbox's SQLite file: made for its owner alone, opened with care, and its errors in our words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from callback_sdk.concurrency import files
from callback_sdk.concurrency.forking import RLock, after_fork
from callback_sdk.errors import CallbackSDKError, ConfigurationError, OutboxError

BUSY_TIMEOUT = 30.0
"""Seconds to wait for another process's write."""

VERSION = 1
"""Version of the tables, in `PRAGMA user_version`."""

_APPLICATION = int.from_bytes(b"cbox", "big")
"""What `PRAGMA application_id` says of a file that is an outbox."""

_TABLES = (
    """CREATE TABLE results (
        id INTEGER PRIMARY KEY,
        job TEXT NOT NULL,
        nulled INTEGER NOT NULL,
        object_url TEXT,
        data BLOB,
        file TEXT
    )""",
    """CREATE TABLE deliveries (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        result INTEGER NOT NULL REFERENCES results(id),
        job_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        url TEXT NOT NULL,
        host TEXT NOT NULL,
        target TEXT,
        state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
        attempts INTEGER NOT NULL DEFAULT 0,
        next_attempt REAL,
        error TEXT,
        receipt TEXT,
        owner TEXT,
        lease REAL,
        claim INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL,
        settled REAL
    )""",
    "CREATE INDEX deliveries_due ON deliveries (state, next_attempt)",
    "CREATE INDEX deliveries_result ON deliveries (result)",
    "CREATE INDEX deliveries_owner ON deliveries (owner) WHERE owner IS NOT NULL",
)

_OPENING = RLock()


class OutboxDatabase:
    """One process's connection to an outbox; its threads take turns.

    Args:
        path: The file.
        folder: Where large results and locks are.
        create: Whether to make both when they are missing.

    Raises:
        ConfigurationError: It can't be opened, is no outbox, or is a newer version's.
        OutboxError: It is damaged, or the disk is full.
    """

    def __init__(self, path: Path, folder: Path, *, create: bool) -> None:
        self.path = path
        # An RLock, so that a signal handler gets an error and doesn't wait for the frame that it interrupted.
        self._lock = RLock()
        # Closing a descriptor drops the locks that SQLite holds on the same file in this process.
        with _OPENING, _translated(path):
            _close_inherited(path)
            if create:
                _make(path)
            self._connection = _connect(path, folder)
            self._identity = _identity(path)
        _OPEN.add(self)
        after_fork(self, OutboxDatabase._leave_to_parent)

    def close(self) -> None:
        """Close the connection, after the transaction that runs."""
        with self._lock:
            self._connection.close()

    def is_gone(self) -> bool:
        """Tell whether the file was deleted or replaced since it was opened. SQLite doesn't notice, and goes on."""
        return _identity(self.path) != self._identity

    def read(self, query: str, parameters: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """Return the rows of one query."""
        with self._lock, _translated(self.path):
            self.check()
            return self._connection.execute(query, parameters).fetchall()

    def checkpoint(self) -> None:
        """Bring what was written into the file itself, and empty the log of changes, unless somebody reads it."""
        self.read("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for writing. At the end, what was written is on disk; or none of it, after an error."""
        with self._lock, _translated(self.path):
            self._check_not_interrupted()
            try:
                # In here, because a signal handler's exception may come right after it.
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                # As late as possible: what is committed to a file that was deleted is lost.
                self.check()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def check(self) -> None:
        """Raise an error when the file is not the one that was opened."""
        if self.is_gone():
            raise OutboxError(
                f"The outbox {self.path} was deleted or replaced while it was open. What was pending in it is lost, "
                "unless the file was moved.",
                hint="Write the result again; a new file is made for it. Keep programs that tidy up away from it.",
            )

    def _check_not_interrupted(self) -> None:
        # Only this very thread can be here while a transaction is open.
        if self._connection.in_transaction:
            raise OutboxError(
                f"The outbox {self.path} is being written by the code that this signal handler has interrupted; "
                "nothing was stored or sent.",
                hint="Let the handler set a flag or raise SystemExit, and write the result after that.",
            )

    def acquire(self) -> bool:
        """Wait for the transaction that runs, and let none begin before `release`; give up after a while."""
        return self._lock.acquire(timeout=_FORK_WAIT)

    def release(self) -> None:
        """Let transactions begin again."""
        self._lock.release()

    def _leave_to_parent(self) -> None:
        is_idle = self in _held() and not self._connection.in_transaction
        (_IDLE if is_idle else _BUSY).append((self.path, self._connection))
        _OPEN.discard(self)


# A fork. SQLite notes the locks of a file once for each process, and a child inherits that note without the locks. A
# new connection of the child to the same file would believe it: it would take no lock itself, so that the parent, when
# it closes its own connection, deletes the log of changes that the child writes to; or it would wait for ever for the
# end of a transaction that ran in the parent. So a fork waits for the transactions that run, and a child closes what it
# inherited before it opens its own. By then nothing is locked in there, and closing touches neither the locks nor the
# file of the parent ("How To Corrupt An SQLite Database File", section 2.6, is about handles in use).

_OPEN: weakref.WeakSet[OutboxDatabase] = weakref.WeakSet()

_FORK_WAIT = 5.0
"""Seconds, at most, that a fork waits for each outbox."""

_IDLE: list[tuple[Path, sqlite3.Connection]] = []
"""Connections of the parent process that a child closes before it opens one."""

_BUSY: list[tuple[Path, sqlite3.Connection]] = []
"""Connections that the parent was writing with; a child can do nothing with these."""

_FORKING = threading.local()


def _held() -> list[OutboxDatabase]:
    return getattr(_FORKING, "databases", [])


def _before_fork() -> None:
    _FORKING.databases = [database for database in list(_OPEN) if database.acquire()]


def _in_parent() -> None:
    for database in _held():
        database.release()
    _FORKING.databases = []


def _in_child() -> None:
    # The locks themselves are new ones.
    _FORKING.databases = []


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)


def _close_inherited(path: Path) -> None:
    if any(busy == path for busy, _ in _BUSY):
        raise OutboxError(
            f"This process was forked in the middle of a transaction on the outbox {path}, so it can't use it.",
            hint="Start processes before the outbox is used, or with multiprocessing's method 'spawn'.",
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


def _make(path: Path) -> None:
    if not path.exists():
        make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | files.PRIVATE, 0o600))


def make_folder(path: Path) -> None:
    """Create a folder for its owner alone, durably.

    The folder above must exist: a typo in a path would otherwise start a second, empty outbox somewhere else.

    Raises:
        FileNotFoundError: The folder above does not exist.
    """
    if not path.is_dir():
        path.mkdir(mode=0o700, exist_ok=True)
        # A umask may take rights from the owner, too.
        path.chmod(0o700)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Wait until a folder's list of files is on disk. NTFS, where that isn't possible, has a journal for it."""
    if files.DIRECTORY is None:
        return
    descriptor = os.open(path, os.O_RDONLY | files.DIRECTORY | files.PRIVATE)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _connect(path: Path, folder: Path) -> sqlite3.Connection:
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise ConfigurationError(f"The outbox {path} {what}.", hint="Check the path.")
    # The mode keeps SQLite from making the file itself, with other permissions.
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        connection.row_factory = sqlite3.Row
        if not _is_outbox(connection, path):
            with _alone(folder):
                _initialize(connection, path)
        make_folder(folder)
        # secure_delete: a credential that was deleted is gone from the file as well.
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_outbox(connection: sqlite3.Connection, path: Path) -> bool:
    """Tell an outbox from a file that is still empty.

    Raises:
        ConfigurationError: It is neither.
    """
    ((application,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    if application == _APPLICATION:
        if version > VERSION:
            raise ConfigurationError(
                f"The outbox {path} was made by a newer callback-sdk (version {version} of its tables; this one knows "
                f"{VERSION}).",
                hint="pip install --upgrade callback-sdk",
            )
        return True
    if application or version or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise ConfigurationError(
            f"{path} is a database, but not an outbox.", hint="Name another file; this one is left as it is."
        )
    return False


def _initialize(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have been quicker.
    if not _is_outbox(connection, path):
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from making the tables at the same time: SQLite doesn't wait for a change to WAL."""
    make_folder(folder)
    if files.DIRECTORY is None:
        descriptor = os.open(folder / "creation", os.O_RDWR | os.O_CREAT | files.PRIVATE, 0o600)
    else:
        descriptor = os.open(folder, os.O_RDONLY | files.DIRECTORY | files.PRIVATE)
    try:
        with contextlib.suppress(OSError):
            files.wait_for_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


_MEANINGS: tuple[tuple[str, type[CallbackSDKError], str, str], ...] = (
    ("is full", OutboxError, "has no space left on its disk", "Free some. Nothing that was stored is lost."),
    ("readonly", ConfigurationError, "can't be written", "Check the permissions of the file and of its folder."),
    ("unable to open", ConfigurationError, "can't be opened", "Check the permissions of the file and of its folder."),
    ("not a database", ConfigurationError, "is not a database", "Name another file; this one is left as it is."),
    ("malformed", OutboxError, "is damaged", "Move it away, and recover what is in it with sqlite3's .recover."),
    ("locked", OutboxError, "is locked by another process", "Try again; end what holds it, such as an open sqlite3."),
    ("closed", OutboxError, "was closed", "Close it when its last write and its run have returned."),
    ("disk I/O", OutboxError, "can't be read or written", "Check its disk, quotas, and limits of this process."),
)
"""What SQLite's texts mean; Python 3.10 has no error codes."""


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"The outbox {path} can't be made or opened: {error.strerror or error}.",
            hint="Name a file in a folder that this process may write to, on a disk with space. "
            "Only the last folder of the path is created.",
        ) from error
    except sqlite3.Error as error:
        text = str(error)
        for part, kind, meaning, hint in _MEANINGS:
            if part in text:
                raise kind(f"The outbox {path} {meaning}.", hint=hint) from error
        raise OutboxError(f"The outbox {path} failed: {text}.") from error
