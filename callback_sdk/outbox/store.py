"""The outbox's book: which deliveries there are, who may send each, and what became of it.

Targets are kept as they were given, credentials included, until they have the result. Nothing but `letter`
reads that column.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timezone
from typing import Any

from callback_sdk.concurrency.leases import HEARTBEATS_PER_LEASE
from callback_sdk.documents.document import encode
from callback_sdk.errors import OutboxError
from callback_sdk.models import JobResult
from callback_sdk.outbox.database import BUSY_TIMEOUT, OutboxDatabase
from callback_sdk.outbox.entries import (
    DEAD,
    DELIVERED,
    PENDING,
    NewDelivery,
    OutboxClaim,
    OutboxEntry,
    PendingSend,
    StoredResults,
)
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret
from callback_sdk.targets.callbacks import Callback, callbacks
from callback_sdk.targets.providers import port_of
from callback_sdk.transport.retry import LONGEST_DELAY

LEASE_DURATION = 2 * BUSY_TIMEOUT
"""Seconds without a heartbeat after which a claim expires; it counts where the owner's lock can't be seen.

Longer than the service's: SQLite lets a heartbeat wait for the writes of other processes, and a claim must not expire
meanwhile.
"""

HEARTBEAT_INTERVAL = LEASE_DURATION / HEARTBEATS_PER_LEASE
"""Seconds between two heartbeats."""

_CLOCK_SLACK = 2 * LEASE_DURATION
"""Seconds by which the clocks of two owners may differ."""

LOST = "The process that was sending it ended before the answer came."

_SHOWN = (
    "SELECT id, job_id, kind, url, state, owner IS NOT NULL AS sending, attempts, next_attempt, error, receipt, "
    "created, settled FROM deliveries"
)

# A time beyond the longest pause was written by a clock that was wrong: that delivery is due too.
_FIND_DUE = (
    "SELECT id, host FROM deliveries WHERE state = 'pending' AND owner IS NULL AND "
    "(next_attempt <= ? OR next_attempt > ?)"
)


class OutboxStore:
    """Reads and writes the book. Each change is one transaction, on disk when it returns.

    Args:
        database: Where it is.
        owner: The name that claims of this process bear.
    """

    def __init__(self, database: OutboxDatabase, owner: str) -> None:
        self._database = database
        self._owner = owner

    def add(
        self,
        job: JobResult,
        orders: Sequence[NewDelivery],
        stored: StoredResults,
        *,
        nulls_written: int,
        object_url: str | None,
    ) -> tuple[bool, list[OutboxClaim]]:
        """Keep deliveries, and claim those that may be sent at once. Those that are known stay as they are.

        Args:
            job: The job's own members.
            orders: The deliveries.
            stored: Where the results are.
            nulls_written: Numbers in them that became null.
            object_url: Where they are to be found, without a signature.

        Returns:
            Whether any delivery was new, and the claims.
        """
        now = time.time()
        ids = [order.delivery_id for order in orders]
        with self._database.transaction() as connection:
            known = {row["id"] for row in _select(connection, "SELECT id FROM deliveries WHERE id IN", ids)}
            new = {order.delivery_id: order for order in orders if order.delivery_id not in known}
            if new:
                result = connection.execute(
                    "INSERT INTO results (job, nulled, object_url, data, file) VALUES (?, ?, ?, ?, ?)",
                    (_job(job), nulls_written, object_url, stored.data, stored.file),
                ).lastrowid
                for order in new.values():
                    _insert(connection, order, job_id=job.job_id, result=result, now=now)
            rows = _select(connection, f"{_FIND_DUE} AND id IN", ids, *_due(now))
            return bool(new), [self._claim(connection, row) for row in rows]

    def claim_due(self, full_hosts: Callable[[], list[str] | None], take: Callable[[OutboxClaim], None]) -> None:
        """Claim what is due, the longest due first.

        Args:
            full_hosts: Returns the hosts that get nothing at the moment; None when nobody does.
            take: Called with each claim. They don't count when this raises.
        """
        due = _due(time.time())
        # Without a look first, each poll would keep the writers of other processes waiting.
        if full_hosts() is None or not self._database.read(f"{_FIND_DUE} LIMIT 1", due):
            return
        with self._database.transaction() as connection:
            while (full := full_hosts()) is not None:
                query = f"{_FIND_DUE} AND host NOT IN ({_marks(full)}) ORDER BY next_attempt LIMIT 1"
                row = connection.execute(query, (*due, *full)).fetchone()
                if row is None:
                    break
                take(self._claim(connection, row))

    def letter(self, claim: OutboxClaim) -> PendingSend | None:
        """Return what is needed to send a delivery; None when the claim is lost."""
        query = (
            "SELECT job, nulled, object_url, data, file, target FROM deliveries JOIN results ON results.id = result "
            "WHERE deliveries.id = ? AND owner = ? AND claim = ?"
        )
        rows = self._database.read(query, (claim.delivery_id, self._owner, claim.number))
        if not rows:
            return None
        (row,) = rows
        return PendingSend(
            job=JobResult(**json.loads(row["job"])),
            stored=StoredResults(data=row["data"], file=row["file"]),
            nulls_written=row["nulled"],
            object_url=row["object_url"],
            callback=_callback(Secret(row["target"])),
        )

    def delivered(self, claim: OutboxClaim, receipt: Receipt) -> tuple[bool, str | None]:
        """Keep the proof, and forget the credentials; and the results, when nobody else waits for them.

        Returns:
            Whether the claim still held, and the file that nobody needs any more.
        """
        with self._database.transaction() as connection:
            values = {"state": DELIVERED, "receipt": json.dumps(receipt.to_dict()), "error": None, "target": None}
            if not self._settle(connection, claim, {**values, "next_attempt": None, "settled": time.time()}):
                return False, None
            row = connection.execute(
                "SELECT id, file FROM results WHERE id = (SELECT result FROM deliveries WHERE id = ?) AND NOT EXISTS "
                "(SELECT 1 FROM deliveries WHERE result = results.id AND state != 'delivered')",
                (claim.delivery_id,),
            ).fetchone()
            if row is None:
                return True, None
            connection.execute("UPDATE results SET data = NULL, file = NULL WHERE id = ?", (row["id"],))
            return True, row["file"]

    def failed(self, claim: OutboxClaim, error: str, next_attempt: float | None) -> bool:
        """Keep how a try failed.

        Args:
            claim: The try.
            error: What went wrong, without credentials.
            next_attempt: When to try again, in seconds since 1970; None for never.

        Returns:
            Whether the claim still held.
        """
        dead = next_attempt is None
        values = {
            "state": DEAD if dead else PENDING,
            "error": _text(error),
            "next_attempt": next_attempt,
            "settled": time.time() if dead else None,
        }
        with self._database.transaction() as connection:
            return self._settle(connection, claim, values)

    def release(self, claim: OutboxClaim) -> None:
        """Give a claim back without an outcome; the delivery is due again."""
        with self._database.transaction() as connection:
            self._settle(connection, claim, {"state": PENDING})

    def renew(self, claims: Collection[OutboxClaim]) -> None:
        """Give a sign of life."""
        until = time.time() + LEASE_DURATION
        rows = [(until, claim.delivery_id, self._owner, claim.number) for claim in claims]
        with self._database.transaction() as connection:
            connection.executemany("UPDATE deliveries SET lease = ? WHERE id = ? AND owner = ? AND claim = ?", rows)

    def take_back(self, is_gone: Callable[[str], bool | None], held: Collection[str]) -> list[str]:
        """Make due again what a dead process was sending.

        Args:
            is_gone: Tells whether an owner is dead; None when only the lease can tell.
            held: Deliveries that this process is sending itself.

        Returns:
            The owners that are gone.
        """
        rows = self._database.read(
            "SELECT owner, MIN(lease) AS first, MAX(lease) AS last FROM deliveries WHERE owner IS NOT NULL "
            "GROUP BY owner"
        )
        now = time.time()
        fates = {row["owner"]: None if row["owner"] == self._owner else is_gone(row["owner"]) for row in rows}
        gone = [owner for owner, fate in fates.items() if fate]
        unsure = [row["owner"] for row in rows if fates[row["owner"]] is None and _is_over(row, now)]
        if gone or unsure:
            change = "UPDATE deliveries SET owner = NULL, lease = NULL, next_attempt = ?, error = ?"
            with self._database.transaction() as connection:
                for owner in gone:
                    connection.execute(f"{change} WHERE owner = ?", (now, LOST, owner))
                mine = list(held)
                for owner in unsure:
                    query = f"{change} WHERE owner = ? AND (lease < ? OR lease > ?) AND id NOT IN ({_marks(mine)})"
                    connection.execute(query, (now, LOST, owner, now, now + LEASE_DURATION + _CLOCK_SLACK, *mine))
        return gone

    def entries(self, *, state: str | None = None, ids: Sequence[str] | None = None) -> list[OutboxEntry]:
        """Return what may be shown, the oldest first."""
        if ids is not None:
            rows = self._database.read(f"{_SHOWN} WHERE id IN ({_marks(ids)}) ORDER BY number", tuple(ids))
        elif state is not None:
            rows = self._database.read(f"{_SHOWN} WHERE state = ? ORDER BY number", (state,))
        else:
            rows = self._database.read(f"{_SHOWN} ORDER BY number")
        return [_entry(row) for row in rows]

    def is_empty(self) -> bool:
        """Tell whether nothing is left to be sent."""
        return not self._database.read("SELECT 1 FROM deliveries WHERE state = 'pending' LIMIT 1")

    def retry(self, ids: Sequence[str] | None) -> int:
        """Make deliveries due now; the dead ones begin their tries anew.

        Args:
            ids: Which; all that are not delivered when None.

        Returns:
            How many are due now.

        Raises:
            OutboxError: An id is unknown, or delivered already; nothing is changed.
        """
        with self._database.transaction() as connection:
            if ids is None:
                ids = [row["id"] for row in connection.execute("SELECT id FROM deliveries WHERE state != 'delivered'")]
            else:
                rows = _select(connection, "SELECT id, state FROM deliveries WHERE id IN", ids)
                _check_retry(ids, {row["id"]: row["state"] for row in rows})
            change = (
                "UPDATE deliveries SET attempts = CASE state WHEN 'dead' THEN 0 ELSE attempts END, state = 'pending', "
                "settled = NULL, next_attempt = ? WHERE id = ? AND owner IS NULL AND state != 'delivered'"
            )
            now = time.time()
            return sum(connection.execute(change, (now, delivery_id)).rowcount for delivery_id in ids)

    def purge(self, before: float) -> int:
        """Forget what was delivered before a time, in seconds since 1970.

        Returns:
            How many deliveries.
        """
        which = "state = 'delivered' AND settled < ?"
        if not self._database.read(f"SELECT 1 FROM deliveries WHERE {which} LIMIT 1", (before,)):  # noqa: S608
            return 0
        with self._database.transaction() as connection:
            count = connection.execute(f"DELETE FROM deliveries WHERE {which}", (before,)).rowcount  # noqa: S608
            connection.execute("DELETE FROM results WHERE id NOT IN (SELECT result FROM deliveries)")
        return count

    def files(self) -> set[str]:
        """Return the files that belong to results."""
        return {row["file"] for row in self._database.read("SELECT file FROM results WHERE file IS NOT NULL")}

    def _claim(self, connection: sqlite3.Connection, row: sqlite3.Row) -> OutboxClaim:
        connection.execute(
            "UPDATE deliveries SET owner = ?, lease = ?, claim = claim + 1, attempts = attempts + 1 WHERE id = ?",
            (self._owner, time.time() + LEASE_DURATION, row["id"]),
        )
        query = "SELECT claim, attempts FROM deliveries WHERE id = ?"
        number, attempt = connection.execute(query, (row["id"],)).fetchone()
        return OutboxClaim(delivery_id=row["id"], host=row["host"], number=number, attempt=attempt)

    def _settle(self, connection: sqlite3.Connection, claim: OutboxClaim, values: dict[str, Any]) -> bool:
        values = {**values, "owner": None, "lease": None}
        query = f"UPDATE deliveries SET {', '.join(f'{name} = ?' for name in values)}"  # noqa: S608
        fence = (claim.delivery_id, self._owner, claim.number)
        row = connection.execute(f"{query} WHERE id = ? AND owner = ? AND claim = ?", (*values.values(), *fence))
        return row.rowcount == 1


def _due(now: float) -> tuple[float, float]:
    return now, now + LONGEST_DELAY.total_seconds()


def _is_over(row: sqlite3.Row, now: float) -> bool:
    # A lease of the far future was written before the clock was set back.
    return bool(row["first"] < now or row["last"] > now + LEASE_DURATION + _CLOCK_SLACK)


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))


def _select(connection: sqlite3.Connection, query: str, ids: Sequence[str], *first: Any) -> list[sqlite3.Row]:
    return connection.execute(f"{query} ({_marks(ids)})", (*first, *ids)).fetchall()


def _insert(connection: sqlite3.Connection, order: NewDelivery, *, job_id: str, result: int | None, now: float) -> None:
    url = order.callback.url
    # The credentials stand in no variable: a traceback may be printed with these.
    connection.execute(
        "INSERT INTO deliveries (id, result, job_id, kind, url, host, target, state, next_attempt, created) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?)",
        (
            order.delivery_id,
            result,
            _text(job_id),
            order.kind,
            _text(str(url)),
            _text(f"{url.host}:{port_of(url)}"),
            json.dumps(order.callback.plain()),
            now,
            now,
        ),
    )


def _job(job: JobResult) -> str:
    members = {"job_id": job.job_id, "success": job.success, "error": job.error, "status": job.status}
    return encode(members, path="result").data.decode()


def _callback(target: Secret[str]) -> Callback:
    (callback,) = callbacks(Secret([json.loads(target.reveal())]))
    return callback


def _entry(row: sqlite3.Row) -> OutboxEntry:
    return OutboxEntry(
        delivery_id=row["id"],
        job_id=row["job_id"],
        kind=row["kind"],
        url=row["url"],
        state=row["state"],
        sending=bool(row["sending"]),
        attempts=row["attempts"],
        next_attempt=_time(row["next_attempt"]),
        error=row["error"],
        receipt=Receipt.from_dict(json.loads(row["receipt"])) if row["receipt"] else None,
        created_at=datetime.fromtimestamp(row["created"], timezone.utc),
        settled_at=_time(row["settled"]),
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def _text(text: str) -> str:
    # SQLite keeps UTF-8, and a lone surrogate, from a file's name for one, is none.
    return text.encode("utf-8", "backslashreplace").decode()


def _check_retry(ids: Sequence[str], states: dict[str, str]) -> None:
    for delivery_id in ids:
        if delivery_id not in states:
            raise OutboxError(
                f"The outbox has no delivery {delivery_id}.", hint="List them: callback-sdk outbox list PATH"
            )
        if states[delivery_id] == DELIVERED:
            raise OutboxError(f"{delivery_id} is delivered already.", hint="To send it again, write the result again.")
