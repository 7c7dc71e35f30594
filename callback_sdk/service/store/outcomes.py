"""The end of a run: the task is finished and its deliveries are due, or it is requeued, or it fails after crashes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from callback_sdk.models import FINISHED, IN_PROGRESS, PENDING
from callback_sdk.service.store import deliveries, usage
from callback_sdk.service.store.claim_rows import ENDED_TASK
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import FEATURES, RESULTS, DeliveringWorker, DueDeliveries
from callback_sdk.service.store.submissions import INSERT_PAYLOAD
from callback_sdk.service.store.tables import task_payloads, tasks

MAX_CRASHES = 3
"""Number of crashed runs after which a task fails."""

OPEN = (PENDING, IN_PROGRESS)
"""Statuses of tasks that have not ended."""

IS_QUEUED = tasks.c.status == sa.literal(PENDING, literal_execute=True)
"""Literally the condition of partial indexes: neither database uses them for a condition with a parameter."""

_BATCH = 200
"""Maximum number of tasks that are ended in one transaction."""

# These statements are built once: building one takes longer than running it.
_JOB_ID: sa.BindParameter[str] = sa.bindparam("_job")

_STORED_BYTES = tasks.c.stored_bytes - tasks.c.features_bytes + sa.bindparam("_size", type_=sa.BigInteger)
_UPDATE_FINISHED = (
    tasks.update()
    .where(tasks.c.job_id == _JOB_ID)
    .values(finished_at=now(), stored_bytes=_STORED_BYTES)
    .returning(*ENDED_TASK, tasks.c.features_bytes)
)
_UPDATE_OPEN_FINISHED = _UPDATE_FINISHED.where(tasks.c.status.in_(OPEN))
_UPDATE_CLAIM_FINISHED = _UPDATE_FINISHED.where(
    tasks.c.status == IN_PROGRESS, tasks.c.attempt == sa.bindparam("_attempt")
)
_IS_FEATURES = (task_payloads.c.job_id == _JOB_ID, task_payloads.c.name == FEATURES)
_DELETE_FEATURES = task_payloads.delete().where(*_IS_FEATURES)
_UPDATE_FEATURES_TO_RESULTS = (
    task_payloads.update().where(*_IS_FEATURES).values(name=RESULTS, data=sa.bindparam("_data"))
)

REQUEUED = {"status": PENDING, "worker": None, "heartbeat_at": None, "dispatched_at": None, "progress": sa.null()}
"""Columns of a task that waits for another run."""


def is_claim(job_id: str, attempt: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions that select a task only while this attempt has the claim."""
    return (tasks.c.job_id == job_id, tasks.c.status == IN_PROGRESS, tasks.c.attempt == attempt)


def finish(
    connection: sa.Connection,
    job_id: str,
    values: dict[str, Any],
    *,
    status: str = FINISHED,
    attempt: int | None = None,
    results: bytes | None = None,
    sizes: tuple[int, int] = (0, 0),
    sender: DeliveringWorker | None = None,
    shard: int | None = None,
) -> DueDeliveries | None:
    """End a task in the transaction of `connection`, and make its deliveries due.

    Args:
        connection: In a transaction.
        job_id: The task.
        values: Further columns to set.
        status: The new status.
        attempt: The claim; None to end the task regardless of its claim.
        results: Results that are small enough for the database.
        sizes: Bytes of the results with the output files, and of a trained model.
        sender: The worker that sends due deliveries at once; None to leave them to the dispatcher.
        shard: The row of the owner's bytes; see `usage.shard`.

    Returns:
        What to deliver now; None if the task had ended or the claim was lost.
    """
    size, model_size = sizes
    parameters = {"_job": job_id, "_size": size} | ({} if attempt is None else {"_attempt": attempt})
    task = connection.execute(
        _UPDATE_OPEN_FINISHED if attempt is None else _UPDATE_CLAIM_FINISHED, values | {"status": status} | parameters
    ).first()
    if task is None:
        return None
    if results is None:
        connection.execute(_DELETE_FEATURES, {"_job": job_id})
    elif not connection.execute(_UPDATE_FEATURES_TO_RESULTS, {"_job": job_id, "_data": results}).rowcount:
        connection.execute(INSERT_PAYLOAD, {"job_id": job_id, "name": RESULTS, "data": results})
    ended = deliveries.make_due(connection, task, results, sender)
    usage.add(connection, task.owner, size - task.features_bytes + model_size, shard or usage.shard())
    return ended


def fail_queued(database: Database, condition: sa.ColumnElement[bool], values: dict[str, Any]) -> list[str]:
    """Fail the queued tasks that match a condition, and return their ids.

    Args:
        database: The store's database.
        condition: Selects the tasks.
        values: Columns of the failed tasks, such as `error`.
    """
    # Ordered by owner: the transaction locks a row of each owner's usage, and a fixed order prevents deadlocks.
    query = sa.select(tasks.c.job_id).where(IS_QUEUED, condition).order_by(tasks.c.owner)

    def end(connection: sa.Connection) -> list[str]:
        shard = usage.shard()
        job_ids = list(connection.execute(query.limit(_BATCH).with_for_update(skip_locked=True)).scalars())
        for job_id in job_ids:
            finish(connection, job_id, {"success": False, **values}, shard=shard)
        return job_ids

    ended: list[str] = []
    while more := database.write(end):
        database.changes.publish(more)
        ended += more
    return ended


def is_finished(connection: sa.Connection, job_id: str, attempt: int, *, success: bool) -> bool:
    """Return whether this attempt has already ended the task with this outcome."""
    ended = (tasks.c.job_id == job_id, tasks.c.status == FINISHED, tasks.c.attempt == attempt)
    return connection.execute(sa.select(tasks.c.success).where(*ended)).scalar() is success


def record_crash(
    connection: sa.Connection,
    job_id: str,
    attempt: int,
    reason: str,
    sender: DeliveringWorker | None = None,
    *,
    shard: int | None = None,
) -> DueDeliveries | None:
    """Requeue a task whose worker process died, or fail it after `MAX_CRASHES`; see `TaskStore.record_crash`."""
    lost = tasks.update().where(*is_claim(job_id, attempt)).values(**REQUEUED, crash_count=tasks.c.crash_count + 1)
    if not connection.execute(lost).rowcount:
        return None
    crash_count = connection.execute(sa.select(tasks.c.crash_count).where(tasks.c.job_id == job_id)).scalar_one()
    if crash_count < MAX_CRASHES:
        return None
    error = f"The worker process died {crash_count} times while running this task; last: {reason}."
    return finish(connection, job_id, {"success": False, "error": error}, sender=sender, shard=shard)
