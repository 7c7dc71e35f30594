"""A process of a Celery worker, started by the supervisor."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from attrs import define

from callback_sdk.concurrency.leases import LEASE_DURATION
from callback_sdk.concurrency.reaper import end_with_parent
from callback_sdk.errors import CallbackSDKError, ConfigurationError, UnknownAlgorithmError
from callback_sdk.redaction import Secret
from callback_sdk.service.algorithms.versions import Algorithms
from callback_sdk.service.engines import BrokerRefusedError
from callback_sdk.service.engines.celery import DELIVER, DELIVERIES, RUN, check_broker, make_app, make_queue, queue_name
from callback_sdk.service.engines.consumer import EXIT_STALLED, ready_step, silence_celery, watch_consumer
from callback_sdk.service.engines.stalls import STALL_TIMEOUT, MessageCounter
from callback_sdk.service.runtime import (
    DeliveryConfig,
    RunConfig,
    Runtime,
    StorageLocations,
    WorkerRuntime,
    open_runtime,
    open_worker,
    worker_name,
)
from callback_sdk.service.store import StoreRefusedError, StoreUnavailableError
from callback_sdk.service.supervision.outages import OutageLog, retry_pause
from callback_sdk.service.supervision.reports import LOADING, Reporter
from callback_sdk.service.supervision.shortages import ResourceUnavailableError
from callback_sdk.service.supervision.supervisor import COMPUTE_ON_DEVICES, EXIT_SETTING, EXIT_UNAVAILABLE, SEND
from callback_sdk.service.work import isolation
from callback_sdk.service.work.child_pair import ChildPair
from callback_sdk.service.work.deliverer import THREADS
from callback_sdk.service.work.devices import algorithms_with_devices, devices_per_run
from callback_sdk.service.work.outcome import SHUTDOWN, StopSignal
from callback_sdk.service.work.process import SetupError
from callback_sdk.service.work.uploads import PendingUploads

_log = logging.getLogger(__name__)

_PERMANENT = (ConfigurationError, UnknownAlgorithmError, BrokerRefusedError, StoreRefusedError)

_MAX_PAUSE = 5.0
"""Maximum seconds that a process waits after it could not claim a task because the database was unavailable."""

_LOOP_WAKEUP = 0.001
"""Seconds after a task in which Kombu processes what it has deferred, such as acknowledgements."""

_UPLOADS_TICK = 0.1
"""Seconds between checks for results that still wait for blob storage, when the worker shuts down."""


def work(
    registry: str,
    role: str,
    storage: StorageLocations,
    delivery: DeliveryConfig,
    runs: RunConfig,
    *,
    broker: Secret[str],
    algorithms: Sequence[str] = (),
    shutdown_timeout: timedelta,
    stall_timeout: timedelta = STALL_TIMEOUT,
    parent: int,
    reporter: Reporter,
    lease: timedelta = LEASE_DURATION,
) -> int:
    """Run one process of a worker: consume ids from the broker until SIGTERM.

    Args:
        registry: Name of the registry.
        role: `"compute"` to run tasks one after the other, `"compute-on-devices"` to run those that need devices,
            `"send"` to make delivery attempts.
        storage: Storage locations of the service.
        delivery: Settings of deliveries.
        runs: Settings of the child process that runs algorithms.
        broker: Celery's broker.
        algorithms: Algorithms to run tasks of; all algorithms of the registry if empty.
        shutdown_timeout: Shutdown timeout of a running task after SIGTERM.
        stall_timeout: Time in which an idle consumer must receive something after an id was dispatched to its queues.
        parent: Pid of the supervisor; this process ends when the supervisor has ended.
        lease: Time after the last heartbeat of this process until its claims expire.
        reporter: Reports the state of this process to the supervisor.

    Returns:
        The exit code.

    Raises:
        ConfigurationError: A setting is invalid.
        StoreUnavailableError: The database can't be reached.
        EngineError: The broker can't be reached.
    """
    end_with_parent(signal.SIGKILL, parent)
    isolation.start_tracker(runs.pass_env)
    with (
        contextlib.closing(runs.new_pair(registry, algorithms)) as importing,
        open_runtime(registry, _describe(importing, role), storage, delivery, runs, lease=lease) as runtime,
        open_worker(runtime, worker_name()) as worker_runtime,
        contextlib.ExitStack() as stack,
    ):
        child, stop_preparing = importing, StopSignal()
        app = make_app(broker)
        messages = MessageCounter(THREADS if role == SEND else 1)
        if role == SEND:
            queues, pool, concurrency = [DELIVERIES], "threads", THREADS
            _register_deliver(app, runtime, worker_runtime.deliverer, messages)
        else:
            names, devices = _share(role, runtime, choose_algorithms(runtime.registry, algorithms))
            queues = [queue_name(name) for name in names]
            pool, concurrency = "solo", 1
            if set(names) != set(algorithms):
                # Its process must have these devices, and call the setups of these algorithms only.
                child.close()
                child = stack.enter_context(contextlib.closing(runs.new_pair(registry, names, devices)))
            _register_run(app, worker_runtime.runner, _Preparation(child, stop_preparing, reporter), messages)
        app.conf.task_queues = [make_queue(name, broker) for name in queues]
        check_broker(app, app.conf.task_queues)
        app.steps["consumer"].add(ready_step(reporter))
        stopped = stack.enter_context(
            watch_consumer(runtime, worker_runtime, queues, messages, reporter, stall_timeout)
        )
        if role != SEND:
            # Before the subscription: what this process can't run goes to other workers.
            reporter.note("setup", LOADING)
            child.prepare(stop_preparing)
            reporter.note("setup", None)
            worker_runtime.heartbeat.announce(names, lambda: 1)
        with _stop_after_timeout(app, shutdown_timeout, partial(_stop_work, worker_runtime, stop_preparing)):
            worker = app.Worker(
                pool=pool,
                concurrency=concurrency,
                queues=queues,
                hostname=f"{role}@{worker_runtime.heartbeat.worker}",
                loglevel="WARNING",
                without_gossip=True,
                without_mingle=True,
                without_heartbeat=True,
                quiet=True,
            )
            # Celery and the registry stay in memory until the process ends, so the garbage collector can skip them.
            gc.freeze()
            with contextlib.suppress(SystemExit):
                worker.start()
            _wait_for_uploads(worker_runtime.uploads)
        return EXIT_STALLED if stopped.is_set() else int(worker.exitcode or 0)


def _stop_work(worker_runtime: WorkerRuntime, stop_preparing: StopSignal) -> None:
    """Interrupt the running task, and release tasks with results that wait for blob storage."""
    stop_preparing.request(SHUTDOWN)
    worker_runtime.heartbeat.stop_runs(SHUTDOWN)
    # Not in a signal handler: this writes to the database, and the interrupted code may be in the middle of a write.
    threading.Thread(target=worker_runtime.uploads.release_all, name="release-uploads", daemon=True).start()


def _wait_for_uploads(uploads: PendingUploads) -> None:
    """Wait until all results are in blob storage, or the shutdown timeout has stopped their runs."""
    while uploads.count:
        time.sleep(_UPLOADS_TICK)


def choose_algorithms(registry: Algorithms, algorithms: Sequence[str]) -> list[str]:
    """Return the algorithms of which a worker runs tasks.

    Raises:
        UnknownAlgorithmError: An algorithm is not in the registry.
        ConfigurationError: The registry is empty.
    """
    for name in algorithms:
        registry.versions(name)
    found = list(algorithms or registry)
    if not found:
        raise ConfigurationError("The registry has no algorithm.", hint="Register one with @registry.algorithm.")
    return found


def _share(role: str, runtime: Runtime, names: Sequence[str]) -> tuple[list[str], int]:
    """Return the algorithms of which a process of this role runs tasks, and the number of devices of each run."""
    needed = algorithms_with_devices(map(runtime.registry.versions, names))
    if role == COMPUTE_ON_DEVICES:
        return list(needed), devices_per_run(needed, runtime.runs.devices)
    return [name for name in names if name not in needed], 0


def _describe(child: ChildPair, role: str) -> Algorithms:
    """Return what is known of the algorithms; nothing for a process that doesn't run them."""
    return Algorithms(() if role == SEND else child.describe().versions)


