"""The database's clock: machines whose own clocks differ agree on it."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class now(FunctionElement[float]):  # noqa: N801 - it stands in statements like SQLAlchemy's own functions
    """Seconds since 1970 in UTC, with fractions, at the time when the statement runs."""

    type = sa.Double()
    inherit_cache = True
    name = "callback_sdk_now"


@compiles(now)
def _postgresql(element: Any, compiler: Any, **options: Any) -> str:
    # Not now(), which stands still within a transaction; nor clock_timestamp(), which goes on within a statement: what
    # a column is compared with there must be found out for each row, and no index helps.
    return "extract(epoch from statement_timestamp())::double precision"


@compiles(now, "sqlite")
def _sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return "callback_sdk_now()"


def install(connection: Any) -> None:
    """Teach a SQLite connection the function: SQLite's own clock counts milliseconds only."""
    connection.create_function("callback_sdk_now", 0, time.time)
