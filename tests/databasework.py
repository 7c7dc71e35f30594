"""Counts what a database does: instructions that SQLite executes, or blocks that the statements of PostgreSQL read.

Neither depends on what else the machine does, as times do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import sqlalchemy as sa

STEP = 10
"""Instructions that SQLite counts as one."""

_SAVEPOINT = "work_is_counted"


def work(engine: sa.Engine, call: Callable[[], object]) -> int:
    """Return the work of the database for what a function executes, at least 1.

    Args:
        engine: The engine of the function, or the one from which it was made.
        call: The function.
    """
    count = [1]
    counting = _blocks if engine.dialect.name == "postgresql" else _instructions
    with counting(engine, count):
        call()
    return count[0]


@contextmanager
def _instructions(engine: sa.Engine, count: list[int]) -> Iterator[None]:
    """Count with the progress handlers of SQLite, which are called while rows are fetched, too."""
    used: list[Any] = []

    def tick() -> None:
        count[0] += 1

    def before(connection: sa.Connection, *_: Any) -> None:
        driver: Any = connection.connection.driver_connection
        used.append(driver)
        driver.set_progress_handler(tick, STEP)

    sa.event.listen(engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        sa.event.remove(engine, "before_cursor_execute", before)
        for driver in used:
            driver.set_progress_handler(None, 0)


@contextmanager
def _blocks(engine: sa.Engine, count: list[int]) -> Iterator[None]:
    """Count with EXPLAIN ANALYZE, which executes each statement, and is rolled back before it is executed again.

    Without the statistics that PostgreSQL collects some time after many rows have changed, it chooses other indexes.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")

    def before(connection: sa.Connection, _: Any, statement: str, parameters: Any, __: Any, is_many: bool) -> None:
        for values in parameters if is_many else [parameters]:
            count[0] += _blocks_of(connection.connection.driver_connection, statement, values)

    sa.event.listen(engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        sa.event.remove(engine, "before_cursor_execute", before)


def _blocks_of(driver: Any, statement: str, parameters: Any) -> int:
    begin, end = (
        ("BEGIN", "ROLLBACK") if driver.autocommit else (f"SAVEPOINT {_SAVEPOINT}", f"ROLLBACK TO {_SAVEPOINT}")
    )
    with closing(driver.cursor()) as cursor:
        cursor.execute(begin)
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
        plan = cursor.fetchone()[0][0]["Plan"]
        cursor.execute(end)
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