@define(frozen=True)
class _Preparation:
    """Prepares the child process for the next task, while this process takes none."""

    child: ChildPair
    stop: StopSignal
    reporter: Reporter

    def complete(self) -> None:
        """Prepare the child. If that fails, end this process, whose next start tries again."""
        from celery.worker import state

        if self.child.is_prepared:
            return
        self.reporter.note("setup", LOADING)
        try:
            self.child.prepare(self.stop)
        except SetupError as error:
            self.reporter.fail(str(error), permanent=False)
            state.should_stop = EXIT_UNAVAILABLE
        else:
            self.reporter.note("setup", None)


def _register_run(app: Any, runner: Any, preparation: _Preparation, messages: MessageCounter) -> None:
    from kombu.asynchronous import get_event_loop

    outage = OutageLog(_log, failing="No task can be claimed", working="Tasks are claimed again")

    @app.task(name=RUN, shared=False, bind=True)  # type: ignore[untyped-decorator]
    def run(self: Any, job_id: str) -> None:
        stop: StopSignal = StopSignal()
        with messages.handle(_queue_of(self.request)):
            try:
                runner.run(job_id, preparation.child, stop)
            except StoreUnavailableError as error:
                # The dispatcher dispatches the task again. The pause delays the next ids, which could not be claimed
                # either.
                time.sleep(retry_pause(outage.record_failure(error), max_pause=_MAX_PAUSE))
            else:
                outage.record_recovery()
            preparation.complete()
        loop = get_event_loop()
        if loop is not None:
            # Kombu acknowledges the message after it has waited up to a second for the next one, and the broker sends
            # the next one only after the acknowledgement (prefetch count 1).
            loop.call_later(_LOOP_WAKEUP, lambda: None)


