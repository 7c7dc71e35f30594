"""The engine inside the service: threads, each with a child process of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from callback_sdk.service.process import CANCEL, SHUTDOWN, ChildProcess, Stop
from callback_sdk.service.runner import Runner

_log = logging.getLogger(__name__)


class EmbeddedEngine:
    """Runs tasks on this machine.

    Args:
        runner: What is done with each task.
        registry: Name of the registry, for the child processes.
        processes: How many tasks run at once.
        ended: Called with the id of each task that no longer runs here, for whatever reason.
    """

    def __init__(self, runner: Runner, *, registry: str, processes: int, ended: Callable[[str], None]) -> None:
        self._runner = runner
        self._ended = ended
        self._registry = registry
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._stops: dict[str, Stop] = {}
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True) for number in range(processes)
        ]

    def start(self) -> None:
        """Take up the work."""
        for thread in self._threads:
            thread.start()

    def send(self, job_id: str) -> None:
        """Queue a task, unless it is queued or runs already."""
        with self._lock:
            if self._closed or job_id in self._stops:
                return
            self._stops[job_id] = Future()
            self._queue.put(job_id)

    def cancel(self, job_id: str) -> None:
        """Kill the process that runs a task."""
        with self._lock:
            stop = self._stops.get(job_id)
        if stop is not None:
            _resolve(stop, CANCEL)

    def close(self) -> None:
        """Kill what runs and give it back; end the threads."""
        with self._lock:
            self._closed = True
            stops = list(self._stops.values())
        for stop in stops:
            _resolve(stop, SHUTDOWN)
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _work(self) -> None:
        child = ChildProcess(self._registry)
        try:
            while (job_id := self._queue.get()) is not None:
                with self._lock:
                    stop = self._stops[job_id]
                try:
                    if not stop.done():
                        self._runner.run(job_id, child, stop)
                except Exception:  # noqa: BLE001 - the worker must outlive every fault
                    _log.exception("Task %s could not be taken up; the dispatcher brings it again.", job_id)
                with self._lock:
                    del self._stops[job_id]
                self._ended(job_id)
        finally:
            child.close()


def _resolve(stop: Stop, reason: str) -> None:
    with suppress(InvalidStateError):
        stop.set_result(reason)
