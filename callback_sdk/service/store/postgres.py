"""PostgreSQL: many machines on one database, which groups the commits of concurrent transactions by itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import sqlalchemy as sa

from callback_sdk.errors import ConfigurationError, MissingExtraError
from callback_sdk.redaction import Secret
from callback_sdk.service.store.database import Database, StoreUnavailableError, unavailable

T = TypeVar("T")

_CONNECT_TIMEOUT = 5
"""Seconds until a server that doesn't answer counts as away."""

_STATEMENT_TIMEOUT = 60_000
"""Milliseconds that one statement may take, waits for locks included."""

_CONNECTIONS = 20
"""Connections of one process, at most."""

_REST = 1.0
"""Seconds of rest after which a connection is tried before it is used: a restarted server has forgotten it."""

_SILENCE = 20
"""Seconds after which a connection counts as broken on which the server acknowledges nothing."""


class PostgresDatabase(Database):
    """One database of a PostgreSQL server.

    Args:
        url: Such as `postgresql+psycopg://user:password@host/database`.

    Raises:
        ConfigurationError: The URL is malformed.
        MissingExtraError: psycopg is not installed.
    """

    def __init__(self, url: Secret[str]) -> None:
        _check(url)
        try:
            engine = sa.create_engine(
                url.reveal(),
                hide_parameters=True,
                pool_size=_CONNECTIONS,
                max_overflow=0,
                connect_args={
                    "connect_timeout": _CONNECT_TIMEOUT,
                    # A server that went silent, and not only away, would keep whoever asks it for ever.
                    "tcp_user_timeout": _SILENCE * 1000,
                    "keepalives_idle": _SILENCE // 2,
                    "keepalives_interval": _SILENCE // 4,
                    "keepalives_count": 2,
                    "options": f"-c statement_timeout={_STATEMENT_TIMEOUT} -c synchronous_commit=on",
                },
            )
        except ModuleNotFoundError:
            raise MissingExtraError("psycopg", extra="postgres") from None
        sa.event.listen(engine, "checkin", _rest)
        sa.event.listen(engine, "checkout", _try_rested)
        # Who only reads asks for one thing at a time, and needs no transaction around it.
        super().__init__(engine, reading=engine.execution_options(isolation_level="AUTOCOMMIT"))

    def check(self) -> None:
        """Make sure that it can be written; see `Database.check`."""
        with self.read() as connection:
            if connection.execute(sa.text("SHOW transaction_read_only")).scalar() == "on":
                raise StoreUnavailableError("The database is read-only.", hint="Name the primary, and not a standby.")

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run one piece of work and return when it is on disk; see `Database.write`."""
        self._refuse_when_closed()
        with unavailable(), self.engine.begin() as connection:
            return work(connection)

    def write_one(self, statement: sa.Executable, values: Mapping[str, Any]) -> Sequence[sa.Row[Any]]:
        """Run one statement without a transaction around it, which takes two more turns; see `Database.write_one`."""
        self._refuse_when_closed()
        with self.read() as connection:
            return connection.execute(statement, values).all()


def _rest(connection: Any, record: Any) -> None:
    record.info["rests_since"] = time.monotonic()


def _try_rested(connection: Any, record: Any, _: Any) -> None:
    """Do what the pool's own `pre_ping` does, but not for a connection that was good a moment ago."""
    if time.monotonic() - record.info.get("rests_since", math.inf) < _REST:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except Exception:  # noqa: BLE001 - whatever it is, another connection is taken
        raise sa.exc.DisconnectionError from None


def _check(url: Secret[str]) -> None:
    with suppress(ValueError, sa.exc.ArgumentError):
        # With an @ in the password the rest of it would count as the host, and be shown.
        if "@" not in (sa.make_url(url.reveal()).host or ""):
            return
    raise ConfigurationError(
        "The database's URL is malformed.",
        hint="Give postgresql://USER:PASSWORD@HOST:PORT/NAME, with %40 for an @ in the password, and so on.",
    )