def _queue_of(request: Any) -> str:
    return str((request.delivery_info or {}).get("routing_key", ""))


def _register_deliver(app: Any, runtime: Runtime, deliverer: Any, messages: MessageCounter) -> None:
    @app.task(name=DELIVER, shared=False)  # type: ignore[untyped-decorator]
    def deliver(delivery_id: str, host: str) -> None:
        with messages.handle(DELIVERIES):
            if not deliverer.attempt_now(delivery_id, host):
                # The dispatcher dispatches the delivery again when the database is available.
                with contextlib.suppress(StoreUnavailableError):
                    runtime.store.deliveries.unmark_dispatched(delivery_id)


@contextlib.contextmanager
def _stop_after_timeout(app: Any, shutdown_timeout: timedelta, stop: Any) -> Iterator[None]:
    """Stop the current run when the shutdown timeout has passed, or at SIGUSR1."""
    from celery.signals import worker_shutting_down

    timer = threading.Timer(shutdown_timeout.total_seconds(), stop)
    timer.daemon = True

    def begin(**_: Any) -> None:
        timer.start()

    worker_shutting_down.connect(begin, weak=False)
    before = signal.signal(signal.SIGUSR1, lambda *_: stop())
    try:
        yield
    finally:
        timer.cancel()
        worker_shutting_down.disconnect(begin)
        signal.signal(signal.SIGUSR1, before)


def main(registry: str, algorithms: str, role: str, parent: str, descriptor: str) -> int:
    """Run one process of a worker, with the settings of the environment.

    Returns:
        The exit code. The report has the error, and the supervisor logs it once.
    """
    reporter = Reporter(int(descriptor))
    try:
        return _run_with_environment(registry, algorithms, role, parent, reporter)
    except _PERMANENT as error:
        permanent = not isinstance(error, ResourceUnavailableError)
        reporter.fail(str(error), permanent=permanent)
        return EXIT_SETTING if permanent else EXIT_UNAVAILABLE
    except (CallbackSDKError, OSError) as error:
        reporter.fail(str(error), permanent=False)
        return EXIT_UNAVAILABLE


def _run_with_environment(registry: str, algorithms: str, role: str, parent: str, reporter: Reporter) -> int:
    from callback_sdk.config.service import ServiceConfig
    from callback_sdk.service.engines.celery import require_broker
    from callback_sdk.service.files import make_data_folder
    from callback_sdk.service.logs import log_to_stderr
    from callback_sdk.service.server import default_processes
    from callback_sdk.service.work.isolation import forbid_inspection

    forbid_inspection()
    config = ServiceConfig.from_environ()
    log_to_stderr(config.log_format)
    silence_celery(reporter)
    folder = make_data_folder(config.data_dir)
    return work(
        registry,
        role,
        StorageLocations.of(config, folder),
        DeliveryConfig.of(config),
        RunConfig.of(config, config.processes or default_processes(), folder),
        broker=require_broker(config.broker),
        algorithms=algorithms.split(","),
        shutdown_timeout=config.shutdown_timeout,
        stall_timeout=config.stall_timeout,
        parent=int(parent),
        lease=config.lease,
        reporter=reporter,
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
