"""The connection to an outbox's file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.outbox.database import OutboxDatabase


class _Interrupted:
    """A connection during whose `BEGIN IMMEDIATE` a signal arrives: its handler runs once the statement has ended."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str) -> sqlite3.Cursor:
        """Raise what the handler raises."""
        cursor = self._connection.execute(statement)
        if statement.startswith("BEGIN"):
            raise KeyboardInterrupt
        return cursor


def test_signal_right_after_begin_leaves_no_transaction_open(tmp_path: Path) -> None:
    """Other processes can write at once, and so can this one."""
    path = tmp_path / "outbox.sqlite3"
    database = OutboxDatabase(path, tmp_path / "files", create=True)
    connection = database._connection
    database._connection = _Interrupted(connection)
    with pytest.raises(KeyboardInterrupt), database.transaction():
        pass
    database._connection = connection
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    with database.transaction() as writing:
        assert writing.in_transaction
    database.close()
