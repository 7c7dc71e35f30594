"""callback_sdk.service.store.sqlite: copies of the file, and the space of deleted rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from callback_sdk.service.store import sqlite as module
from callback_sdk.service.store.database import StoreUnavailableError
from callback_sdk.service.store.sqlite import SQLiteDatabase


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteDatabase]:
    """Open a database with one table."""
    database = SQLiteDatabase(tmp_path / "store.sqlite3")
    database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE t (x)"))
    yield database
    database.close()


def insert(database: SQLiteDatabase, *numbers: int, size: int = 0) -> None:
    rows = [(f"{number}:{'x' * size}",) for number in numbers]
    database.write(lambda connection: connection.exec_driver_sql("INSERT INTO t VALUES (?)", rows))


def values(database: SQLiteDatabase) -> list[int]:
    with database.read() as connection:
        return [int(row.x.partition(":")[0]) for row in connection.exec_driver_sql("SELECT x FROM t")]


def test_a_copy_is_complete_although_another_process_writes(database: SQLiteDatabase, tmp_path: Path) -> None:
    """It has all that was committed before, and ends; a copy in several steps would start again with each write."""
    with closing(SQLiteDatabase(tmp_path / "store.sqlite3")) as other:
        insert(database, *range(200), size=20_000)
        stopping, written = threading.Event(), threading.Event()

        def write() -> None:
            number = 1000
            while not stopping.is_set():
                insert(other, number)
                written.set()
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            assert written.wait(120)
            database.copy(tmp_path / "copy")
        finally:
            stopping.set()
            writer.join()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("copy")] == ["copy"]
    with closing(SQLiteDatabase(tmp_path / "new")) as new:
        new.load(tmp_path / "copy")
        found = values(new)
    assert found[:200] == [*range(200)]
    assert found[200:] == [*range(1000, 1000 + len(found) - 200)]
    assert len(found) > 200


def test_a_damaged_database_is_not_backed_up(database: SQLiteDatabase, tmp_path: Path) -> None:
    """A backup that can't be restored would be noticed too late."""
    insert(database, *range(100), size=20_000)
    with database.read() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
    database.engine.dispose()
    with (tmp_path / "store.sqlite3").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    with pytest.raises(StoreUnavailableError, match=r"damaged|malformed"):
        database.copy(tmp_path / "copy")


def test_a_copy_that_can_not_be_written_is_an_error(database: SQLiteDatabase, tmp_path: Path) -> None:
    """It names the directory."""
    with pytest.raises(StoreUnavailableError, match="missing"):
        database.copy(tmp_path / "missing" / "copy")


def test_the_space_of_many_deleted_rows_is_released_while_others_write(
    database: SQLiteDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In small transactions; little space is kept for new rows."""
    monkeypatch.setattr(module, "_MIN_RELEASED", 1_000_000)
    insert(database, *range(400), size=10_000)
    assert database.release_space() == 0
    size = (tmp_path / "store.sqlite3").stat().st_size
    database.write(lambda connection: connection.exec_driver_sql("DELETE FROM t WHERE x NOT LIKE '7%'"))
    stopping = threading.Event()
    number = 500

    def write() -> None:
        nonlocal number
        while not stopping.is_set():
            insert(database, number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        released = database.release_space()
    finally:
        stopping.set()
        writer.join()
    with database.read() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
    assert number > 500
    assert released > 0.6 * size
    assert (tmp_path / "store.sqlite3").stat().st_size < size - 0.9 * released
    assert database.release_space() == 0
    assert sum(value >= 500 for value in values(database)) == number - 500


def test_a_database_of_an_earlier_version_keeps_its_space(
    database: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until VACUUM has changed its mode, in an upgrade."""
    monkeypatch.setattr(module, "_MIN_RELEASED", 1_000_000)
    with database.read() as connection:
        connection.exec_driver_sql("PRAGMA auto_vacuum=NONE")
        connection.exec_driver_sql("VACUUM")
    database.engine.dispose()
    insert(database, *range(400), size=10_000)
    database.write(lambda connection: connection.exec_driver_sql("DELETE FROM t"))
    assert database.release_space() == 0
    with database.read() as connection:
        connection.exec_driver_sql("VACUUM")
        assert connection.exec_driver_sql("PRAGMA auto_vacuum").scalar_one() == 2
