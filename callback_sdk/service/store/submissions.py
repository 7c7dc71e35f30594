"""The rows of new tasks: with their payloads, their deliveries and the key of their request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from attrs import asdict

from callback_sdk.models import PENDING
from callback_sdk.service.store import idempotency, rows
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.models import FEATURES, AcceptedTask, IdempotencyKey, Submission
from callback_sdk.service.store.tables import deliveries, task_payloads, tasks

_STEP = 1e-6
"""Seconds between the times of two tasks of one batch, so that they run in their order."""

_INSERT_TASKS = (
    tasks.insert()
    .values(status=PENDING, created_at=now() + sa.bindparam("_later", type_=sa.Double))
    .returning(tasks.c.job_id, tasks.c.created_at)
)
INSERT_PAYLOAD = task_payloads.insert()
_INSERT_DELIVERIES = deliveries.insert()


def insert_all(
    connection: sa.Connection,
    submissions: Sequence[Submission],
    targets: Sequence[dict[str, Any]],
    key: IdempotencyKey | None,
) -> tuple[list[AcceptedTask], int]:
    """Insert new tasks of one owner.

    Args:
        connection: In a transaction.
        submissions: The tasks.
        targets: Rows of their deliveries.
        key: What makes a repetition harmless, if there is such a key.

    Returns:
        What is accepted, and how many bytes it takes.
    """
    sizes = [item.size + len(json.dumps(item.task.parameters)) for item in submissions]
    new = [
        asdict(item.task, recurse=False) | {"features_bytes": item.size, "stored_bytes": size, "_later": _STEP * number}
        for number, (item, size) in enumerate(zip(submissions, sizes, strict=True))
    ]
    created_at = dict(rows.pairs(connection.execute(_INSERT_TASKS, new)))
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
        idempotency.remember(connection, submissions[0].task.owner, key, job_ids)
    return [AcceptedTask(job_id, created_at[job_id]) for job_id in job_ids], sum(sizes)
