"""Batches: when all tasks have ended and no delivery of theirs is pending, one document tells a target so.

The document is that of a task which is inserted at the end, already finished, together with its delivery. So it is
delivered, retried and redelivered as every other one.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from callback_sdk.models import FINISHED, outcome
from callback_sdk.service.store import rows, usage
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import BATCH, DEFAULT_PRIORITY, DELIVERY_PENDING, RESULTS, NewBatch
from callback_sdk.service.store.tables import batches, deliveries, task_payloads, tasks

MAX_LISTED = 100
"""Tasks without a result that the document names."""

_ROUND = 20
"""Batches that end in one transaction."""

# These statements are built once: building one takes longer than running it.
_OF_BATCH = tasks.c.batch == sa.bindparam("_batch")
_HAS_OPEN = sa.exists().where(tasks.c.batch == batches.c.job_id, tasks.c.finished_at.is_(None))
_HAS_PENDING = sa.exists().where(
    tasks.c.batch == batches.c.job_id, deliveries.c.job_id == tasks.c.job_id, deliveries.c.status == DELIVERY_PENDING
)
_IS_COMPLETE = sa.and_(batches.c.is_open.is_(sa.false()), ~_HAS_OPEN, ~_HAS_PENDING)
_SELECT_ANY_COMPLETE = sa.select(batches.c.job_id).where(_IS_COMPLETE).limit(1)
_SELECT_COMPLETE = sa.select(batches).where(_IS_COMPLETE).limit(_ROUND).with_for_update(skip_locked=True)
_SELECT_TASKS = sa.select(tasks.c.job_id, tasks.c.status, tasks.c.success, tasks.c.error_code).where(_OF_BATCH)
_COUNT_DELIVERIES = (
    sa.select(deliveries.c.status, sa.func.count())
    .select_from(deliveries.join(tasks))
    .where(_OF_BATCH)
    .group_by(deliveries.c.status)
)


def add(connection: sa.Connection, batch: NewBatch, owner: str, algorithm: str, target: dict[str, Any]) -> str:
    """Insert a batch unless an earlier request has, and return the id of its own task.

    Args:
        connection: In the transaction that inserts the tasks of a request.
        batch: The batch.
        owner: Id of the user.
        algorithm: Name of the algorithm.
        target: The columns of its target.
    """
    one = (batches.c.owner == owner, batches.c.batch_id == batch.batch_id)
    query = sa.select(batches.c.job_id).where(*one).with_for_update()
    job_id: str | None = connection.execute(query).scalar()
    if job_id is None:
        job_id = str(uuid.uuid4())
        values = {"owner": owner, "batch_id": batch.batch_id, "job_id": job_id, "algorithm": algorithm, **target}
        connection.execute(batches.insert().values(**values, is_open=not batch.is_last, created_at=now()))
    elif batch.is_last:
        connection.execute(batches.update().where(*one).values(is_open=False))
    return job_id


class BatchStore:
    """The batches in a database whose end a target waits for.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def end_complete(self) -> list[str]:
        """Make the documents of complete batches due, and return the ids of their tasks."""
        # Read first: looking through the tasks of large batches must not keep other writers of SQLite waiting.
        with self._database.read() as connection:
            if connection.execute(_SELECT_ANY_COMPLETE).first() is None:
                return []
        return self._database.write(_end_complete)


def _end_complete(connection: sa.Connection) -> list[str]:
    found = connection.execute(_SELECT_COMPLETE).all()
    for batch in found:
        _end(connection, batch)
    return [batch.job_id for batch in found]


def _end(connection: sa.Connection, batch: Any) -> None:
    """Replace a batch by a finished task with a delivery that is due."""
    ended = connection.execute(_SELECT_TASKS, {"_batch": batch.job_id}).all()
    counts = dict(rows.pairs(connection.execute(_COUNT_DELIVERIES, {"_batch": batch.job_id})))
    results = json.dumps(summary(ended, counts)).encode()
    connection.execute(batches.delete().where(batches.c.job_id == batch.job_id))
    connection.execute(
        tasks.insert().values(
            job_id=batch.job_id,
            owner=batch.owner,
            kind=BATCH,
            algorithm=batch.algorithm,
            version="",
            features_format="",
            parameters={},
            evaluate=False,
            options={},
            priority=DEFAULT_PRIORITY,
            status=FINISHED,
            success=True,
            stored_bytes=len(results),
            created_at=batch.created_at,
            finished_at=now(),
        )
    )
    connection.execute(task_payloads.insert().values(job_id=batch.job_id, name=RESULTS, data=results))
    connection.execute(
        deliveries.insert().values(
            delivery_id=f"msg_{secrets.token_hex(16)}",
            job_id=batch.job_id,
            position=0,
            status=DELIVERY_PENDING,
            next_attempt_at=now(),
            **{name: getattr(batch, name) for name in ("encrypted_target", "url", "host", "origin")},
        )
    )
    usage.add(connection, batch.owner, len(results), usage.shard())


def summary(ended: Sequence[Any], counts: dict[str, int]) -> dict[str, Any]:
    """Return the results of a batch.

    Args:
        ended: Its tasks, with `job_id`, `status`, `success` and `error_code`.
        counts: The number of their deliveries by status.
    """
    outcomes = {task.job_id: str(outcome(task.status, task.success, task.error_code)) for task in ended}
    by_outcome = Counter(outcomes.values())
    names = {name.lower(): by_outcome[name] for name in ("Succeeded", "Failed", "Expired", "Canceled")}
    others = sorted(job_id for job_id, found in outcomes.items() if found != "Succeeded")
    return {
        "tasks": {"total": len(outcomes), **names},
        "deliveries": {name: counts.get(name, 0) for name in ("delivered", "dead", "skipped")},
        "unsuccessful": others[:MAX_LISTED],
    }
