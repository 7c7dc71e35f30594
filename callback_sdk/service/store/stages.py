"""Stages of a task's deliveries: output files, then documents beside copies of the files, then all other documents."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from callback_sdk.service.store.clock import now
from callback_sdk.service.store.models import DEAD, DELIVERY_PENDING, Submission
from callback_sdk.service.store.tables import deliveries, outputs, tasks
from callback_sdk.text.descriptions import short_repr

STAGED = "staged"
"""The option of tasks whose deliveries have several stages or single output files."""

_FAILED = "The task ended without results, before it saved this output file."
_MAX_NAMES = 5
"""Names of saved files that an error lists."""

# These statements are built once: building one takes longer than running it.
_JOB_ID: sa.BindParameter[str] = sa.bindparam("_job")
_IS_PENDING = (deliveries.c.job_id == _JOB_ID, deliveries.c.status == DELIVERY_PENDING)
_SELECT_TASK = sa.select(tasks.c.job_id).where(tasks.c.job_id == _JOB_ID).with_for_update()
_EXISTING = (
    sa.select(outputs.c.name)
    .join(tasks, sa.and_(outputs.c.job_id == tasks.c.job_id, outputs.c.attempt == tasks.c.output_attempt))
    .where(outputs.c.job_id == _JOB_ID)
)
_UPDATE_MISSING = (
    deliveries.update()
    .where(*_IS_PENDING, deliveries.c.output_name.is_not(None), deliveries.c.output_name.not_in(_EXISTING))
    .values(status=DEAD, next_attempt_at=None, last_error=sa.bindparam("_error"))
)
_UPDATE_SAME_STAGE = deliveries.update().where(*_IS_PENDING).values(stage=0)
_LOWEST = sa.select(sa.func.min(deliveries.c.stage)).where(*_IS_PENDING).scalar_subquery()
_UPDATE_NEXT_DUE = (
    deliveries.update()
    .where(
        *_IS_PENDING,
        deliveries.c.next_attempt_at.is_(None),
        deliveries.c.worker.is_(None),
        deliveries.c.stage == _LOWEST,
    )
    .values(next_attempt_at=now(), dispatched_at=None)
)


def stages(submission: Submission) -> list[int]:
    """Return the stage of each target, from 0."""
    ranks = [
        0 if name is not None else 1 if target.prefix is not None or target.is_results else 2
        for target, name in zip(submission.targets, submission.names, strict=True)
    ]
    order = sorted(set(ranks))
    return [order.index(rank) for rank in ranks]


def is_staged(submission: Submission) -> bool:
    """Return whether deliveries of a task wait for others, or are for single output files."""
    return any(stages(submission)) or any(name is not None for name in submission.names)


def end_missing(connection: sa.Connection, task: Any) -> None:
    """Mark the deliveries of output files that a task doesn't have as dead, in the transaction that ends it.

    Without output files no document waits for another.
    """
    error = _missing_error(connection, task.job_id) if task.success else _FAILED
    connection.execute(_UPDATE_MISSING, {"_job": task.job_id, "_error": error})
    if task.output_attempt is None:
        connection.execute(_UPDATE_SAME_STAGE, {"_job": task.job_id})


def _missing_error(connection: sa.Connection, job_id: str) -> str:
    """Return the error for a target of an output file that wasn't saved: its name may be misspelled."""
    query = _EXISTING.order_by(outputs.c.name).limit(_MAX_NAMES + 1)
    names = list(connection.execute(query, {"_job": job_id}).scalars())
    if not names:
        return "The algorithm saved no output files."
    listed = ", ".join(map(short_repr, names[:_MAX_NAMES])) + (" and more" if len(names) > _MAX_NAMES else "")
    return (
        f"The algorithm saved no output file of this name, but {listed}. Correct the name in outputs= of the next task."
    )


def make_next_due(connection: sa.Connection, job_id: str) -> None:
    """Make the deliveries of the lowest stage with pending ones due, unless they are.

    Args:
        connection: A connection in a transaction that has ended a delivery of the task, or the task itself.
        job_id: The task.
    """
    # Two deliveries may end at the same time: without the lock, each would find the other one pending.
    connection.execute(_SELECT_TASK, {"_job": job_id})
    connection.execute(_UPDATE_NEXT_DUE, {"_job": job_id})
