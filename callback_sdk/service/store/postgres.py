"""PostgreSQL: one database for many machines. The server itself groups commits of concurrent transactions."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from callback_sdk.errors import ConfigurationError, MissingExtraError
from callback_sdk.redaction import Secret
from callback_sdk.service.store import dumps
from callback_sdk.service.store.database import Database, StoreUnavailableError, unavailable
from callback_sdk.service.store.notifications import NOTIFY, NotificationListener, NotificationSender

T = TypeVar("T")

_CONNECT_TIMEOUT = 5
"""Seconds to connect before the server counts as unavailable."""

_STATEMENT_TIMEOUT = 60_000
"""Milliseconds that one statement may take, including waits for locks."""

_CONNECTIONS = 20
"""Maximum number of connections of one process."""

_IDLE_BEFORE_PING = 1.0
"""Idle seconds after which a connection is tested before use: a restarted server has closed it."""

_ACK_TIMEOUT = 20
"""Seconds without a TCP acknowledgement after which a connection counts as broken."""


class PostgresDatabase(Database):
    """A database of a PostgreSQL server.

    Args:
        url: For example `postgresql+psycopg://user:password@host/database`.

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
                    # Parameters of libpq. Without them, a query to a server that vanished (power loss, dropped packets)
                    # hangs: tcp(7) retransmits for about 15 minutes (tcp_retries2), and probes an idle connection only
                    # after 2 hours (tcp_keepalive_time).
                    "tcp_user_timeout": _ACK_TIMEOUT * 1000,
                    "keepalives_idle": _ACK_TIMEOUT // 2,
                    "keepalives_interval": _ACK_TIMEOUT // 4,
                    "keepalives_count": 2,
                    # synchronous_commit=off, which a role or database may have as default, loses acknowledged commits
                    # in a crash of the server.
                    "options": f"-c statement_timeout={_STATEMENT_TIMEOUT} -c synchronous_commit=on",
                },
            )
        except ModuleNotFoundError:
            raise MissingExtraError("psycopg", extra="postgres") from None
        sa.event.listen(engine, "checkin", _mark_idle)
        sa.event.listen(engine, "checkout", _ping_if_idle)
        # Readers run single statements. In autocommit mode each saves the round trips of BEGIN and ROLLBACK.
        super().__init__(engine, reading=engine.execution_options(isolation_level="AUTOCOMMIT"))
        self._notifier = NotificationSender(self._notify)
        self.changes.forward = self._notifier

    def check(self) -> None:
        """Check that the server is not a read-only standby; see `Database.check`."""
        with self.read() as connection:
            if connection.execute(sa.text("SHOW transaction_read_only")).scalar() == "on":
                raise StoreUnavailableError(
                    "The database is read-only.", hint="Use the URL of the primary, not of a standby."
                )

    def copy(self, target: Path) -> None:
        """Run pg_dump; see `Database.copy`."""
        dumps.dump(self.engine.url, target)

    def load(self, source: Path) -> None:
        """Load a copy to this database, which must be empty; see `dumps.load`."""
        dumps.load(self.engine.url, source)

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a transaction; see `Database.write`."""
        self._refuse_when_closed()
        with unavailable(), self.engine.begin() as connection:
            return work(connection)

    def follow(self, stopping: threading.Event) -> None:
        """Receive the notifications of other processes; see `Database.follow`."""
        NotificationListener(self._connect, self._notifier, self._notify, self.changes).run(stopping)

    def close(self) -> None:
        """Send the last notifications and close all connections."""
        self._notifier.close()
        super().close()

    def _notify(self, payloads: Sequence[str]) -> None:
        with self.read() as connection:
            for payload in payloads:
                connection.execute(NOTIFY, {"_payload": payload})

    def _connect(self) -> Any:
        """Open a connection of the driver that isn't one of the pool's."""
        with unavailable():
            pooled = self.engine.raw_connection()
            connection = pooled.driver_connection
            pooled.detach()
            return connection

    def write_one(self, statement: sa.Executable, values: Mapping[str, Any]) -> Sequence[sa.Row[Any]]:
        """Run one statement in autocommit mode, which saves two round trips; see `Database.write_one`."""
        self._refuse_when_closed()
        with self.read() as connection:
            return connection.execute(statement, values).all()


def _mark_idle(connection: Any, record: Any) -> None:
    record.info["idle_since"] = time.monotonic()


def _ping_if_idle(connection: Any, record: Any, _: Any) -> None:
    """Do the same as SQLAlchemy's `pool_pre_ping`, but only for connections that were idle for a while."""
    if time.monotonic() - record.info.get("idle_since", math.inf) < _IDLE_BEFORE_PING:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except Exception:  # noqa: BLE001 - after any error the pool opens another connection
        raise sa.exc.DisconnectionError from None


def _check(url: Secret[str]) -> None:
    with suppress(ValueError, sa.exc.ArgumentError):
        # An unescaped @ in the password makes the rest of the password part of the host, which is shown.
        if "@" not in (sa.make_url(url.reveal()).host or ""):
            return
    raise ConfigurationError(
        "The database's URL is malformed.",
        hint="Use postgresql://USER:PASSWORD@HOST:PORT/NAME, and percent-encode the password (%40 for @).",
    )
