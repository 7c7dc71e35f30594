"""Group commits: the effect of one write on the others of its group."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa

from callback_sdk.errors import ConfigurationError
from callback_sdk.service.store import schema
from callback_sdk.service.store.cipher import CredentialCipher, new_key
from callback_sdk.service.store.database import StoreFullError, StoreUnavailableError
from callback_sdk.service.store.sqlite import SQLiteDatabase, _Write
from tests.topology import wait_until


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteDatabase]:
    """Open a database with one table."""
    database = SQLiteDatabase(tmp_path / "store.sqlite3")
    database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE t (x)"))
    yield database
    database.close()


def insert(value: str) -> Callable[[sa.Connection], str]:
    def work(connection: sa.Connection) -> str:
        connection.exec_driver_sql("INSERT INTO t VALUES (?)", (value,))
        return value

    return work


def fill_the_disk(connection: sa.Connection) -> None:
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
    connection.exec_driver_sql("INSERT INTO t VALUES (zeroblob(1000000))")


def commit(database: SQLiteDatabase, *works: Callable[[sa.Connection], Any]) -> list[Future[Any]]:
    """Commit several writes as one group."""
    writes = [_Write(work, Future()) for work in works]
    database._commit(writes)
    return [write.future for write in writes]


def rows(database: SQLiteDatabase) -> list[str]:
    with database.read() as connection:
        return list(connection.exec_driver_sql("SELECT x FROM t ORDER BY rowid").scalars())


def test_writes_of_a_group_are_all_kept(database: SQLiteDatabase) -> None:
    """One commit is good for all of them."""
    futures = commit(database, insert("a"), insert("b"))
    assert [future.result(0) for future in futures] == rows(database) == ["a", "b"]


def test_a_failed_write_rolls_back_only_itself(database: SQLiteDatabase) -> None:
    """Other writes of the group are committed."""

    def fail(connection: sa.Connection) -> None:
        insert("half")(connection)
        raise LookupError

    first, failed, last = commit(database, insert("a"), fail, insert("b"))
    assert [first.result(0), last.result(0)] == rows(database) == ["a", "b"]
    assert isinstance(failed.exception(0), LookupError)


def test_a_full_disk_does_not_undo_other_writes(database: SQLiteDatabase) -> None:
    """SQLite rolls back the whole transaction, but writes that were reported as committed must be on disk."""
    first, full, last = commit(database, insert("a"), fill_the_disk, insert("b"))
    assert "disk is full" in str(full.exception(0))
    assert [first.result(0), last.result(0)] == rows(database) == ["a", "b"]


def test_a_full_disk_is_reported(database: SQLiteDatabase) -> None:
    """The waiting threads get an error that permits a retry."""
    with pytest.raises(StoreFullError, match=r"disk is full\. Free space on the disk of the database"):
        database.write(fill_the_disk)


def test_a_new_database_that_cannot_be_written_was_not_created(database: SQLiteDatabase) -> None:
    """The error of a first start doesn't speak of an upgrade, or of how the database was before."""
    with database.read() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1")
    with pytest.raises(StoreFullError, match=r"was not created\. .* is full") as caught:
        schema.prepare(database, CredentialCipher([new_key()]))
    assert "upgrade" not in str(caught.value)


def test_the_database_survives_a_power_cut(database: SQLiteDatabase) -> None:
    """WAL and synchronous=FULL are really on, and foreign keys are looked at."""
    with database.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_lock_is_waited_for_once(database: SQLiteDatabase) -> None:
    """When another process holds the file, each write of the group hears of it, and not one after the other."""
    waits: list[bool] = []

    @sa.event.listens_for(database._writing, "begin")
    def locked(_: sa.Connection) -> None:
        waits.append(True)
        raise sa.exc.OperationalError("BEGIN", None, sqlite3.OperationalError("database is locked"))

    futures = commit(database, insert("a"), insert("b"), insert("c"))
    assert [type(future.exception(0)) for future in futures] == [sa.exc.OperationalError] * 3
    assert len(waits) == 1
    sa.event.remove(database._writing, "begin", locked)
    assert commit(database, insert("d"))[0].result(0) == "d"
    assert rows(database) == ["d"]


def test_one_thread_commits_for_all(database: SQLiteDatabase) -> None:
    """Writes during a commit share the next one, and closing waits for pending writes."""
    entered, go, commits = Event(), Event(), []

    def slow(connection: sa.Connection) -> str:
        entered.set()
        assert go.wait(120)
        return insert("slow")(connection)

    with ThreadPoolExecutor(12) as pool:
        first = pool.submit(database.write, slow)
        assert entered.wait(120)
        sa.event.listen(database._writing, "commit", lambda _: commits.append(True))
        others = [pool.submit(database.write, insert(str(number))) for number in range(10)]
        wait_until(lambda: database._waiting.qsize() == 10, what="the others' writes")
        closing = pool.submit(database.close)
        wait_until(lambda: database.closed, what="the beginning of the end")
        go.set()
        assert [first.result(120), *(other.result(120) for other in others)] == ["slow", *map(str, range(10))]
        closing.result(120)
    assert len(commits) == 2
    assert sorted(rows(database)) == sorted(["slow", *map(str, range(10))])
    with pytest.raises(ConfigurationError, match="closed"):
        database.write(insert("late"))


def test_ctrl_c_leaves_no_thread_waiting(database: SQLiteDatabase) -> None:
    """It ends the interrupted thread, and the threads with writes in its group get an error."""

    def interrupted(_: sa.Connection) -> None:
        raise KeyboardInterrupt

    others: Future[str] = Future()
    database._waiting.put(_Write(interrupted, others))
    with pytest.raises(KeyboardInterrupt):
        database.write(insert("own"))
    assert isinstance(others.exception(0), StoreUnavailableError)
    assert database.write(insert("next")) == "next"
