"""Insertion of new tasks, with their payloads, deliveries and idempotency key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from attrs import asdict

from callback_sdk.models import PENDING
from callback_sdk.service.store import idempotency, stages, subscriptions
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.models import FEATURES, AcceptedTask, IdempotencyKey, Submission
from callback_sdk.service.store.tables import deliveries, task_payloads, tasks

_STEP = 1e-6
"""Seconds between the creation times of two tasks of a batch, so that they run in order."""

_INSERT_TASKS = (
    tasks.insert()
    .values(
        status=PENDING,
        created_at=now() + sa.bindparam("_later", type_=sa.Double),
        expires_at=now() + sa.bindparam("_expires", type_=sa.Double),
    )
    .returning(tasks.c.job_id, tasks.c.created_at, tasks.c.expires_at)
)
INSERT_PAYLOAD = task_payloads.insert()
_INSERT_DELIVERIES = deliveries.insert()


def _marks(submission: Submission) -> dict[str, bool]:
    """Return the options by which the end of a task knows that its deliveries need more than to become due."""
    marks = {
        stages.STAGED: stages.is_staged(submission),
        subscriptions.EVENTS: subscriptions.is_subscribed(submission),
    }
    return {name: True for name, is_set in marks.items() if is_set}


def insert_all(
    connection: sa.Connection,
    submissions: Sequence[Submission],
    targets: Sequence[dict[str, Any]],
    key: IdempotencyKey | None,
    *,
    batch: str | None = None,
) -> tuple[list[AcceptedTask], int]:
    """Insert new tasks of one owner.

    Args:
        connection: A connection in a transaction.
        submissions: The tasks.
        targets: The rows of their deliveries.
        key: The idempotency key of the request; None if it has none.
        batch: The id of the task of their batch; None without one.

    Returns:
        The accepted tasks, and the bytes that they take.
    """
    sizes = [item.size + len(json.dumps(item.task.parameters)) for item in submissions]
    new = [
        asdict(item.task, recurse=False)
        | {"options": {**item.task.options, **_marks(item)}}
        | {
            "features_bytes": item.size,
            "stored_bytes": size,
            "batch": batch,
            "targets_expire_at": item.targets_expire_at,
            "_expires": item.expires,
            "_later": _STEP * number,
        }
        for number, (item, size) in enumerate(zip(submissions, sizes, strict=True))
    ]
    accepted = {row.job_id: AcceptedTask(*row) for row in connection.execute(_INSERT_TASKS, new)}
    small = [item for item in submissions if item.features is not None]
    if small:
        connection.execute(
            INSERT_PAYLOAD,
            [{"job_id": item.task.job_id, "name": FEATURES, "data": item.features} for item in small],
        )
    if targets:
        connection.execute(_INSERT_DELIVERIES, list(targets))
    job_ids = [item.task.job_id for item in submissions]
    if key is not None:
        idempotency.insert(connection, submissions[0].task.owner, key, job_ids, batch=batch)
    return [accepted[job_id] for job_id in job_ids], sum(sizes)
