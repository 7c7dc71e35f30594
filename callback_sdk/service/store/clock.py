"""The clock of the database, which machines with different clocks share."""

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
    # now() is the start of the transaction. clock_timestamp() is volatile: it is evaluated for each row, so no index
    # can be used for a comparison with it. statement_timestamp() is stable.
    return "extract(epoch from statement_timestamp())::double precision"


@compiles(now, "sqlite")
def _sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return "callback_sdk_now()"


def install(connection: Any) -> None:
    """Define the function on a SQLite connection: SQLite's own clock has a resolution of milliseconds."""
    connection.create_function("callback_sdk_now", 0, time.time)
