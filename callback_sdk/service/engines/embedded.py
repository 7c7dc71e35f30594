"""The engine inside the service: threads that run tasks in child processes, and threads that store the outcomes."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial

from callback_sdk.service.engines.combined import CombinedEngine
from callback_sdk.service.engines.engine import Capacity, Engine
from callback_sdk.service.engines.errors import EngineError
from callback_sdk.service.engines.options import EngineOptions
from callback_sdk.service.engines.preparation import READY, Preparation, WorkerState
from callback_sdk.service.engines.queue_depth import QueueDepth
from callback_sdk.service.runtime import Runtime, WorkerRuntime, open_worker
from callback_sdk.service.store import StoreUnavailableError
from callback_sdk.service.supervision.outages import OutageLog
from callback_sdk.service.supervision.threads import SupervisedThread
from callback_sdk.service.work.child_pair import ChildPair
from callback_sdk.service.work.devices import algorithms_with_devices, devices_per_run
from callback_sdk.service.work.outcome import CANCEL, SHUTDOWN, StopSignal
from callback_sdk.service.work.runner import ComputedRun

_log = logging.getLogger(__name__)

_TICK = 0.05
"""Seconds between checks whether the last task has ended."""

_RELEASE_TIMEOUT = 10.0
"""Seconds after the end of all runs for releasing interrupted tasks."""


@contextmanager
def create_engine(runtime: Runtime, options: EngineOptions) -> Iterator[Engine]:
    """Create the engine. Claims of an earlier process of the same service are released at once.

    Its first worker continues with the child process of the options, so that the registry is not imported once more.

    Algorithms that need devices have their own workers, so that other tasks don't wait for a device.

    Raises:
        ConfigurationError: There are fewer devices than an algorithm needs.
    """
    needed = algorithms_with_devices(runtime.registry.versions(name) for name in runtime.registry)
    devices = devices_per_run(needed, runtime.runs.devices)
    worker = f"embedded-{options.instance}"
    reclaimed = runtime.store.tasks.reclaim(worker=worker)
    runtime.store.deliveries.reclaim(worker=worker)
    if reclaimed:
        failed = sum(task.has_failed for task in reclaimed)
        _log.warning(
            "Tasks that were running when the service stopped: %d requeued, %d failed after too many crashes.",
            len(reclaimed) - failed,
            failed,
        )
    children = [] if options.child is None else [options.child]
    if needed and children:
        # Its processes call the setups of some algorithms only.
        children.pop().close()
    with open_worker(runtime, worker) as work:

        def new_pair(algorithms: Sequence[str], devices: int) -> ChildPair:
            # Several threads call this at the same time, and one of them gets the child.
            with suppress(IndexError):
                return runtime.new_pair(algorithms, devices, current=children.pop())
            return runtime.new_pair(algorithms, devices)

        def engine(processes: int, algorithms: Sequence[str] = (), devices: int = 0) -> EmbeddedEngine:
            return EmbeddedEngine(
                work,
                name="device-worker" if devices else "worker",
                new_pair=partial(new_pair, algorithms, devices),
                processes=processes,
                shutdown_timeout=options.shutdown_timeout,
                stop_timeout=runtime.runs.stop_timeout,
                force_stop=options.force_stop,
                ended=runtime.wakeup.set,
            )

        created: Engine
        if needed:
            others = [name for name in runtime.registry if name not in needed]
            engines = [(list(needed), engine(len(runtime.runs.devices) // devices, list(needed), devices))]
            created = CombinedEngine([*engines, *([(others, engine(options.processes, others))] if others else [])])
        else:
            created = engine(options.processes)
        work.heartbeat.announce(list(runtime.registry), partial(_ready, created))
        yield created


def _ready(engine: Engine) -> int:
    """Return the number of workers that take tasks."""
    return sum(one.status == READY for one in engine.workers())


class EmbeddedEngine:
    """Runs tasks on this machine.

    Args:
        work: Runs tasks and makes delivery attempts.
        name: Start of the workers' names.
        new_pair: Returns a child process for runs.
        processes: Number of concurrent runs.
        shutdown_timeout: Shutdown timeout of running tasks.
        stop_timeout: Time between SIGTERM and SIGKILL of a run that is stopped.
        force_stop: Ends the shutdown timeout at once when it is set.
        ended: Called when slots of the queue have become free, or the state of a worker has changed.
    """

    needs_polling = False

    def __init__(
        self,
        work: WorkerRuntime,
        *,
        name: str = "worker",
        new_pair: Callable[[], ChildPair],
        processes: int,
        shutdown_timeout: timedelta,
        stop_timeout: timedelta,
        force_stop: threading.Event,
        ended: Callable[[], None],
    ) -> None:
        self._runner = work.runner
        self._deliverer = work.deliverer
        self._uploads = work.uploads
        self._heartbeat = work.heartbeat
        self._ended = ended
        self._new_pair = new_pair
        self._shutdown_timeout = shutdown_timeout
        self._stop_timeout = stop_timeout
        self._force_stop = force_stop
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._stops: dict[str, StopSignal] = {}
        self._closed = False
        self._depth = QueueDepth()
        # Twice as many slots as children: a child runs the next task while the results of its last one are stored.
        self._computed: queue.SimpleQueue[tuple[str, ComputedRun]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._claim_outage = OutageLog(_log, failing="No task can be claimed", working="Tasks are claimed again")
        self._stop_preparing = StopSignal()
        self._preparations = [
            Preparation(f"{name}-{number}", stopping=self._stopping, stop=self._stop_preparing, changed=ended)
            for number in range(processes)
        ]
        self._threads = [
            SupervisedThread(partial(self._work, one), name=one.state.name, stopping=self._stopping)
            for one in self._preparations
        ]
        self._finishers = [
            SupervisedThread(self._save, name=f"saver-{number}", stopping=self._stopping) for number in range(processes)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in (*self._threads, *self._finishers):
            thread.start()

    def capacities(self) -> Sequence[Capacity]:
        """Return the free slots of the queue; see `Engine.capacities`."""
        with self._lock:
            free = 0 if self._closed else max(0, self._slots() - len(self._stops))
        return [Capacity(limit=free)]

    def _slots(self) -> int:
        # What no worker can take stays queued in the store, in the order of its priority.
        ready = sum(one.state.status == READY for one in self._preparations)
        return (1 + self._depth.tasks) * ready

    def send(self, capacity: Capacity, job_ids: Sequence[str]) -> None:
        """Queue tasks, unless they are queued or running already."""
        with self._lock:
            for job_id in job_ids:
                if not self._closed and job_id not in self._stops:
                    self._stops[job_id] = StopSignal()
                    self._queue.put(job_id)

    def delivery_capacity(self) -> tuple[int, Collection[str]]:
        """Return how many delivery attempts can start now; see `Engine.delivery_capacity`."""
        return self._deliverer.free_slots, self._deliverer.full_hosts()

    def send_deliveries(self, deliveries: Sequence[tuple[str, str]]) -> Sequence[str]:
        """Start delivery attempts; see `Engine.send_deliveries`."""
        return [delivery_id for delivery_id, host in deliveries if not self._deliverer.start(delivery_id, host)]

    def cancel(self, job_id: str) -> None:
        """Stop the run of a task. What it has printed until now is stored when this method returns."""
        with self._lock:
            stop = self._stops.get(job_id)
        if stop is not None:
            self._heartbeat.store_output(job_id)
            stop.request(CANCEL)

    def workers(self) -> Sequence[WorkerState]:
        """Return the states of the workers; see `Engine.workers`."""
        return [one.state for one in self._preparations]

    def check(self) -> None:
        """Check that its threads run, and that a worker can take tasks; see `Engine.check`."""
        for thread in (*self._threads, *self._finishers):
            thread.check()
        self._heartbeat.check()
        self._uploads.check()
        self._check_workers()

    def _check_workers(self) -> None:
        """Raise an error if no worker can take tasks.

        While a process is replaced, and loads the algorithms, tasks are accepted: that alone isn't an error.
        """
        states = self.workers()
        if any(one.is_available for one in states):
            return
        problems = list(dict.fromkeys(one.problem for one in states if one.problem))
        raise EngineError(
            " ".join(["No worker is ready:", *(problems or ["they are loading the algorithms."])]),
            hint="Accepted tasks stay queued until one is.",
        )

    def close(self) -> None:
        """Wait for running tasks until the shutdown timeout, stop and requeue the others, and stop the threads."""
        with self._lock:
            self._closed = True
        self._stopping.set()
        self._stop_preparing.request(SHUTDOWN)
        for _ in self._threads:
            self._queue.put(None)
        self._drop_queued()
        end = time.monotonic() + self._shutdown_timeout.total_seconds()
        while self._is_busy() and time.monotonic() < end:
            if self._force_stop.wait(_TICK):
                break
        for stop in self._unsaved_stops():
            stop.request(SHUTDOWN)
        self._heartbeat.stop_runs(SHUTDOWN)
        # Pending uploads first: a task that is requeued in time loses nothing.
        self._uploads.release_all()
        # With a timeout, because an unavailable database blocks the thread. The lease of its task then expires.
        end = time.monotonic() + self._stop_timeout.total_seconds() + _RELEASE_TIMEOUT
        while self._is_busy() and time.monotonic() < end:
            time.sleep(_TICK)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _is_busy(self) -> bool:
        return bool(self._unsaved_stops() or self._uploads.count)

    def _unsaved_stops(self) -> list[StopSignal]:
        """Return the stop signals of the tasks that run, or whose results are being stored."""
        with self._lock:
            return list(self._stops.values())

    def _drop_queued(self) -> None:
        """Empty the queue: tasks that no thread has started are still queued in the store."""
        ends = 0
        while not self._queue.empty():
            try:
                job_id = self._queue.get_nowait()
            except queue.Empty:
                break
            if job_id is None:
                ends += 1
            else:
                self._release(job_id)
        for _ in range(ends):
            self._queue.put(None)

    def _work(self, preparation: Preparation) -> None:
        child = self._new_pair()
        try:
            while preparation.complete(child) and (job_id := self._queue.get()) is not None:
                self._compute(job_id, child)
        finally:
            child.close()

    def _compute(self, job_id: str, child: ChildPair) -> None:
        run: ComputedRun | None = None
        started = time.monotonic()
        try:
            with self._lock:
                stop = self._stops[job_id]
            if not stop.done():
                run = self._runner.compute(job_id, child, stop)
                self._claim_outage.record_recovery()
        except StoreUnavailableError as error:
            # The dispatcher sends the task again.
            self._claim_outage.record_failure(error)
        except Exception:  # noqa: BLE001 - the worker must survive any error
            _log.exception("Task %s: could not be started, requeueing.", job_id, extra={"job_id": job_id})
        finally:
            # In `finally`, even if the thread ends: otherwise the task could never be started again.
            if run is None:
                self._release(job_id)
        if run is not None:
            with self._lock:
                self._depth.record(time.monotonic() - started)
            self._computed.put((job_id, run))

    def _save(self) -> None:
        while True:
            job_id, run = self._computed.get()
            try:
                self._runner.finish(run)
            except Exception:  # noqa: BLE001 - the thread must survive any error
                _log.exception("Task %s: outcome could not be stored, requeueing.", job_id, extra={"job_id": job_id})
            finally:
                self._release(job_id)

    def _release(self, job_id: str) -> None:
        with self._lock:
            self._stops.pop(job_id, None)
            # While runs are short, the dispatcher is woken up for several slots at a time: its check takes as long as a
            # run.
            is_low = len(self._stops) <= self._slots() - self._depth.tasks // 2
        if is_low:
            self._ended()
