"""SQLiteIds: ids of deliveries in a SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import os
import time
from datetime import timedelta

from callback_sdk.parsing import Duration, positive_int, total_seconds
from callback_sdk.receivers.ids import ClaimResult
from callback_sdk.receivers.sqlite_file import SQLiteFile

_TABLES = (
    """CREATE TABLE ids (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        delivery TEXT NOT NULL UNIQUE,
        token TEXT,
        expires_at REAL NOT NULL
    )""",
    "CREATE INDEX ids_expired ON ids (expires_at)",
)
"""A row has a token while its delivery is handled."""


class SQLiteIds:
    """Ids in a SQLite file, for receivers in several processes of one machine. They survive restarts.

    Args:
        path: The file; created if it doesn't exist.
        max_ids: Number of handled deliveries that are remembered, the last ones; about 200 bytes each.
        keep: How long they are remembered, a `timedelta` or seconds. Longer than senders retry.
        lease: Maximum duration of a handler, likewise. After it, the delivery of a process that has died is accepted
            again.

    Raises:
        ConfigurationError: The file can't be opened, or another argument is invalid.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_ids: int = 1_000_000,
        keep: Duration = timedelta(days=30),
        lease: Duration = timedelta(minutes=5),
    ) -> None:
        self._max_ids = positive_int("max_ids", max_ids)
        self._keep = total_seconds("keep", keep)
        self._lease = total_seconds("lease", lease)
        self._file = SQLiteFile(path, application=b"cbid", tables=_TABLES)

    def claim(self, delivery: str, token: str) -> ClaimResult:
        """See `DeliveryIds.claim`."""
        now = time.time()
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM ids WHERE expires_at <= ?", (now,))
            row = connection.execute("SELECT token FROM ids WHERE delivery = ?", (delivery,)).fetchone()
            if row is not None:
                return "done" if row[0] is None else "running"
            values = (delivery, token, now + self._lease)
            connection.execute("INSERT INTO ids (delivery, token, expires_at) VALUES (?, ?, ?)", values)
            connection.execute(
                "DELETE FROM ids WHERE token IS NULL AND number <= (SELECT max(number) FROM ids) - ?", (self._max_ids,)
            )
            return "new"

    def complete(self, delivery: str, token: str) -> None:
        """See `DeliveryIds.complete`."""
        values = (delivery, time.time() + self._keep)
        with self._file.transaction() as connection:
            connection.execute(
                "INSERT INTO ids (delivery, expires_at) VALUES (?, ?) "
                "ON CONFLICT (delivery) DO UPDATE SET token = NULL, expires_at = excluded.expires_at",
                values,
            )

    def release(self, delivery: str, token: str) -> None:
        """See `DeliveryIds.release`."""
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM ids WHERE delivery = ? AND token = ?", (delivery, token))
