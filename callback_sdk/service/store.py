"""The store: the only truth about tasks and their deliveries.

A delivery's target is kept as it was given, credentials included, because it must be sent after any crash.
So the folder of the database is for its owner alone, and nothing but a claim reads that column.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from callback_sdk.callbacks import Callback, callbacks
from callback_sdk.models import CANCELED, FINISHED, IN_PROGRESS, PENDING, JobResult, Receipt
from callback_sdk.redaction import Secret, without_frames
from callback_sdk.service.records import Claim, DeliveryClaim, Ending, NewTask
from callback_sdk.service.tables import deliveries, metadata, tasks
from callback_sdk.service.transactions import Transactions
from callback_sdk.targets import plan

MAX_LOSSES = 3
"""Runs of one task whose process may die before the task has failed."""

DELIVERY_PENDING = "pending"
DELIVERED = "delivered"
DEAD = "dead"

CANCELED_ERROR = "The task was cancelled."


class Store:
    """Tasks and deliveries in a SQLite file.

    Args:
        path: The file; made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._transactions = Transactions(path)
        self._transactions.write(metadata.create_all)

    def close(self) -> None:
        """Close the file, after all that was written is on disk."""
        self._transactions.close()

    def submit(self, task: NewTask, targets: Sequence[Callback]) -> None:
        """Keep a task and its deliveries. When this returns they are on disk."""
        row = {name: getattr(task, name) for name in NewTask.__annotations__}
        rows = [_delivery(task.job_id, position, target) for position, target in enumerate(targets)]

        def insert(connection: sa.Connection) -> None:
            connection.execute(tasks.insert(), {**row, "status": PENDING, "created_at": time.time()})
            if rows:
                connection.execute(deliveries.insert(), [secret.reveal() for secret in rows])

        try:
            self._transactions.write(insert)
        except sa.exc.SQLAlchemyError as error:
            raise without_frames(error) from None

    def task(self, job_id: str) -> dict[str, Any] | None:
        """Return a task's columns, or None when there is no such task."""
        with self._transactions.read() as connection:
            row = connection.execute(sa.select(tasks).where(tasks.c.job_id == job_id)).mappings().first()
        return dict(row) if row else None

    def deliveries(self, job_id: str) -> list[dict[str, Any]]:
        """Return what may be shown of a task's deliveries, in the order of its targets."""
        shown = [column for column in deliveries.c if column.name != "target"]
        query = sa.select(*shown).where(deliveries.c.job_id == job_id).order_by(deliveries.c.position)
        with self._transactions.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def pending(self, limit: int) -> list[str]:
        """Return the tasks that wait for a worker, the oldest first."""
        query = sa.select(tasks.c.job_id).where(tasks.c.status == PENDING).order_by(tasks.c.created_at).limit(limit)
        with self._transactions.read() as connection:
            return list(connection.execute(query).scalars())

    def unfinished(self) -> list[str]:
        """Return the tasks that have not ended."""
        query = sa.select(tasks.c.job_id).where(tasks.c.status.in_((PENDING, IN_PROGRESS)))
        with self._transactions.read() as connection:
            return list(connection.execute(query).scalars())

    def claim(self, job_id: str) -> Claim | None:
        """Take a waiting task; None when it doesn't wait (any more)."""

        def take(connection: sa.Connection) -> Claim | None:
            taken = connection.execute(
                tasks.update()
                .where(tasks.c.job_id == job_id, tasks.c.status == PENDING)
                .values(status=IN_PROGRESS, attempt=tasks.c.attempt + 1, started_at=time.time())
            )
            if not taken.rowcount:
                return None
            row = connection.execute(sa.select(tasks).where(tasks.c.job_id == job_id)).one()
            task = NewTask(**{name: getattr(row, name) for name in NewTask.__annotations__})
            return Claim(task=task, attempt=row.attempt)

        return self._transactions.write(take)

    def finish(self, job_id: str, attempt: int, ending: Ending) -> bool:
        """End a task and make its deliveries due; False when this run has lost its claim."""
        values = {name: getattr(ending, name) for name in Ending.__annotations__}
        return self._transactions.write_surely(lambda connection: _end(connection, job_id, values, attempt=attempt))

    def release(self, job_id: str, attempt: int) -> bool:
        """Give a task back that an orderly stop broke off; it counts as no loss."""
        held = (tasks.c.job_id == job_id, tasks.c.status == IN_PROGRESS, tasks.c.attempt == attempt)
        back = tasks.update().where(*held).values(status=PENDING)
        return self._transactions.write_surely(lambda connection: bool(connection.execute(back).rowcount))

    def lose(self, job_id: str, attempt: int, reason: str) -> bool:
        """Give a task back whose process died, or end it as failed when that was one time too many.

        Args:
            job_id: The task.
            attempt: The claim.
            reason: What happened; part of the task's error in the end.

        Returns:
            Whether it waits for another run.
        """
        return self._transactions.write_surely(lambda connection: _lose(connection, job_id, attempt, reason))

    def cancel(self, job_id: str) -> str | None:
        """End a task as cancelled unless it has ended.

        Returns:
            Its status now; None when there is no such task.
        """

        def stop(connection: sa.Connection) -> str | None:
            _end(connection, job_id, {"success": False, "error": CANCELED_ERROR}, status=CANCELED)
            return connection.execute(sa.select(tasks.c.status).where(tasks.c.job_id == job_id)).scalar()

        return self._transactions.write(stop)

    def recover(self) -> list[tuple[str, int]]:
        """Take back what a process held that is no more. Only for a store that nobody else uses.

        Returns:
            Ids and attempts of the tasks that were running.
        """

        def take_back(connection: sa.Connection) -> list[tuple[str, int]]:
            held = connection.execute(
                sa.select(tasks.c.job_id, tasks.c.attempt).where(tasks.c.status == IN_PROGRESS)
            ).all()
            for job_id, attempt in held:
                _lose(connection, job_id, attempt, "the service was stopped in the middle of it")
            connection.execute(deliveries.update().where(deliveries.c.claimed).values(claimed=False))
            return [(job_id, attempt) for job_id, attempt in held]

        return self._transactions.write(take_back)

    def due(self, limit: int, *, skip_hosts: Collection[str] = ()) -> list[tuple[str, str]]:
        """Return id and host of deliveries whose time has come, the longest due first.

        Args:
            limit: How many, at most.
            skip_hosts: Hosts that are busy enough.
        """
        query = (
            sa.select(deliveries.c.delivery_id, deliveries.c.host)
            .where(*_waiting(), deliveries.c.next_attempt_at <= time.time(), deliveries.c.host.not_in(skip_hosts))
            .order_by(deliveries.c.next_attempt_at)
            .limit(limit)
        )
        with self._transactions.read() as connection:
            return [(row.delivery_id, row.host) for row in connection.execute(query)]

    def due_of(self, job_id: str) -> list[tuple[str, str]]:
        """Return id and host of a task's deliveries whose time has come."""
        query = sa.select(deliveries.c.delivery_id, deliveries.c.host).where(
            *_waiting(), deliveries.c.job_id == job_id, deliveries.c.next_attempt_at <= time.time()
        )
        with self._transactions.read() as connection:
            return [(row.delivery_id, row.host) for row in connection.execute(query)]

    def next_due(self) -> float | None:
        """Return when the next delivery is due, in seconds since 1970; None when none waits."""
        query = sa.select(sa.func.min(deliveries.c.next_attempt_at)).where(*_waiting())
        with self._transactions.read() as connection:
            moment: float | None = connection.execute(query).scalar()
        return moment

    def claim_delivery(self, delivery_id: str) -> DeliveryClaim | None:
        """Take a delivery that is due; None when somebody has it, or nothing is left to do."""

        def take(connection: sa.Connection) -> sa.RowMapping | None:
            taken = connection.execute(
                deliveries.update()
                .where(
                    *_waiting(),
                    deliveries.c.delivery_id == delivery_id,
                    deliveries.c.next_attempt_at.is_not(None),
                )
                .values(claimed=True, attempts=deliveries.c.attempts + 1)
            )
            if not taken.rowcount:
                return None
            columns = (
                deliveries.c.delivery_id,
                deliveries.c.attempts,
                tasks.c.job_id,
                tasks.c.attempt,
                tasks.c.status,
            )
            query = sa.select(*columns, tasks.c.success, tasks.c.error, tasks.c.nulled).join(tasks)
            return connection.execute(query.where(deliveries.c.delivery_id == delivery_id)).mappings().one()

        row = self._transactions.write(take)
        if row is None:
            return None
        return DeliveryClaim(
            delivery_id=row["delivery_id"],
            callback=self._callback(delivery_id),
            job_id=row["job_id"],
            attempt=row["attempts"],
            run=row["attempt"],
            result=JobResult(
                job_id=row["job_id"], success=bool(row["success"]), error=row["error"], status=row["status"]
            ),
            nulled=row["nulled"],
        )

    def delivered(self, delivery_id: str, receipt: Receipt) -> None:
        """Keep the proof that a target has the result."""
        values = {
            "state": DELIVERED,
            "next_attempt_at": None,
            "last_error": None,
            "receipt": receipt.to_dict(),
        }
        self._settle(delivery_id, values)

    def failed(self, delivery_id: str, error: str, next_attempt_at: float | None) -> None:
        """Keep that an attempt failed.

        Args:
            delivery_id: Which delivery.
            error: Why, without credentials.
            next_attempt_at: When to try again, in seconds since 1970; None for never.
        """
        state = DEAD if next_attempt_at is None else DELIVERY_PENDING
        self._settle(delivery_id, {"state": state, "next_attempt_at": next_attempt_at, "last_error": error})

    def results_url(self, job_id: str) -> str | None:
        """Return where a task's results will be, without a signature; None when no target of it is an object."""
        query = sa.select(deliveries.c.delivery_id, deliveries.c.target).where(deliveries.c.job_id == job_id)
        with self._transactions.read() as connection:
            rows = [(row.delivery_id, Secret(row.target)) for row in connection.execute(query.order_by("position"))]
        urls = (plan(_callback(target)).object_url(delivery_id) for delivery_id, target in rows)
        return next((url for url in urls if url is not None), None)

    def _settle(self, delivery_id: str, values: dict[str, Any]) -> None:
        update = deliveries.update().where(
            deliveries.c.delivery_id == delivery_id, deliveries.c.state == DELIVERY_PENDING
        )
        self._transactions.write_surely(lambda connection: connection.execute(update.values(claimed=False, **values)))

    def _callback(self, delivery_id: str) -> Callback:
        query = sa.select(deliveries.c.target).where(deliveries.c.delivery_id == delivery_id)
        with self._transactions.read() as connection:
            target = Secret(connection.execute(query).scalar_one())
        return _callback(target)


