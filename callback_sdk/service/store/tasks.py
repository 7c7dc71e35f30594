"""Tasks in the store: accepted, queued, claimed and ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from callback_sdk.models import CANCELED, IN_PROGRESS, PENDING
from callback_sdk.redaction import strip_traceback
from callback_sdk.service.store import (
    batches,
    expiry,
    idempotency,
    outcomes,
    rows,
    stages,
    subscriptions,
    usage,
    versions,
)
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import (
    FEATURES,
    RESULTS,
    AcceptedTask,
    Claim,
    DeliveringWorker,
    DueDeliveries,
    IdempotencyKey,
    NewBatch,
    ReclaimedTask,
    RunOutcome,
    Submission,
    TaskRow,
)
from callback_sdk.service.store.pauses import IS_PAUSED
from callback_sdk.service.store.submissions import insert_all
from callback_sdk.service.store.tables import tasks
from callback_sdk.service.store.task_reader import TaskReader

T = TypeVar("T")

CANCELED_ERROR = "The task was canceled."

_NOT_COLUMNS = (RESULTS, "trained_version", "size", "model_size", "output_size")
# These statements are built once: building one takes longer than running it.
_JOB_ID: sa.BindParameter[str] = sa.bindparam("_job")
_WORKER: sa.BindParameter[str] = sa.bindparam("_worker")

_UPDATE_CLAIMED = (
    tasks.update()
    .where(tasks.c.job_id == _JOB_ID, tasks.c.status == PENDING, expiry.IS_CURRENT, ~IS_PAUSED)
    .values(status=IN_PROGRESS, attempt=tasks.c.attempt + 1, worker=_WORKER, heartbeat_at=now(), started_at=now())
    .returning(
        *(tasks.c[name] for name in TaskRow.__annotations__), tasks.c.attempt, rows.payload_column(_JOB_ID, FEATURES)
    )
)


class TaskStore(TaskReader):
    """Reads and changes the tasks in a database.

    Args:
        database: The database.
        cipher: Encrypts the targets' credentials.
    """

    def __init__(self, database: Database, cipher: CredentialCipher) -> None:
        super().__init__(database)
        self._cipher = cipher
        self._changes = database.changes

    def submit(
        self,
        submissions: Sequence[Submission],
        key: IdempotencyKey | None = None,
        *,
        max_bytes: float = math.inf,
        batch: NewBatch | None = None,
    ) -> list[AcceptedTask]:
        """Store tasks and their deliveries, all or none, durably.

        Args:
            submissions: Tasks of one owner.
            key: Idempotency key.
            max_bytes: Storage quota of the owner, in bytes.
            batch: The batch that they belong to, if a target waits for its end.

        Returns:
            The tasks, in order; those of the first request if the key is known.

        Raises:
            IdempotencyConflictError: The key was used for a different request.
            BatchConflictError: Earlier requests of the batch have another algorithm or target.
            StorageQuotaError: The owner's tasks would exceed the quota.
            StoreUnavailableError: The database can't be written.
        """
        # Encrypted before the transaction, so that no error of a statement can show a credential.
        targets = [
            rows.delivery(item, position, self._cipher)
            | {"stage": stage, **subscriptions.columns(item.targets[position])}
            for item in submissions
            for position, stage in enumerate(stages.stages(item))
        ]

        end = None if batch is None else rows.target_columns(batch.target, self._cipher)

        def insert(connection: sa.Connection) -> list[AcceptedTask]:
            if (
                key is not None
                and (known := idempotency.find_job_ids(connection, submissions[0].task.owner, key)) is not None
            ):
                return [AcceptedTask(job_id) for job_id in known]
            first = submissions[0].task
            own = (
                None
                if batch is None or end is None
                else batches.add(connection, batch, first.owner, first.algorithm, end, self._cipher)
            )
            accepted, size = insert_all(connection, submissions, targets, key, batch=own)
            usage.reserve(connection, submissions[0].task.owner, size, max_bytes)
            return accepted

        try:
            accepted = self._database.write(insert)
        except sa.exc.IntegrityError as error:
            if key is None:
                raise strip_traceback(error) from None
            # The same request was sent twice concurrently, and the other one was first.
            accepted = self._database.write(insert)
        self._changes.publish([task.job_id for task in accepted if task.created_at is not None])
        return accepted

    def end_waiting(self, algorithm: str, error: str) -> list[str]:
        """Fail the queued tasks of an algorithm, and return their ids."""
        return outcomes.fail_queued(self._database, tasks.c.algorithm == algorithm, {"error": error})

    def end_expired(self, problem: str | None = None) -> list[str]:
        """Fail the queued tasks that have expired, and return their ids; see `expiry.end_expired`."""
        return expiry.end_expired(self._database, problem)

    def delete(self, job_ids: Sequence[str]) -> None:
        """Delete tasks with all their rows, but not their blobs."""
        gone = tasks.delete().where(tasks.c.job_id.in_(job_ids)).returning(tasks.c.owner, tasks.c.stored_bytes)

        def delete(connection: sa.Connection) -> None:
            found = rows.pairs(connection.execute(gone))
            usage.add_all(connection, [(owner, -count) for owner, count in found])

        self._database.write(delete)
        self._changes.publish(job_ids)

    def claim(self, job_id: str, worker: str) -> Claim | None:
        """Claim a queued task; None if it is no longer queued, has expired, or its algorithm is paused.

        Args:
            job_id: The task.
            worker: The worker that claims it.
        """

        for row in self._database.write_one(_UPDATE_CLAIMED, {"_job": job_id, "_worker": worker}):
            self._changes.publish([job_id])
            task = TaskRow(**{name: getattr(row, name) for name in TaskRow.__annotations__})
            return Claim(task=task, attempt=row.attempt, features=row.data)
        return None

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
        self._changes.publish([job_id for job_id, progress in running.items() if progress is not None])

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

        return self._publish(job_id, self._database.write_with_retry(end))

    def release(self, job_id: str, attempt: int, *, later: bool = False) -> bool:
        """Requeue a task whose run was interrupted through no fault of its own. This isn't counted as a crash.

        Args:
            job_id: The task.
            attempt: The claim.
            later: Whether to delay its next dispatch, because a dependency is unavailable.
        """
        values = outcomes.REQUEUED | ({"dispatched_at": now()} if later else {})
        back = tasks.update().where(*outcomes.is_claim(job_id, attempt)).values(values)
        return self._publish(
            job_id, self._database.write_with_retry(lambda connection: bool(connection.execute(back).rowcount))
        )

    def release_all(self) -> int:
        """Requeue all running tasks, and return their number: in a restored database, no worker has a claim."""
        back = tasks.update().where(tasks.c.status == IN_PROGRESS).values(outcomes.REQUEUED)
        return self._database.write(lambda connection: connection.execute(back).rowcount)

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
        ended = self._database.write_with_retry(
            lambda connection: outcomes.record_crash(connection, job_id, attempt, reason, sender)
        )
        return self._publish(job_id, ended)

    def cancel(self, job_id: str) -> str | None:
        """Cancel a task unless it has ended.

        Returns:
            Its status afterwards; None if it doesn't exist.
        """

        def stop(connection: sa.Connection) -> str | None:
            outcomes.finish(connection, job_id, {"success": False, "error": CANCELED_ERROR}, status=CANCELED)
            return connection.execute(sa.select(tasks.c.status).where(tasks.c.job_id == job_id)).scalar()

        return self._publish(job_id, self._database.write(stop))

    def reclaim(self, *, worker: str | None = None, silent_for: float = 0.0) -> list[ReclaimedTask]:
        """Requeue the tasks of dead workers, or fail those whose runs have crashed too often.

        Args:
            worker: A worker that is known to be dead; None for all whose lease has expired.
            silent_for: Seconds without a heartbeat after which a lease has expired.
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

        def reclaim(connection: sa.Connection) -> list[ReclaimedTask]:
            shard, found = usage.shard(), []
            for job_id, attempt in connection.execute(query).all():
                ended = outcomes.record_crash(connection, job_id, attempt, reason, shard=shard)
                found.append(ReclaimedTask(job_id, attempt, has_failed=ended is not None))
            return found

        reclaimed = self._database.write(reclaim)
        self._changes.publish([one.job_id for one in reclaimed])
        return reclaimed

    def _publish(self, job_id: str, outcome: T) -> T:
        """Publish a change that was committed, and return its outcome."""
        self._changes.publish([job_id])
        return outcome
