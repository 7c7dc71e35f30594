"""TaskReader: reads tasks, one by one and in counts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from callback_sdk.models import IN_PROGRESS, PENDING
from callback_sdk.service.store import idempotency, outcomes, rows, usage
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import DELIVERY_PENDING, RESULTS, IdempotencyKey, PurgeableTask
from callback_sdk.service.store.tables import batches, deliveries, task_payloads, tasks, users

# These statements are built once: building one takes longer than running it.
_JOB_ID: sa.BindParameter[str] = sa.bindparam("_job")
_OWNER_NAME = users.c.name.label("owner_name")
_WITH_OWNER = tasks.outerjoin(users, users.c.user_id == tasks.c.owner)
_SELECT_TASK = sa.select(tasks, _OWNER_NAME).select_from(_WITH_OWNER).where(tasks.c.job_id == _JOB_ID)
_SELECT_TASK_OF_OWNER = _SELECT_TASK.where(tasks.c.owner == sa.bindparam("_owner"))

_SELECT_CLAIMED_BY = sa.select(tasks.c.job_id, tasks.c.attempt).where(
    tasks.c.worker == sa.bindparam("_worker"), tasks.c.status == IN_PROGRESS
)


class TaskReader:
    """Reads the tasks in a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_repeated(self, owner: str, key: IdempotencyKey) -> list[str] | None:
        """Return the tasks of an earlier request with the same key; None if there was none.

        Raises:
            IdempotencyConflictError: The key was used for a different request.
        """
        with self._database.read() as connection:
            return idempotency.find_job_ids(connection, owner, key)

    def get(self, job_id: str, *, owner: str | None = None) -> dict[str, Any] | None:
        """Return the columns of a task, and `owner_name`; None if it doesn't exist, or belongs to another user.

        Args:
            job_id: The task.
            owner: Id of the user to whom it must belong; None for any.
        """
        query = _SELECT_TASK if owner is None else _SELECT_TASK_OF_OWNER
        with self._database.read() as connection:
            row = connection.execute(query, {"_job": job_id, "_owner": owner}).mappings().first()
        return dict(row) if row else None

    def results(self, job_id: str) -> bytes | None:
        """Return the results of a task; None if there are none or they are in the blob storage."""
        with self._database.read() as connection:
            return rows.payload(connection, job_id, RESULTS)

    def unfinished_ids(self) -> list[str]:
        """Return the tasks that have not ended."""
        with self._database.read() as connection:
            return list(
                connection.execute(sa.select(tasks.c.job_id).where(tasks.c.status.in_(outcomes.OPEN))).scalars()
            )

    def open_count(self, owner: str, *, at_most: int) -> int:
        """Count a user's queued and running tasks, up to a limit."""
        some = sa.select(sa.literal(1)).where(tasks.c.owner == owner, tasks.c.status.in_(outcomes.OPEN)).limit(at_most)
        with self._database.read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(some.subquery())).scalar_one()

    def counts(self) -> dict[str, int]:
        """Count queued and running tasks, by status."""
        query = (
            sa.select(tasks.c.status, sa.func.count()).where(tasks.c.status.in_(outcomes.OPEN)).group_by(tasks.c.status)
        )
        with self._database.read() as connection:
            return dict.fromkeys(outcomes.OPEN, 0) | dict(rows.pairs(connection.execute(query)))

    def unknown_algorithms(self, algorithms: Collection[str]) -> list[str]:
        """Return the names of algorithms that have queued tasks, but are not in the given ones."""
        query = sa.select(tasks.c.algorithm).where(tasks.c.status == PENDING, tasks.c.algorithm.not_in(algorithms))
        with self._database.read() as connection:
            return list(connection.execute(query.distinct()).scalars())

    def claims_of(self, worker: str) -> dict[str, int]:
        """Return the tasks that a worker has claimed, with their attempts."""
        with self._database.read() as connection:
            return dict(rows.pairs(connection.execute(_SELECT_CLAIMED_BY, {"_worker": worker})))

    def bytes_of(self, owner: str) -> int:
        """Return the bytes that a user's tasks take."""
        with self._database.read() as connection:
            return usage.used_bytes(connection, owner)

    def purgeable(self, *, older_than: float, limit: int) -> list[PurgeableTask]:
        """Return tasks that ended long ago, have no pending deliveries, and don't belong to a batch that goes on.

        Args:
            older_than: Seconds since their end.
            limit: Maximum number.
        """
        due = sa.exists().where(deliveries.c.job_id == tasks.c.job_id, deliveries.c.status == DELIVERY_PENDING)
        in_batch = sa.exists().where(batches.c.job_id == tasks.c.batch)
        here = sa.exists().where(task_payloads.c.job_id == tasks.c.job_id, task_payloads.c.name == RESULTS)
        query = (
            sa.select(tasks.c.job_id, tasks.c.attempt, sa.and_(tasks.c.success, ~here).label("has_blobs"))
            .where(tasks.c.finished_at < now() - older_than, ~due, ~in_batch)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [PurgeableTask(**row) for row in connection.execute(query).mappings()]
