"""Heartbeat of one worker process: renews the leases of its claims, stores progress and output, and stops lost runs."""

from __future__ import annotations

import logging
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from attrs import define

from callback_sdk._version import __version__
from callback_sdk.concurrency.leases import HEARTBEATS_PER_LEASE, LEASE_DURATION, run_heartbeat
from callback_sdk.service.files import read_progress
from callback_sdk.service.store import Claim, DeliveryClaim, Store, StoreUnavailableError, schema
from callback_sdk.service.store.workers import REPORT_INTERVAL, WorkerFacts
from callback_sdk.service.supervision.outages import OutageLog
from callback_sdk.service.supervision.threads import SupervisedThread
from callback_sdk.service.work.live_output import LiveOutput
from callback_sdk.service.work.outcome import CANCEL, StopSignal
from callback_sdk.service.work.task_events import RunEvents

_log = logging.getLogger(__name__)

CHECK_INTERVAL = 1.0
"""Seconds between checks that this worker still has its claims; a canceled task may continue to run for that long."""

_ROUND_TIMEOUT = 180.0
"""Seconds after which a check counts as hanging: more than the timeouts of the database."""


@define
class _ClaimedRun:
    attempt: int
    stop: StopSignal
    progress: Path
    output: LiveOutput
    events: RunEvents | None
    shown: dict[str, Any] | None = None


@define(frozen=True)
class _WorkerCapacity:
    algorithms: Sequence[str]
    slots: Callable[[], int]


class Heartbeat:
    """The claims of one worker process, and the thread that renews their leases and lists the worker.

    Args:
        store: The store.
        worker: The unique name of this process.
        lease: Time after the last heartbeat until the claims of this process expire.
    """

    def __init__(self, store: Store, worker: str, *, lease: timedelta = LEASE_DURATION) -> None:
        self.worker = worker
        self._interval = lease.total_seconds() / HEARTBEATS_PER_LEASE
        self._store = store
        self._lock = threading.Lock()
        self._runs: dict[str, _ClaimedRun] = {}
        self._sending: dict[str, int] = {}
        self._renewed_at = -self._interval
        self._announced: _WorkerCapacity | None = None
        self._reported_at = -math.inf
        self._stopping = threading.Event()
        self._outage = OutageLog(_log, failing="Heartbeat failed, retrying", working="Heartbeat works again")
        self._thread = SupervisedThread(
            self._loop, name="claims", stopping=self._stopping, round_timeout=_ROUND_TIMEOUT
        )

    def start(self) -> None:
        """Start the heartbeat."""
        self._thread.start()

    def announce(self, algorithms: Sequence[str], slots: Callable[[], int]) -> None:
        """List this worker from now on, with its heartbeat.

        Args:
            algorithms: Names of the algorithms that it takes tasks of.
            slots: Returns the number of tasks that it can run at the same time.
        """
        self._announced = _WorkerCapacity(algorithms, slots)

    def close(self) -> None:
        """Stop the heartbeat. Claims that are still held expire with their lease."""
        self._stopping.set()
        self._thread.join()
        if self._announced is not None:
            # Otherwise the worker is listed as lost.
            with suppress(StoreUnavailableError):
                self._store.workers.remove(self.worker)

    def check(self) -> None:
        """Check that the thread runs, because the leases of this worker expire without it.

        Raises:
            ThreadError: The thread has ended, or hangs.
        """
        self._thread.check()

    @contextmanager
    def running(
        self, claim: Claim, stop: StopSignal, progress: Path, output: LiveOutput, events: RunEvents | None = None
    ) -> Iterator[None]:
        """Keep a task claimed while it runs, and store its progress and output.

        Args:
            claim: The task.
            stop: Set to `CANCEL` when the claim is lost, for example because the task was canceled.
            progress: The file with the run's progress.
            output: The run's output.
            events: Sends the progress to targets; None without any that subscribe to it.
        """
        job_id = claim.task.job_id
        with self._lock:
            self._runs[job_id] = _ClaimedRun(claim.attempt, stop, progress, output, events)
        try:
            yield
        finally:
            with self._lock:
                self._runs.pop(job_id, None)

    @contextmanager
    def sending(self, claim: DeliveryClaim) -> Iterator[None]:
        """Keep a delivery claimed while it is attempted."""
        with self._lock:
            self._sending[claim.delivery_id] = claim.attempt
        try:
            yield
        finally:
            with self._lock:
                self._sending.pop(claim.delivery_id, None)

    def store_output(self, job_id: str) -> None:
        """Store what a run has printed until now, if it runs here and the database is available."""
        with self._lock:
            run = self._runs.get(job_id)
        if run is not None:
            _store_output(run)

    def stop_runs(self, reason: str) -> None:
        """Stop all runs."""
        with self._lock:
            stops = [run.stop for run in self._runs.values()]
        for stop in stops:
            stop.request(reason)

    def _loop(self) -> None:
        run_heartbeat(
            self._run_round, wait=lambda: self._stopping.wait(CHECK_INTERVAL), failed=self._outage.record_failure
        )

    def _run_round(self) -> None:
        is_due = time.monotonic() - self._renewed_at >= self._interval
        try:
            self._check_and_renew(is_due)
        finally:
            self._thread.complete_round()
        self._outage.record_recovery()
        if is_due:
            self._renewed_at = time.monotonic()

    def _check_and_renew(self, is_due: bool) -> None:
        with self._lock:
            runs, sending = dict(self._runs), list(self._sending)
        if runs:
            self._drop_lost(runs)
        changed = {job_id: _progress_change(run) for job_id, run in runs.items()}
        if runs and (is_due or any(changed.values())):
            self._store.tasks.heartbeat(self.worker, changed)
        for job_id, progress in changed.items():
            _report(runs[job_id], progress)
        if sending and is_due:
            self._store.deliveries.heartbeat(self.worker, sending)
        # After the leases, which are more important.
        for run in runs.values():
            run.output.update()
        if self._announced is not None and time.monotonic() - self._reported_at >= REPORT_INTERVAL:
            self._store.workers.report(self._facts(self._announced))
            self._reported_at = time.monotonic()

    def _facts(self, announced: _WorkerCapacity) -> WorkerFacts:
        return WorkerFacts(
            name=self.worker,
            host=platform.node(),
            pid=os.getpid(),
            package_version=__version__,
            algorithms=announced.algorithms,
            slots=announced.slots(),
            revision=schema.newest(),
        )

    def _drop_lost(self, runs: dict[str, _ClaimedRun]) -> None:
        claimed = self._store.tasks.claims_of(self.worker)
        for job_id, run in runs.items():
            if claimed.get(job_id) != run.attempt:
                if run.events is not None:
                    run.events.abort()
                _store_output(run)
                run.stop.request(CANCEL)


def _store_output(run: _ClaimedRun) -> None:
    """Store output that must not wait for the end of the run, which may take as long as the stop timeout."""
    # The end of the run tries again.
    with suppress(StoreUnavailableError):
        run.output.update()


def _report(run: _ClaimedRun, progress: dict[str, Any] | None) -> None:
    """Send progress that has changed to the targets that subscribe to it."""
    if progress is not None and run.events is not None:
        run.events.report(progress)


def _progress_change(run: _ClaimedRun) -> dict[str, Any] | None:
    found = read_progress(run.progress)
    if found is None or found == run.shown:
        return None
    run.shown = found
    return found
