"""The service's application layer, independent of HTTP: submission, cancellation and redelivery."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from callback_sdk.service.blobs import features_name
from callback_sdk.service.blobs.removals import BlobRemover
from callback_sdk.service.dispatcher import Dispatcher
from callback_sdk.service.engines import Engine
from callback_sdk.service.housekeeping import Housekeeper
from callback_sdk.service.metrics import TASKS_ACCEPTED
from callback_sdk.service.runtime import Runtime
from callback_sdk.service.store import AcceptedTask, IdempotencyKey, StoreUnavailableError, Submission, subscriptions
from callback_sdk.service.store.models import NewBatch
from callback_sdk.service.store.replacements import NewTarget
from callback_sdk.service.supervision.threads import SupervisedThread

if TYPE_CHECKING:
    from callback_sdk.service.alerts.alerter import Alerter


@define(frozen=True, kw_only=True)
class TaskRequest:
    """A validated submission.

    Attributes:
        submission: The task and its targets.
        features: The features, or their file in the scratch directory, which several tasks may share.
    """

    submission: Submission
    features: Path | bytes = field(repr=False)


class TaskService:
    """The service's application layer, independent of HTTP.

    Args:
        runtime: The components of this process.
        engine: Transports tasks to workers.
        dispatcher: Dispatches due tasks and deliveries to the engine.
        housekeeper: Removes expired data.
        alerter: Sends alerts; None to send none.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        engine: Engine,
        dispatcher: Dispatcher,
        housekeeper: Housekeeper,
        alerter: Alerter | None = None,
    ) -> None:
        self.runtime = runtime
        self.store = runtime.store
        self.blobs = runtime.blobs
        self.scratch = runtime.scratch
        self.registry = runtime.registry
        self.engine = engine
        self._dispatcher = dispatcher
        self._housekeeper = housekeeper
        self._alerter = alerter
        self._removals = BlobRemover(runtime.blobs)
        self._stopping = threading.Event()
        self._follower = SupervisedThread(
            partial(self.store.database.follow, self._stopping), name="changes", stopping=self._stopping
        )

    def start(self) -> None:
        """Start the threads."""
        self._housekeeper.start()
        self._removals.start()
        self._follower.start()
        self.engine.start()
        self._dispatcher.start()
        if self._alerter is not None:
            self._alerter.start()

    def close(self) -> None:
        """Start nothing new, and wait for running tasks until the shutdown timeout; the next start runs the others."""
        if self._alerter is not None:
            self._alerter.close()
        self._housekeeper.close()
        self._removals.close()
        self._dispatcher.close()
        self.engine.close()
        self._stopping.set()
        self._follower.join()

    def submit(
        self,
        received: Sequence[TaskRequest],
        key: IdempotencyKey | None = None,
        *,
        max_bytes: float = math.inf,
        batch: NewBatch | None = None,
    ) -> list[AcceptedTask]:
        """Accept tasks durably, all or none.

        Args:
            received: Tasks of one owner.
            key: Idempotency key.
            max_bytes: Storage quota of the owner, in bytes.
            batch: The batch that they belong to, if a target waits for its end.

        Returns:
            The tasks, in order; those of the first request if the key is known.

        Raises:
            AlgorithmPausedError: An algorithm is paused, and accepts no tasks.
            OldWorkersError: A worker would deliver a result to a target that doesn't subscribe to it.
            BatchConflictError: Earlier requests of the batch have another algorithm or target.
            StorageQuotaError: The owner's tasks would exceed the quota.
            IdempotencyConflictError: The key was used for a different request.
            StoreUnavailableError: The database can't be written. Nothing is accepted.
            BlobStorageError: The features can't be stored. Nothing is accepted.
        """
        self.store.pauses.check({item.submission.task.algorithm for item in received})
        if any(subscriptions.may_be_skipped(item.submission) for item in received):
            self.store.workers.check_skipping()
        stored_ids: list[str] = []
        try:
            first_copies: dict[Path, str] = {}
            # Before any features are moved to blob storage.
            sizes = [_size(item.features) for item in received]
            submissions = [
                evolve(self._store_features(item, stored_ids, first_copies), size=size)
                for item, size in zip(received, sizes, strict=True)
            ]
            accepted = self.store.tasks.submit(submissions, key, max_bytes=max_bytes, batch=batch)
        except StoreUnavailableError:
            # The transaction may have been committed anyway. Housekeeping removes features without a task.
            raise
        except BaseException:
            self._remove_features(*stored_ids)
            raise
        new = {task.job_id for task in accepted if task.created_at is not None}
        self._remove_features(*(job_id for job_id in stored_ids if job_id not in new))
        TASKS_ACCEPTED.inc(len(new))
        self.runtime.wakeup.set()
        return accepted

    def cancel(self, job_id: str) -> str | None:
        """Cancel a task unless it has ended.

        Returns:
            Its status afterwards; None if it doesn't exist.
        """
        status = self.store.tasks.cancel(job_id)
        if status is not None:
            self.engine.cancel(job_id)
            self._remove_features(job_id)
            self.runtime.wakeup.set()
        return status

    def redeliver(self, job_id: str, delivery_id: str, new: NewTarget | None = None) -> bool:
        """Make a delivery due at once, regardless of its status, and replace its target if there is a new one.

        Returns:
            False if the task has not ended, and no target was given.

        Raises:
            CallbackParamError: The new target would change the document.
            InvalidTargetError: One of its objects is that of another delivery, or it takes documents only.
        """
        due = self.store.deliveries.redeliver(job_id, delivery_id, new)
        self.runtime.wakeup.set()
        return due

    def check(self) -> None:
        """Check that all dependencies are available and all threads run.

        Raises:
            CallbackSDKError: A check failed; the message names it.
        """
        # Threads first: the check is cheap, and a thread that ended may cause the other failures.
        self._dispatcher.check()
        self._housekeeper.check()
        self._removals.check()
        self._follower.check()
        if self._alerter is not None:
            self._alerter.check()
        self.scratch.check()
        self.store.check()
        self.blobs.check()
        self.engine.check()

    def _store_features(self, item: TaskRequest, stored_ids: list[str], first_copies: dict[Path, str]) -> Submission:
        if isinstance(item.features, bytes):
            return evolve(item.submission, features=item.features)
        job_id = item.submission.task.job_id
        # Each task has separate features, which are deleted when it ends. Of the tasks that share a file, the first one
        # moves it, and the others copy it.
        first = first_copies.get(item.features)
        if first is not None:
            stored_ids.append(job_id)
            self.blobs.copy(features_name(first), features_name(job_id))
        else:
            stored_ids.append(job_id)
            first_copies[item.features] = job_id
            self.blobs.put(item.features, features_name(job_id))
        return item.submission

    def _remove_features(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self._removals.remove(features_name(job_id))


def _size(features: Path | bytes) -> int:
    return len(features) if isinstance(features, bytes) else features.stat().st_size
