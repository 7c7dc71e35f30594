"""Tasks in the store: accepted, queued, claimed and ended."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from callback_sdk.models import CANCELED, FINISHED, IN_PROGRESS, PENDING
from callback_sdk.redaction import strip_traceback
from callback_sdk.service.store import expiry, idempotency, outcomes, rows, stages, usage, versions
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import (
    DELIVERY_PENDING,
    FEATURES,
    RESULTS,
    AcceptedTask,
    Claim,
    DeliveringWorker,
    DueDeliveries,
    IdempotencyKey,
    PurgeableTask,
    RunOutcome,
    Submission,
    TaskRow,
)
from callback_sdk.service.store.submissions import insert_all
from callback_sdk.service.store.tables import deliveries, task_payloads, tasks

OUTCOMES = {"succeeded": True, "failed": False}
"""Filters of finished tasks, and whether these succeeded."""

CANCELED_ERROR = "The task was canceled."

_NOT_COLUMNS = (RESULTS, "trained_version", "size", "model_size", "output_size")
# These statements are built once: building one takes longer than running it.
_JOB_ID: sa.BindParameter[str] = sa.bindparam("_job")
_WORKER: sa.BindParameter[str] = sa.bindparam("_worker")

_SELECT_TASK = sa.select(tasks).where(tasks.c.job_id == _JOB_ID)
_SELECT_TASK_OF_OWNER = _SELECT_TASK.where(tasks.c.owner == sa.bindparam("_owner"))

_SELECT_QUEUED = (
    sa.select(tasks.c.job_id)
    .where(
        tasks.c.status == PENDING,
        sa.or_(
            tasks.c.dispatched_at.is_(None),
            tasks.c.dispatched_at < now() - sa.bindparam("_again_after", type_=sa.Double),
        ),
    )
    .order_by(tasks.c.priority.desc(), tasks.c.created_at)
    .limit(sa.bindparam("_limit", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)
_SELECT_QUEUED_OF = _SELECT_QUEUED.where(tasks.c.algorithm.in_(sa.bindparam("_algorithms", expanding=True)))
_UPDATE_DISPATCHED = (
    tasks.update().where(tasks.c.job_id.in_(sa.bindparam("_jobs", expanding=True))).values(dispatched_at=now())
)

_UPDATE_CLAIMED = (
    tasks.update()
    .where(tasks.c.job_id == _JOB_ID, tasks.c.status == PENDING, expiry.IS_CURRENT)
    .values(status=IN_PROGRESS, attempt=tasks.c.attempt + 1, worker=_WORKER, heartbeat_at=now(), started_at=now())
    .returning(
        *(tasks.c[name] for name in TaskRow.__annotations__), tasks.c.attempt, rows.payload_column(_JOB_ID, FEATURES)
    )
)
_SELECT_CLAIMED_BY = sa.select(tasks.c.job_id, tasks.c.attempt).where(
    tasks.c.worker == _WORKER, tasks.c.status == IN_PROGRESS
)


class TaskStore:
    """Tasks in a database.

    Args:
        database: The database.
        cipher: Encrypts the targets' credentials.
    """

    def __init__(self, database: Database, cipher: CredentialCipher) -> None:
        self._database = database
        self._cipher = cipher

    def submit(
        self, submissions: Sequence[Submission], key: IdempotencyKey | None = None, *, max_bytes: float = math.inf
    ) -> list[AcceptedTask]:
        """Store tasks and their deliveries, all or none, durably.

        Args:
            submissions: Tasks of one owner.
            key: Idempotency key.
            max_bytes: Storage quota of the owner, in bytes.

        Returns:
            The tasks, in order; those of the first request if the key is known.

        Raises:
            IdempotencyConflictError: The key was used for a different request.
            StorageQuotaError: The owner's tasks would exceed the quota.
            StoreUnavailableError: The database can't be written.
        """
        # Encrypted before the transaction, so that no error of a statement can show a credential.
        targets = [
            rows.delivery(item, position, self._cipher) | {"stage": stage}
            for item in submissions
            for position, stage in enumerate(stages.stages(item))
        ]

        def insert(connection: sa.Connection) -> list[AcceptedTask]:
            if (
                key is not None
                and (known := idempotency.find_job_ids(connection, submissions[0].task.owner, key)) is not None
            ):
                return [AcceptedTask(job_id) for job_id in known]
            accepted, size = insert_all(connection, submissions, targets, key)
            usage.reserve(connection, submissions[0].task.owner, size, max_bytes)
            return accepted

        try:
            return self._database.write(insert)
        except sa.exc.IntegrityError as error:
            if key is None:
                raise strip_traceback(error) from None
        # The same request was sent twice concurrently, and the other one was first.
        return self._database.write(insert)

    def repeated(self, owner: str, key: IdempotencyKey) -> list[str] | None:
        """Return the tasks of an earlier request with the same key; None if there was none.

        Raises:
            IdempotencyConflictError: The key was used for a different request.
        """
        with self._database.read() as connection:
            return idempotency.find_job_ids(connection, owner, key)

    def get(self, job_id: str, *, owner: str | None = None) -> dict[str, Any] | None:
        """Return the columns of a task; None if it doesn't exist, or belongs to another user.

        Args:
            job_id: The task.
            owner: Id of the requesting user; None for the service itself.
        """
        query = _SELECT_TASK if owner is None else _SELECT_TASK_OF_OWNER
        with self._database.read() as connection:
            row = connection.execute(query, {"_job": job_id, "_owner": owner}).mappings().first()
        return dict(row) if row else None

    def page(
        self,
        owner: str,
        *,
        status: str | None = None,
        algorithm: str | None = None,
        after: tuple[float, str] | None = None,
        limit: int,
    ) -> list[dict[str, Any]]:
        """Return a page of a user's tasks, newest first.

        Args:
            owner: Id of the user.
            status: Only tasks with this status, or finished tasks with the outcome `succeeded` or `failed`.
            algorithm: Only tasks of this algorithm.
            after: `created_at` and `job_id` of the last task of the previous page.
            limit: Maximum number.
        """
        shown = [column for column in tasks.c if column.name not in ("parameters", "options", "result_offsets")]
        query = sa.select(*shown).where(tasks.c.owner == owner)
        if status in OUTCOMES:
            query = query.where(tasks.c.status == FINISHED, tasks.c.success.is_(OUTCOMES[status]))
        elif status is not None:
            query = query.where(tasks.c.status == status)
        if algorithm is not None:
            query = query.where(tasks.c.algorithm == algorithm)
        if after is not None:
            query = query.where(sa.tuple_(tasks.c.created_at, tasks.c.job_id) < sa.tuple_(*map(sa.literal, after)))
        query = query.order_by(tasks.c.created_at.desc(), tasks.c.job_id.desc()).limit(limit)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def results(self, job_id: str) -> bytes | None:
        """Return the results of a task; None if there are none or they are in the blob storage."""
        with self._database.read() as connection:
            return rows.payload(connection, job_id, RESULTS)

    def unfinished(self) -> list[str]:
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

    def unknown(self, algorithms: Collection[str]) -> list[str]:
        """Return the names of algorithms that have queued tasks, but are not in the given ones."""
        query = sa.select(tasks.c.algorithm).where(tasks.c.status == PENDING, tasks.c.algorithm.not_in(algorithms))
        with self._database.read() as connection:
            return list(connection.execute(query.distinct()).scalars())

    def end_waiting(self, algorithm: str, error: str) -> list[str]:
        """Fail the queued tasks of an algorithm, and return their ids."""
        return outcomes.fail_queued(self._database, tasks.c.algorithm == algorithm, {"error": error})

    def end_expired(self, problem: str | None = None) -> list[str]:
        """Fail the queued tasks that have expired, and return their ids; see `expiry.end_expired`."""
        return expiry.end_expired(self._database, problem)

    def purgeable(self, *, older_than: float, limit: int) -> list[PurgeableTask]:
        """Return tasks that ended long ago and have no pending deliveries.

        Args:
            older_than: Seconds since their end.
            limit: Maximum number.
        """
        due = sa.exists().where(deliveries.c.job_id == tasks.c.job_id, deliveries.c.status == DELIVERY_PENDING)
        here = sa.exists().where(task_payloads.c.job_id == tasks.c.job_id, task_payloads.c.name == RESULTS)
        query = (
            sa.select(tasks.c.job_id, tasks.c.attempt, sa.and_(tasks.c.success, ~here).label("has_blobs"))
            .where(tasks.c.finished_at < now() - older_than, ~due)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [PurgeableTask(**row) for row in connection.execute(query).mappings()]

    def delete(self, job_ids: Sequence[str]) -> None:
        """Delete tasks with all their rows, but not their blobs."""
        gone = tasks.delete().where(tasks.c.job_id.in_(job_ids)).returning(tasks.c.owner, tasks.c.stored_bytes)

        def delete(connection: sa.Connection) -> None:
            usage.release(connection, rows.pairs(connection.execute(gone)))

        self._database.write(delete)

    def bytes_of(self, owner: str) -> int:
        """Return the bytes that a user's tasks take."""
        with self._database.read() as connection:
            return usage.used(connection, owner)

    def fetch_due(self, limit: int, *, algorithms: Collection[str] | None = None, redispatch_after: float) -> list[str]:
        """Return queued tasks that were not dispatched recently, highest priority first, and mark them as dispatched.

        Args:
            limit: Maximum number.
            algorithms: Only tasks of these algorithms; None for all.
            redispatch_after: Seconds after which a task that was dispatched, but not claimed, is dispatched again.
        """
        query = _SELECT_QUEUED if algorithms is None else _SELECT_QUEUED_OF
        values = {"_limit": limit, "_again_after": redispatch_after, "_algorithms": list(algorithms or ())}

        def mark(connection: sa.Connection) -> list[str]:
            taken = list(connection.execute(query, values).scalars())
            if taken:
                connection.execute(_UPDATE_DISPATCHED, {"_jobs": taken})
            return taken

        return self._database.write(mark)

    def dispatched(self, algorithms: Collection[str], *, since: float) -> list[str]:
        """Return those of the given algorithms that have a task which was dispatched, but not claimed.

        Args:
            algorithms: Names of algorithms.
            since: Only tasks dispatched at or after this time of the database's clock.
        """
        # One index lookup per algorithm. DISTINCT would read all queued tasks: neither database skips in an index scan.
        queries = [
            sa.select(sa.literal(name)).where(
                sa.exists().where(tasks.c.status == PENDING, tasks.c.algorithm == name, tasks.c.dispatched_at >= since)
            )
            for name in algorithms
        ]
        if not queries:
            return []
        with self._database.read() as connection:
            return list(connection.execute(sa.union_all(*queries)).scalars())

    def claim(self, job_id: str, worker: str) -> Claim | None:
        """Claim a queued task; None if it is no longer queued, or has expired.

        Args:
            job_id: The task.
            worker: The worker that claims it.
        """

        for row in self._database.write_one(_UPDATE_CLAIMED, {"_job": job_id, "_worker": worker}):
            task = TaskRow(**{name: getattr(row, name) for name in TaskRow.__annotations__})
            return Claim(task=task, attempt=row.attempt, features=row.data)
        return None

    def claimed(self, worker: str) -> dict[str, int]:
        """Return the tasks that a worker has claimed, with their attempts."""
        with self._database.read() as connection:
            return dict(rows.pairs(connection.execute(_SELECT_CLAIMED_BY, {"_worker": worker})))

    def heartbeat(self, worker: str, running: Mapping[str, dict[str, Any] | None]) -> None:
        """Renew the leases of a worker's tasks, and store their progress.

        Args:
            worker: The worker.
            running: Its tasks with their progress; None for progress that has not changed.
        """
        mine = (tasks.c.worker == worker, tasks.c.status == IN_PROGRESS)

        def renew(connection: sa.Connection) -> None:
            connection.execute(tasks.update().where(*mine, tasks.c.job_id.in_(running)).values(heartbeat_at=now()))
            for job_id, progress in running.items():
                if progress is not None:
                    connection.execute(tasks.update().where(*mine, tasks.c.job_id == job_id).values(progress=progress))

        self._database.write(renew)

    def finish(
        self, job_id: str, attempt: int, ending: RunOutcome, sender: DeliveringWorker | None = None
    ) -> DueDeliveries | None:
        """End a task and make its deliveries due.

        Args:
            job_id: The task.
            attempt: The claim.
            ending: The outcome of its run.
            sender: The worker that sends due deliveries at once; None to leave them to the dispatcher.

        Returns:
            What to deliver now; None if this run has lost its claim.
        """
        values = {
            name: getattr(ending, name) for name in RunOutcome.__annotations__ if name not in _NOT_COLUMNS
        } | {"worker": None}  # fmt: skip

        def end(connection: sa.Connection) -> DueDeliveries | None:
            sizes = (ending.size + ending.output_size, ending.model_size)
            ended = outcomes.finish(
                connection, job_id, values, attempt=attempt, results=ending.results, sizes=sizes, sender=sender
            )
            if ended is None and outcomes.is_finished(connection, job_id, attempt, success=ending.success):
                # An earlier attempt of this call was committed, but its response was lost. The deliveries that it
                # claimed are unknown here. Nobody renews their leases, so the dispatcher reclaims them soon.
                return DueDeliveries()
            if ended is not None and ending.trained_version is not None:
                versions.insert(connection, job_id, *ending.trained_version)
            return ended

        return self._database.write_with_retry(end)

    def release(self, job_id: str, attempt: int, *, later: bool = False) -> bool:
        """Requeue a task whose run was interrupted through no fault of its own. This isn't counted as a crash.

        Args:
            job_id: The task.
            attempt: The claim.
            later: Whether to delay its next dispatch, because a dependency is unavailable.
        """
        values = outcomes.REQUEUED | ({"dispatched_at": now()} if later else {})
        back = tasks.update().where(*outcomes.is_claim(job_id, attempt)).values(values)
        return self._database.write_with_retry(lambda connection: bool(connection.execute(back).rowcount))

    def record_crash(
        self, job_id: str, attempt: int, reason: str, sender: DeliveringWorker | None = None
    ) -> DueDeliveries | None:
        """Requeue a task whose worker process died, or fail it after `MAX_CRASHES`.

        Args:
            job_id: The task.
            attempt: The claim.
            reason: The cause; part of the error of a failed task.
            sender: The worker that sends due deliveries at once; None to leave them to the dispatcher.

        Returns:
            What to deliver now; None if the task was requeued, or the claim was lost.
        """
        return self._database.write_with_retry(
            lambda connection: outcomes.record_crash(connection, job_id, attempt, reason, sender)
        )

    def cancel(self, job_id: str) -> str | None:
        """Cancel a task unless it has ended.

        Returns:
            Its status afterwards; None if it doesn't exist.
        """

        def stop(connection: sa.Connection) -> str | None:
            outcomes.finish(connection, job_id, {"success": False, "error": CANCELED_ERROR}, status=CANCELED)
            return connection.execute(sa.select(tasks.c.status).where(tasks.c.job_id == job_id)).scalar()

        return self._database.write(stop)

    def reclaim(self, *, worker: str | None = None, silent_for: float = 0.0) -> list[tuple[str, int]]:
        """Reclaim the tasks of dead workers.

        Args:
            worker: A worker that is known to be dead; None for all whose lease has expired.
            silent_for: Seconds without a heartbeat after which a lease has expired.

        Returns:
            Ids and attempts of the tasks.
        """
        dead = [tasks.c.status == IN_PROGRESS]
        if worker is not None:
            dead.append(tasks.c.worker == worker)
            reason = "the service was killed during the run"
        else:
            dead.append(sa.func.coalesce(tasks.c.heartbeat_at, 0.0) < now() - silent_for)
            reason = "the lease of its worker expired"
        query = sa.select(tasks.c.job_id, tasks.c.attempt).where(*dead).order_by(tasks.c.owner)
        query = query.with_for_update(skip_locked=True)

        def reclaim(connection: sa.Connection) -> list[tuple[str, int]]:
            shard = usage.shard()
            claimed = [(job_id, attempt) for job_id, attempt in connection.execute(query)]
            for job_id, attempt in claimed:
                outcomes.record_crash(connection, job_id, attempt, reason, shard=shard)
            return claimed

        return self._database.write(reclaim)
