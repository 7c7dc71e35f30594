"""Inbox: stores received results durably, so that the sender gets its response before they are handled."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from datetime import timedelta

from attrs import asdict, define

from callback_sdk.parsing import Duration, total_seconds
from callback_sdk.receivers.documents import ReceivedResult, read_result
from callback_sdk.receivers.handover import Handler
from callback_sdk.receivers.objects import BucketObject
from callback_sdk.receivers.sqlite_file import SQLiteFile
from callback_sdk.text.escaping import escape

logger = logging.getLogger(__name__)

_TABLES = (
    """CREATE TABLE results (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        identity TEXT NOT NULL UNIQUE,
        delivery_id TEXT NOT NULL,
        document BLOB NOT NULL,
        bucket_object TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        due_at REAL NOT NULL
    )""",
    "CREATE INDEX results_due ON results (due_at)",
)

_IDLE = 0.5
"""Seconds between two looks at an empty inbox."""

_FIRST_PAUSE, _LONGEST_PAUSE, _MAX_DOUBLINGS = 5.0, 3600.0, 10
"""Seconds until a result whose handler failed is due again; each pause is twice the one before."""


@define(frozen=True)
class _Due:
    number: int
    delivery_id: str
    document: bytes
    bucket_object: str | None
    attempts: int

    def result(self) -> ReceivedResult:
        stored = None if self.bucket_object is None else BucketObject(**json.loads(self.bucket_object))
        return read_result(self.document, delivery_id=self.delivery_id, bucket_object=stored)


class Inbox:
    """A SQLite file with results that are not handled yet.

    Its `put` is the handler of a `Receiver`, which so replies after the result is on disk. `run` calls the handler that
    does the work, in a thread or in another process. A crash loses nothing: a result stays until its handler has
    returned. So the handler has to be idempotent.

    Args:
        path: The file; created with mode 0600 if it doesn't exist.
        lease: Maximum duration of a handler, a `timedelta` or seconds. After it, the result of a process that has died
            is handled again.

    Raises:
        ConfigurationError: The file can't be opened, or another argument is invalid.
    """

    def __init__(self, path: str | os.PathLike[str], *, lease: Duration = timedelta(hours=1)) -> None:
        self._lease = total_seconds("lease", lease)
        self._file = SQLiteFile(path, application=b"cbin", tables=_TABLES)

    def put(self, result: ReceivedResult) -> None:
        """Store a result, unless a copy of it is pending. It is on disk when the call returns.

        Args:
            result: The result.

        Raises:
            sqlite3.Error: It could not be stored.
        """
        stored = None if result.bucket_object is None else json.dumps(asdict(result.bucket_object))
        values = (result.identity, result.delivery_id, result.document, stored, time.time())
        with self._file.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO results (identity, delivery_id, document, bucket_object, due_at) "
                "VALUES (?, ?, ?, ?, ?)",
                values,
            )

    def pending(self) -> int:
        """Return the number of results that are not handled yet."""
        with self._file.transaction() as connection:
            return int(connection.execute("SELECT count(*) FROM results").fetchone()[0])

    def run(self, handler: Handler, *, stop: threading.Event | None = None) -> None:
        """Handle results until `stop` is set, or an interrupt. Several processes may do this.

        A result whose handler raises is handled again after 5 s, and then after pauses of up to an hour.

        Args:
            handler: Called with each `ReceivedResult`.
            stop: Ends the loop after the current result.
        """
        stop = stop or threading.Event()
        while not stop.is_set():
            if not self.handle_next(handler):
                stop.wait(_IDLE)

    def handle_next(self, handler: Handler) -> bool:
        """Handle the oldest result that is due.

        Args:
            handler: Called with it.

        Returns:
            Whether there was one.
        """
        due = self._claim()
        if due is None:
            return False
        try:
            handler(due.result())
        except Exception:
            pause = min(_FIRST_PAUSE * 2 ** min(due.attempts, _MAX_DOUBLINGS), _LONGEST_PAUSE)
            logger.exception(
                "Delivery %s: its handler failed; the next attempt is in %g s", escape(due.delivery_id), pause
            )
            self._postpone(due.number, pause)
        except BaseException:
            self._postpone(due.number, 0)
            raise
        else:
            self._remove(due.number)
        return True

    def _claim(self) -> _Due | None:
        now = time.time()
        query = (
            "SELECT number, delivery_id, document, bucket_object, attempts FROM results "
            "WHERE due_at <= ? ORDER BY due_at, number LIMIT 1"
        )
        claim = "UPDATE results SET attempts = attempts + 1, due_at = ? WHERE number = ?"
        with self._file.transaction() as connection:
            row = connection.execute(query, (now,)).fetchone()
            if row is None:
                return None
            connection.execute(claim, (now + self._lease, row[0]))
        return _Due(*row)

    def _postpone(self, number: int, pause: float) -> None:
        with self._file.transaction() as connection:
            connection.execute("UPDATE results SET due_at = ? WHERE number = ?", (time.time() + pause, number))

    def _remove(self, number: int) -> None:
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM results WHERE number = ?", (number,))