def _callback(target: Secret[str]) -> Callback:
    (callback,) = callbacks(Secret([json.loads(target.reveal())]))
    return callback


def _waiting() -> tuple[sa.ColumnElement[bool], ...]:
    return (deliveries.c.state == DELIVERY_PENDING, sa.not_(deliveries.c.claimed))


def _delivery(job_id: str, position: int, target: Callback) -> Secret[dict[str, Any]]:
    return Secret(
        {
            "delivery_id": f"msg_{secrets.token_hex(16)}",
            "job_id": job_id,
            "position": position,
            "target": json.dumps(target.plain()),
            "url": str(target.url),
            "host": target.url.host,
            "param": target.param,
            "state": DELIVERY_PENDING,
        }
    )


def _end(
    connection: sa.Connection,
    job_id: str,
    values: dict[str, Any],
    *,
    status: str = FINISHED,
    attempt: int | None = None,
) -> bool:
    held = [tasks.c.job_id == job_id]
    if attempt is None:
        held.append(tasks.c.status.in_((PENDING, IN_PROGRESS)))
    else:
        held += [tasks.c.status == IN_PROGRESS, tasks.c.attempt == attempt]
    ended = connection.execute(tasks.update().where(*held).values(status=status, finished_at=time.time(), **values))
    if not ended.rowcount:
        return False
    connection.execute(deliveries.update().where(deliveries.c.job_id == job_id).values(next_attempt_at=time.time()))
    return True


def _lose(connection: sa.Connection, job_id: str, attempt: int, reason: str) -> bool:
    held = (tasks.c.job_id == job_id, tasks.c.status == IN_PROGRESS, tasks.c.attempt == attempt)
    lost = connection.execute(tasks.update().where(*held).values(status=PENDING, losses=tasks.c.losses + 1))
    if not lost.rowcount:
        return False
    losses = connection.execute(sa.select(tasks.c.losses).where(tasks.c.job_id == job_id)).scalar_one()
    if losses < MAX_LOSSES:
        return True
    error = f"The task was started {losses} times, and never came to its end; the last time {reason}."
    _end(connection, job_id, {"success": False, "error": error})
    return False
