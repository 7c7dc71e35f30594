"""The service without its web face: what is accepted, canceled and delivered again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from attrs import define, evolve, field

from callback_sdk.service.blobs import features_name
from callback_sdk.service.blobs.removals import BlobRemover
from callback_sdk.service.dispatcher import Dispatcher
from callback_sdk.service.engines import Engine
from callback_sdk.service.housekeeping import Housekeeper
from callback_sdk.service.metrics import TASKS_ACCEPTED
from callback_sdk.service.runtime import Runtime
from callback_sdk.service.store import AcceptedTask, IdempotencyKey, StoreUnavailableError, Submission


@define(frozen=True, kw_only=True)
class TaskRequest:
    """One task as it came, checked.

    Attributes:
        submission: The task and its targets.
        features: Its data, or the file with them in the scratch folder, which several tasks may share.
    """

    submission: Submission
    features: Path | bytes = field(repr=False)


class TaskService:
    """Holds the parts of the service together.

    Args:
        runtime: What the service is made of.
        engine: Brings tasks to workers.
        dispatcher: Sends what is due to the engine.
        housekeeper: Looks after what is old.
    """

    def __init__(
        self, runtime: Runtime, *, engine: Engine, dispatcher: Dispatcher, housekeeper: Housekeeper
    ) -> None:  # fmt: skip
        self.runtime = runtime
        self.store = runtime.store
        self.blobs = runtime.blobs
        self.scratch = runtime.scratch
        self.registry = runtime.registry
        self.engine = engine
        self._dispatcher = dispatcher
        self._housekeeper = housekeeper
        self._removals = BlobRemover(runtime.blobs)

    def start(self) -> None:
        """Take up the work."""
        self._housekeeper.start()
        self._removals.start()
        self.engine.start()
        self._dispatcher.start()

    def close(self) -> None:
        """Begin nothing new, and give what runs its grace; the rest goes on at the next start."""
        self._housekeeper.close()
        self._removals.close()
        self._dispatcher.close()
        self.engine.close()

    def submit(
        self, received: Sequence[TaskRequest], key: IdempotencyKey | None = None, *, max_bytes: float = math.inf
    ) -> list[AcceptedTask]:
        """Accept tasks for good, all or none.

        Args:
            received: Tasks of one owner.
            key: Makes a repetition of the request harmless.
            max_bytes: Bytes that the owner's tasks may take.

        Returns:
            The tasks, in order; those of the first time when the key has come before.

        Raises:
            StorageQuotaError: The owner's tasks would take more.
            IdempotencyConflictError: The key has come with another request.
            StoreUnavailableError: The database can't be written. Nothing is accepted.
            BlobStorageError: The features can't be kept. Nothing is accepted.
        """
        kept: list[str] = []
        try:
            firsts: dict[Path, str] = {}
            # Before any is moved to the blobs.
            sizes = [_size(item.features) for item in received]
            submissions = [
                evolve(self._kept(item, kept, firsts), size=size) for item, size in zip(received, sizes, strict=True)
            ]
            accepted = self.store.tasks.submit(submissions, key, max_bytes=max_bytes)
        except StoreUnavailableError:
            # Perhaps it was committed all the same; features without a task are cleaned away in time.
            raise
        except BaseException:
            self._forget(*kept)
            raise
        new = {task.job_id for task in accepted if task.created_at is not None}
        self._forget(*(job_id for job_id in kept if job_id not in new))
        TASKS_ACCEPTED.inc(len(new))
        self.runtime.wakeup.set()
        return accepted

    def cancel(self, job_id: str) -> str | None:
        """Cancel a task unless it has ended.

        Returns:
            Its status now; None when there is no such task.
        """
        status = self.store.tasks.cancel(job_id)
        if status is not None:
            self.engine.cancel(job_id)
            self._forget(job_id)
            self.runtime.wakeup.set()
        return status

    def redeliver(self, job_id: str, delivery_id: str) -> bool:
        """Make a delivery due at once, whatever has become of it; False while the task has not ended."""
        due = self.store.deliveries.redeliver(job_id, delivery_id)
        self.runtime.wakeup.set()
        return due

    def check(self) -> None:
        """Make sure that everything that the service needs can be reached, and that its threads run.

        Raises:
            CallbackSDKError: The text says what can't.
        """
        # First, as they need no time: one that has ended is the cause of whatever else is wrong.
        self._dispatcher.check()
        self._housekeeper.check()
        self._removals.check()
        self.scratch.check()
        self.store.check()
        self.blobs.check()
        self.engine.check()

    def _kept(self, item: TaskRequest, kept: list[str], firsts: dict[Path, str]) -> Submission:
        if isinstance(item.features, bytes):
            return evolve(item.submission, features=item.features)
        job_id = item.submission.task.job_id
        # Each task has features of its own, which are forgotten when it ends; of those that share a file the first
        # one takes it over.
        first = firsts.get(item.features)
        if first is not None:
            kept.append(job_id)
            self.blobs.copy(features_name(first), features_name(job_id))
        else:
            kept.append(job_id)
            firsts[item.features] = job_id
            self.blobs.keep(item.features, features_name(job_id))
        return item.submission

    def _forget(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self._removals.remove(features_name(job_id))


def _size(features: Path | bytes) -> int:
    return len(features) if isinstance(features, bytes) else features.stat().st_size
