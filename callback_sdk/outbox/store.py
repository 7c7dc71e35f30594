"""The outbox's store: deliveries, their claims and their outcomes.

Targets are stored as given, with credentials, until the result is delivered. Only `pending_send` reads that column.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from attrs import evolve

from callback_sdk.concurrency.leases import HEARTBEATS_PER_LEASE
from callback_sdk.errors import JobEndedError, OutboxError
from callback_sdk.models import JobResult
from callback_sdk.outbox import open_jobs
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
from callback_sdk.outbox.output_columns import (
    callbacks_column,
    copies_column,
    files_of,
    read_callbacks,
    read_copies,
    with_callback,
)
from callback_sdk.outbox.result_places import Plan, ResultPlaces
from callback_sdk.outbox.rows import job_column, read_callback, read_entry, target_columns, text_column
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret
from callback_sdk.targets import Target
from callback_sdk.transport.retry import MAX_DELAY

LEASE_DURATION = 2 * BUSY_TIMEOUT
"""Seconds without a heartbeat after which a claim expires, if the lock of its owner isn't visible to this process.

Longer than the lease of the service, because a heartbeat waits for writes of other processes to the SQLite file, and
the claim must not expire during that wait.
"""

HEARTBEAT_INTERVAL = LEASE_DURATION / HEARTBEATS_PER_LEASE
"""Seconds between two heartbeats."""

_CLOCK_SLACK = 2 * LEASE_DURATION
"""Maximum difference between the clocks of two owners, in seconds."""

LOST_CLAIM_ERROR = "The process that sent the delivery ended before the response arrived."

REPLACED_ERROR = "The target was replaced during an attempt, which may have delivered the result to {url}."

_SELECT_ENTRIES = (
    "SELECT id, job_id, target_kind, url, status, owner IS NOT NULL AS sending, attempts, next_attempt_at, error, "
    "receipt, created_at, finished_at FROM deliveries"
)

# A next attempt beyond the longest retry delay was written by a wrong clock. Such a delivery is due too.
_SELECT_DUE = (
    "SELECT id, host FROM deliveries WHERE status = 'pending' AND owner IS NULL AND "
    "(next_attempt_at <= ? OR next_attempt_at > ?)"
)


_REPLACE_TARGET = "UPDATE deliveries SET target_kind = ?, url = ?, host = ?, target = ?, events = ?, object_url = ?"


class OutboxStore:
    """Reads and writes deliveries. Each change is one transaction, which is on disk when the method returns.

    Args:
        database: The outbox's database.
        owner: The name under which this process claims deliveries.
    """

    def __init__(self, database: OutboxDatabase, owner: str) -> None:
        self._database = database
        self._owner = owner

    def add(
        self,
        job: JobResult,
        new_deliveries: Sequence[NewDelivery],
        stored: StoredResults,
        *,
        nulls_written: int,
        object_url: str | None,
        ends: str | None = None,
        claim: bool = True,
    ) -> tuple[bool, list[OutboxClaim]]:
        """Store deliveries, and claim those that are due. Deliveries that are already stored are not changed.

        Args:
            job: The members of the document except the results.
            new_deliveries: The deliveries.
            stored: Location of the results.
            nulls_written: Number of NaN, NaT and infinite values in the results that were written as null.
            object_url: URL of the results, without a signature.
            ends: Key of the open job that ends with this result; None without one.
            claim: Whether to claim them, or to leave them to the delivery loop.

        Returns:
            Whether any delivery was new, and the claims.

        Raises:
            JobEndedError: The job has ended already; nothing is stored.
        """
        now = time.time()
        ids = [delivery.delivery_id for delivery in new_deliveries]
        with self._database.transaction() as connection:
            if ends is not None and not open_jobs.close(connection, ends):
                raise JobEndedError(
                    f"Another process has recorded the end of job {job.job_id} already.",
                    hint="It reached its time limit, or its process was taken for dead. Nothing was stored.",
                )
            known = {row["id"] for row in _select(connection, "SELECT id FROM deliveries WHERE id IN", ids)}
            new = {delivery.delivery_id: delivery for delivery in new_deliveries if delivery.delivery_id not in known}
            if new:
                result = connection.execute(
                    "INSERT INTO results (job, nulls_written, object_url, data, file, outputs) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (job_column(job), nulls_written, object_url, stored.data, stored.file, copies_column(stored)),
                ).lastrowid
                for delivery in new.values():
                    _insert(connection, delivery, job_id=job.job_id, result=result, now=now)
            rows = _select(connection, f"{_SELECT_DUE} AND id IN", ids, *_due_bounds(now)) if claim else []
            return bool(new), [self._claim(connection, row) for row in rows]

    def claim_due(self, full_hosts: Callable[[], list[str] | None], on_claim: Callable[[OutboxClaim], None]) -> None:
        """Claim due deliveries, the longest due first.

        Args:
            full_hosts: Returns the hosts without free slots; None if no slot is free at all.
            on_claim: Called with each claim. If it raises, all claims are rolled back.
        """
        due = _due_bounds(time.time())
        # Reads first: SQLite has one writer at a time, and a write in each poll would block other processes.
        if full_hosts() is None or not self._database.read(f"{_SELECT_DUE} LIMIT 1", due):
            return
        with self._database.transaction() as connection:
            while (full := full_hosts()) is not None:
                query = f"{_SELECT_DUE} AND host NOT IN ({_marks(full)}) ORDER BY next_attempt_at LIMIT 1"
                row = connection.execute(query, (*due, *full)).fetchone()
                if row is None:
                    break
                on_claim(self._claim(connection, row))

    def pending_send(self, claim: OutboxClaim) -> PendingSend | None:
        """Return the data needed to send a claimed delivery; None if the claim is lost."""
        query = (
            "SELECT job, nulls_written, results.object_url, data, file, target, events, result, "
            "results.outputs AS copies, deliveries.outputs AS callbacks "
            "FROM deliveries JOIN results ON results.id = result "
            "WHERE deliveries.id = ? AND owner = ? AND claim = ?"
        )
        rows = self._database.read(query, (claim.delivery_id, self._owner, claim.number))
        if not rows:
            return None
        (row,) = rows
        pending = PendingSend(
            job=JobResult(**json.loads(row["job"])),
            stored=StoredResults(data=row["data"], file=row["file"]),
            nulls_written=row["nulls_written"],
            object_url=row["object_url"],
            callback=read_callback(row),
            result=row["result"],
        )
        return pending if row["copies"] is None else self._with_outputs(pending, row)

    def _with_outputs(self, pending: PendingSend, row: sqlite3.Row) -> PendingSend:
        sent = self._database.read("SELECT upload, file FROM sent_outputs WHERE result = ?", (pending.result,))
        return evolve(
            pending,
            stored=evolve(pending.stored, outputs=read_copies(row["copies"])),
            output_callbacks=read_callbacks(Secret(row["callbacks"]), pending.callback),
            sent={one["upload"]: one["file"] for one in sent},
        )

    def save_output(self, result: int, upload: str, file: str) -> None:
        """Store that a target has an output file.

        Args:
            result: Number of the result.
            upload: Key of the upload.
            file: The file, with its receipt.
        """
        with self._database.transaction() as connection:
            # The result may be deleted meanwhile, by a process that took the claim over.
            connection.execute(
                "INSERT OR REPLACE INTO sent_outputs (result, upload, file) SELECT id, ?, ? FROM results WHERE id = ?",
                (upload, file, result),
            )

    def replace_target(self, claim: OutboxClaim, target: Target, plan: Plan) -> bool:
        """Replace the target of a claimed delivery, with its credentials; return whether the claim was still held.

        Args:
            claim: The claim.
            target: The new target.
            plan: Returns the target of a callback, to compare the result's other targets.

        Raises:
            InvalidTargetError: One of its objects is that of another target of the result.
        """
        new = NewDelivery.of(claim.delivery_id, target)
        with self._database.transaction() as connection:
            ResultPlaces(connection, claim.delivery_id, plan).replace(claim.delivery_id, target)
            change = f"{_REPLACE_TARGET} WHERE id = ? AND owner = ? AND claim = ?"
            fence = (claim.delivery_id, self._owner, claim.number)
            return connection.execute(change, (*target_columns(new).reveal(), *fence)).rowcount == 1

    def record_receipt(self, claim: OutboxClaim, receipt: Receipt) -> tuple[bool, list[str]]:
        """Store the receipt, and delete the credentials; delete the results once they are delivered to all targets.

        Returns:
            Whether the claim was still held, and the files to delete.
        """
        with self._database.transaction() as connection:
            values = {"status": DELIVERED, "receipt": json.dumps(receipt.to_dict()), "error": None, "target": None}
            values["outputs"] = None
            if not self._finish(connection, claim, {**values, "next_attempt_at": None, "finished_at": time.time()}):
                return False, []
            row = connection.execute(
                "SELECT id, file, outputs FROM results WHERE id = (SELECT result FROM deliveries WHERE id = ?) "
                "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE result = results.id AND status != 'delivered')",
                (claim.delivery_id,),
            ).fetchone()
            if row is None:
                return True, []
            connection.execute("UPDATE results SET data = NULL, file = NULL, outputs = NULL WHERE id = ?", (row["id"],))
            connection.execute("DELETE FROM sent_outputs WHERE result = ?", (row["id"],))
            return True, files_of(row)

    def record_failure(self, claim: OutboxClaim, error: str, next_attempt_at: float | None) -> bool:
        """Store the failure of an attempt.

        Args:
            claim: The claim of the attempt.
            error: The error's text, without credentials.
            next_attempt_at: Time of the next attempt, in seconds since 1970; None to give up.

        Returns:
            Whether the claim was still held.
        """
        dead = next_attempt_at is None
        values = {
            "status": DEAD if dead else PENDING,
            "error": text_column(error),
            "next_attempt_at": next_attempt_at,
            "finished_at": time.time() if dead else None,
        }
        with self._database.transaction() as connection:
            return self._finish(connection, claim, values)

    def release(self, claim: OutboxClaim) -> None:
        """Release a claim without an outcome, so that the delivery is due again."""
        with self._database.transaction() as connection:
            self._finish(connection, claim, {"status": PENDING})

    def renew(self, claims: Collection[OutboxClaim]) -> None:
        """Renew the leases of claims: one heartbeat."""
        until = time.time() + LEASE_DURATION
        rows = [(until, claim.delivery_id, self._owner, claim.number) for claim in claims]
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE deliveries SET lease_expires_at = ? WHERE id = ? AND owner = ? AND claim = ?", rows
            )

    def reclaim(self, is_gone: Callable[[str], bool | None], sending: Collection[str]) -> list[str]:
        """Release the claims of processes that have ended, and claims whose lease has expired.

        Args:
            is_gone: Returns whether an owner's process has ended; None if unknown, so that only the lease decides.
            sending: Ids of the deliveries that this process is sending.

        Returns:
            The owners that have ended.
        """
        rows = self._database.read(
            "SELECT owner, MIN(lease_expires_at) AS first, MAX(lease_expires_at) AS last FROM deliveries "
            "WHERE owner IS NOT NULL GROUP BY owner"
        )
        now = time.time()
        ended_by_owner = {row["owner"]: None if row["owner"] == self._owner else is_gone(row["owner"]) for row in rows}
        gone = [owner for owner, has_ended in ended_by_owner.items() if has_ended]
        unsure = [row["owner"] for row in rows if ended_by_owner[row["owner"]] is None and _is_expired(row, now)]
        if gone or unsure:
            change = "UPDATE deliveries SET owner = NULL, lease_expires_at = NULL, next_attempt_at = ?, error = ?"
            with self._database.transaction() as connection:
                for owner in gone:
                    connection.execute(f"{change} WHERE owner = ?", (now, LOST_CLAIM_ERROR, owner))
                mine = list(sending)
                expired = "(lease_expires_at < ? OR lease_expires_at > ?)"
                for owner in unsure:
                    query = f"{change} WHERE owner = ? AND {expired} AND id NOT IN ({_marks(mine)})"
                    connection.execute(query, (now, LOST_CLAIM_ERROR, owner, now, _latest_lease(now), *mine))
        return gone

    def entries(self, *, status: str | None = None, ids: Sequence[str] | None = None) -> list[OutboxEntry]:
        """Return the deliveries without credentials, oldest first."""
        if ids is not None:
            rows = self._database.read(f"{_SELECT_ENTRIES} WHERE id IN ({_marks(ids)}) ORDER BY number", tuple(ids))
        elif status is not None:
            rows = self._database.read(f"{_SELECT_ENTRIES} WHERE status = ? ORDER BY number", (status,))
        else:
            rows = self._database.read(f"{_SELECT_ENTRIES} ORDER BY number")
        return [read_entry(row) for row in rows]

    def is_empty(self) -> bool:
        """Return whether no delivery is pending."""
        return not self._database.read("SELECT 1 FROM deliveries WHERE status = 'pending' LIMIT 1")

    def redeliver(self, ids: Sequence[str] | None) -> int:
        """Make deliveries due now. The retry schedule of dead deliveries starts again.

        Args:
            ids: Ids of deliveries; all pending and dead deliveries if None.

        Returns:
            Number of the deliveries that are due now.

        Raises:
            OutboxError: An id is unknown, or the delivery is already delivered; nothing is changed.
        """
        with self._database.transaction() as connection:
            if ids is None:
                ids = [row["id"] for row in connection.execute("SELECT id FROM deliveries WHERE status != 'delivered'")]
            else:
                rows = _select(connection, "SELECT id, status FROM deliveries WHERE id IN", ids)
                _check_redeliverable(ids, {row["id"]: row["status"] for row in rows})
            change = (
                "UPDATE deliveries SET attempts = CASE status WHEN 'dead' THEN 0 ELSE attempts END, "
                "status = 'pending', finished_at = NULL, next_attempt_at = ? "
                "WHERE id = ? AND owner IS NULL AND status != 'delivered'"
            )
            now = time.time()
            return sum(connection.execute(change, (now, delivery_id)).rowcount for delivery_id in ids)

    def replace_file_target(self, claim: OutboxClaim, name: str, target: Target, plan: Plan) -> bool:
        """Replace the target of an output file of a claimed delivery; see `replace_target`."""
        with self._database.transaction() as connection:
            ResultPlaces(connection, claim.delivery_id, plan).replace_file(claim.delivery_id, name, target)
            fence = (claim.delivery_id, self._owner, claim.number)
            row = connection.execute(
                "SELECT deliveries.outputs, results.outputs AS copies FROM deliveries "
                "JOIN results ON results.id = result WHERE deliveries.id = ? AND owner = ? AND claim = ?",
                fence,
            ).fetchone()
            if row is None:
                return False
            column = with_callback(Secret(row["outputs"]), read_copies(row["copies"]), name, target.callback)
            connection.execute("UPDATE deliveries SET outputs = ? WHERE id = ?", (column.reveal(), claim.delivery_id))
            return True

    def replace(self, delivery_id: str, target: Target, plan: Plan) -> None:
        """Replace the target of a delivery with its credentials, and make the delivery due now.

        The claim of a running attempt is taken away, so that its outcome isn't recorded as that of the new target.

        Args:
            delivery_id: The delivery.
            target: The new target.
            plan: Returns the target of a callback, to compare the result's other targets.

        Raises:
            OutboxError: The id is unknown, or the delivery is already delivered; nothing is changed.
            CallbackParamError: The new target would change the document.
            InvalidTargetError: One of its objects is that of another target of the result.
        """
        with self._database.transaction() as connection:
            rows = _select(
                connection, "SELECT id, status, url, target, events, owner FROM deliveries WHERE id IN", [delivery_id]
            )
            _check_redeliverable([delivery_id], {row["id"]: row["status"] for row in rows})
            (row,) = rows
            target = evolve(target, callback=read_callback(row).replaced_by(target.callback))
            ResultPlaces(connection, delivery_id, plan).replace(delivery_id, target)
            error = None if row["owner"] is None else REPLACED_ERROR.format(url=row["url"])
            connection.execute(
                f"{_REPLACE_TARGET}, status = 'pending', finished_at = NULL, next_attempt_at = ?, attempts = 0, "
                "error = ?, claim = claim + 1, owner = NULL, lease_expires_at = NULL WHERE id = ?",
                (*target_columns(NewDelivery.of(delivery_id, target)).reveal(), time.time(), error, delivery_id),
            )

    def purge(self, before: float) -> int:
        """Delete deliveries that were delivered before a time, in seconds since 1970.

        Returns:
            Number of deleted deliveries.
        """
        which = "status = 'delivered' AND finished_at < ?"
        if not self._database.read(f"SELECT 1 FROM deliveries WHERE {which} LIMIT 1", (before,)):  # noqa: S608
            return 0
        with self._database.transaction() as connection:
            count = connection.execute(f"DELETE FROM deliveries WHERE {which}", (before,)).rowcount  # noqa: S608
            connection.execute("DELETE FROM results WHERE id NOT IN (SELECT result FROM deliveries)")
        return count

    def files(self) -> set[str]:
        """Return the names of all files with results."""
        query = "SELECT file, outputs FROM results WHERE file IS NOT NULL OR outputs IS NOT NULL"
        return {name for row in self._database.read(query) for name in files_of(row)}

    def _claim(self, connection: sqlite3.Connection, row: sqlite3.Row) -> OutboxClaim:
        connection.execute(
            "UPDATE deliveries SET owner = ?, lease_expires_at = ?, claim = claim + 1, attempts = attempts + 1 "
            "WHERE id = ?",
            (self._owner, time.time() + LEASE_DURATION, row["id"]),
        )
        query = "SELECT claim, attempts FROM deliveries WHERE id = ?"
        number, attempt = connection.execute(query, (row["id"],)).fetchone()
        return OutboxClaim(delivery_id=row["id"], host=row["host"], number=number, attempt=attempt)

    def _finish(self, connection: sqlite3.Connection, claim: OutboxClaim, values: dict[str, Any]) -> bool:
        values = {**values, "owner": None, "lease_expires_at": None}
        query = f"UPDATE deliveries SET {', '.join(f'{name} = ?' for name in values)}"  # noqa: S608
        fence = (claim.delivery_id, self._owner, claim.number)
        row = connection.execute(f"{query} WHERE id = ? AND owner = ? AND claim = ?", (*values.values(), *fence))
        return row.rowcount == 1


def _due_bounds(now: float) -> tuple[float, float]:
    return now, now + MAX_DELAY.total_seconds()


def _is_expired(row: sqlite3.Row, now: float) -> bool:
    return bool(row["first"] < now or row["last"] > _latest_lease(now))


def _latest_lease(now: float) -> float:
    """Return the latest expiry that a lease can have. A later one was written before the clock was set back."""
    return now + LEASE_DURATION + _CLOCK_SLACK


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))


def _select(connection: sqlite3.Connection, query: str, ids: Sequence[str], *first: Any) -> list[sqlite3.Row]:
    return connection.execute(f"{query} ({_marks(ids)})", (*first, *ids)).fetchall()


def _insert(
    connection: sqlite3.Connection, delivery: NewDelivery, *, job_id: str, result: int | None, now: float
) -> None:
    # The credentials are not kept in a local variable, because some tools print tracebacks with local variables.
    connection.execute(
        "INSERT INTO deliveries "
        "(target_kind, url, host, target, events, object_url, outputs, id, result, job_id, status, next_attempt_at, "
        "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?)",
        (
            *target_columns(delivery).reveal(),
            callbacks_column(delivery.output_callbacks).reveal(),
            delivery.delivery_id,
            result,
            text_column(job_id),
            now,
            now,
        ),
    )


def _check_redeliverable(ids: Sequence[str], states: dict[str, str]) -> None:
    for delivery_id in ids:
        if delivery_id not in states:
            raise OutboxError(
                f"The outbox has no delivery {delivery_id}.", hint="List the deliveries: callback-sdk outbox list PATH"
            )
        if states[delivery_id] == DELIVERED:
            raise OutboxError(
                f"The delivery {delivery_id} is already delivered.", hint="To send the result again, write it again."
            )
