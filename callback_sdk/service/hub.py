"""The service without its web face: what is accepted, run, delivered, shown and cancelled on one machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from callback_sdk.callbacks import Callback
from callback_sdk.service.blobs import Blobs, remove
from callback_sdk.service.deliverer import Deliverer, Writer
from callback_sdk.service.dispatcher import Dispatcher
from callback_sdk.service.engines.embedded import EmbeddedEngine
from callback_sdk.service.records import NewTask
from callback_sdk.service.registry import Registry
from callback_sdk.service.runner import Runner
from callback_sdk.service.store import Store

_log = logging.getLogger(__name__)


class Hub:
    """Holds the parts of the service together.

    Args:
        data: The folder of the database and the files; only one hub may use it.
        registry: What can be run.
        registry_name: How a child process finds the same registry.
        writer: What delivers.
        processes: How many tasks run at once.
    """

    def __init__(self, data: Path, *, registry: Registry, registry_name: str, writer: Writer, processes: int) -> None:
        self.registry = registry
        self.store = Store(data / "store.sqlite3")
        self.blobs = Blobs(data / "blobs")
        runner = Runner(store=self.store, blobs=self.blobs, registry=registry, registry_name=registry_name)
        self._engine = EmbeddedEngine(runner, registry=registry_name, processes=processes, ended=self._ended)
        self._deliverer = Deliverer(store=self.store, blobs=self.blobs, writer=writer, settled=self._settled)
        self._dispatcher = Dispatcher(store=self.store, engine=self._engine, deliverer=self._deliverer)

    def start(self) -> None:
        """Take back what an earlier process left, and take up the work."""
        lost = self.store.recover()
        for job_id, attempt in lost:
            remove(self.blobs.results(job_id, attempt))
        if lost:
            _log.warning("%d tasks were running when the service was stopped; they run again.", len(lost))
        self.blobs.clean(self.store.unfinished())
        self._engine.start()
        self._dispatcher.start()

    def close(self) -> None:
        """Break off what runs; everything goes on at the next start."""
        self._dispatcher.close()
        self._engine.close()
        self._deliverer.close()
        self.store.close()

    def submit(self, task: NewTask, features: Path, targets: Sequence[Callback]) -> None:
        """Accept a task for good.

        Args:
            task: The task.
            features: A received file, checked; it becomes the task's.
            targets: Where the result goes, checked.
        """
        self.blobs.keep_features(features, task.job_id)
        try:
            self.store.submit(task, targets)
        except BaseException:
            remove(self.blobs.features(task.job_id))
            raise
        self._dispatcher.wake()

    def cancel(self, job_id: str) -> str | None:
        """Cancel a task unless it has ended.

        Returns:
            Its status now; None when there is no such task.
        """
        status = self.store.cancel(job_id)
        if status is not None:
            self._engine.cancel(job_id)
            self.blobs.forget_run(job_id)
            self._dispatcher.deliver(job_id)
        return status

    def _ended(self, job_id: str) -> None:
        self._dispatcher.deliver(job_id)

    def _settled(self) -> None:
        self._dispatcher.wake()


def default_processes() -> int:
    """Return how many tasks run at once when nobody says: one for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
