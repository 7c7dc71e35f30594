"""SQLiteFile: a private SQLite file of receivers, on which each call opens a connection of its own.

So threads and forked processes never share a connection ("How To Corrupt An SQLite Database File", section 2.6).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from callback_sdk.errors import ConfigurationError
from callback_sdk.filesystem.files import create_file, sync_directory
from callback_sdk.parsing import path_of

_BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process's transaction. A sender waits for 30 s."""


class SQLiteFile:
    """A SQLite file with the tables of one purpose.

    Args:
        path: The file; created with mode 0600 if it doesn't exist.
        application: Four letters that say which tables the file has (`PRAGMA application_id`).
        tables: Statements that create the tables.

    Raises:
        ConfigurationError: The file can't be opened, or is that of something else.
    """

    def __init__(self, path: str | os.PathLike[str], *, application: bytes, tables: tuple[str, ...]) -> None:
        self.path = path_of("path", path)
        try:
            with contextlib.suppress(FileExistsError):
                create_file(self.path).close()
                sync_directory(self.path.parent)
            self._create(int.from_bytes(application, "big"), tables)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"{self.path} can't be opened: {error}.", hint="Give a path in a directory that exists and is writable."
            ) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection within a transaction: on disk at the end, rolled back after an error."""
        connection = sqlite3.connect(
            _uri(self.path), uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        with contextlib.closing(connection):
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _create(self, application: int, tables: tuple[str, ...]) -> None:
        with self.transaction() as connection:
            (found,) = connection.execute("PRAGMA application_id").fetchone()
            (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if found != application and (found or count):
                raise ConfigurationError(f"{self.path} is a SQLite file of something else.", hint="Give another path.")
            if not count:
                connection.execute(f"PRAGMA application_id={application}")
                for statement in tables:
                    connection.execute(statement)


def _uri(path: Path) -> str:
    # Opened for writing, but not created: a file that was deleted is an error, and not an empty one.
    return f"{path.absolute().as_uri()}?mode=rw"
