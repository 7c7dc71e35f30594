"""A worker of the engine `celery`: a parent that keeps processes running, and what each of them does."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.service.child import die_with_parent
from callback_sdk.service.deliverer import THREADS
from callback_sdk.service.engines.celery import DELIVER, DELIVERIES, RUN, make_app, make_queue, queue_name
from callback_sdk.service.memory import NO_LIMIT, MemoryLimit
from callback_sdk.service.parts import Parts, Places, Reach, opened, worker_name, working
from callback_sdk.service.process import SHUTDOWN, ChildProcess, Stop
from callback_sdk.service.registry import Registry
from callback_sdk.service.uploads import PendingUploads

_log = logging.getLogger(__name__)

COMPUTE = "compute"
SEND = "send"
"""What one process of a worker does."""

_SOON = 0.001
"""Seconds after a task in which Kombu looks what is left to do."""

_UPLOADS_TICK = 0.1
"""Seconds between looks at whether results still wait for blob storage, when the worker ends."""

_PAUSE = 1.0
"""Seconds before a process that died is started again."""

_KILL_AFTER = 10.0
"""Seconds beyond the grace after which a process that doesn't end is killed."""


def supervise(command: Sequence[str], *, processes: int, environment: Mapping[str, str], grace: timedelta) -> None:
    """Keep a worker's processes running until SIGTERM or SIGINT comes, and then until they have ended.

    Args:
        command: What starts one of them, but for its role and this process's id, which come last.
        processes: How many compute; one more delivers.
        environment: Their environment.
        grace: How long running tasks may go on after the signal; a second signal ends it.
    """
    signals: list[int] = []
    before = {number: signal.signal(number, lambda got, _: signals.append(got)) for number in _ENDS}
    roles = [COMPUTE] * processes + [SEND]
    running = [_start(command, role, environment) for role in roles]
    started = [time.monotonic()] * len(roles)
    try:
        while not signals:
            time.sleep(0.1)
            for place, role in enumerate(roles):
                if running[place].poll() is None or time.monotonic() - started[place] < _PAUSE:
                    continue
                _log.warning("A process of this worker ended with %d; another one follows.", running[place].returncode)
                running[place], started[place] = _start(command, role, environment), time.monotonic()
        _end(running, signals, grace)
    finally:
        for process in running:
            process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


_ENDS = (signal.SIGTERM, signal.SIGINT)


def _start(command: Sequence[str], role: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # A session of its own: a Ctrl-C in the terminal reaches the parent alone, which then tells the others.
    return subprocess.Popen([*command, role, str(os.getpid())], env=dict(environment), start_new_session=True)  # noqa: S603


def _end(running: Sequence[subprocess.Popen[bytes]], signals: Sequence[int], grace: timedelta) -> None:
    _log.info("Stopped by %s.", signal.Signals(signals[0]).name)
    end = time.monotonic() + grace.total_seconds() + _KILL_AFTER
    told = 0
    while any(process.poll() is None for process in running) and time.monotonic() < end:
        while told < len(signals):
            told += 1
            for process in running:
                # Celery takes a second SIGTERM for an order to drop everything; SIGUSR1 is ours.
                process.send_signal(signal.SIGTERM if told == 1 else signal.SIGUSR1)
        time.sleep(0.05)


def work(
    registry: str,
    role: str,
    places: Places,
    reach: Reach,
    *,
    broker: Secret[str],
    algorithms: Sequence[str] = (),
    grace: timedelta,
    parent: int,
    pass_env: tuple[str, ...] = (),
    memory_limit: MemoryLimit = NO_LIMIT,
) -> None:
    """Take ids from the broker until SIGTERM comes: one process of a worker.

    Args:
        registry: Name of the registry.
        role: `"compute"` to run tasks one after the other, `"send"` to try deliveries again.
        places: Where the service keeps what.
        reach: Where results may go.
        broker: Celery's broker.
        algorithms: Only tasks of these; all of the registry's when empty.
        grace: How long a running task may go on after SIGTERM.
        parent: Pid of the process that keeps this one running, without which it ends.
        pass_env: Variables of the environment that algorithms get besides the usual ones.
        memory_limit: How much memory a run may take whose algorithm doesn't say.

    Raises:
        ConfigurationError: A setting is wrong.
        StoreUnavailableError: The database can't be reached.
    """
    die_with_parent(parent)
    with (
        opened(registry, places, reach, pass_env=pass_env, memory_limit=memory_limit) as parts,
        working(parts, worker_name()) as work_parts,
        contextlib.ExitStack() as stack,
    ):
        app = make_app(broker)
        if role == SEND:
            queues, pool, concurrency = [DELIVERIES], "threads", THREADS
            _register_deliver(app, parts, work_parts.deliverer)
        else:
            queues = [queue_name(name) for name in chosen(parts.registry, algorithms)]
            pool, concurrency = "solo", 1
            _register_run(app, work_parts.runner, stack.enter_context(_child(parts)))
        app.conf.task_queues = [make_queue(name, broker) for name in queues]
        stop_runs = work_parts.claims.stop_runs
        with _grace(app, grace, lambda: stop_runs(SHUTDOWN)):
            worker = app.Worker(
                pool=pool,
                concurrency=concurrency,
                queues=queues,
                hostname=f"{role}@{work_parts.claims.worker}",
                loglevel="WARNING",
                without_gossip=True,
                without_mingle=True,
                without_heartbeat=True,
                quiet=True,
            )
            with contextlib.suppress(SystemExit):
                worker.start()
            _wait_for_uploads(work_parts.uploads)


def _wait_for_uploads(uploads: PendingUploads) -> None:
    """Wait for results that blob storage did not take yet, until the grace ends and stops their runs."""
    while uploads.count:
        time.sleep(_UPLOADS_TICK)


def chosen(registry: Registry, algorithms: Sequence[str]) -> list[str]:
    """Return the algorithms that a worker takes tasks of.

    Raises:
        UnknownAlgorithmError: One is not in the registry.
        ConfigurationError: The registry is empty.
    """
    for name in algorithms:
        registry.versions(name)
    found = list(algorithms or registry)
    if not found:
        raise ConfigurationError("The registry has no algorithm.", hint="Register one with @registry.algorithm.")
    return found


@contextlib.contextmanager
def _child(parts: Parts) -> Iterator[ChildProcess]:
    child = ChildProcess(parts.registry_name, pass_env=parts.pass_env, held=parts.memory_limit.held)
    try:
        yield child
    finally:
        child.close()


def _register_run(app: Any, runner: Any, child: ChildProcess) -> None:
    from kombu.asynchronous import get_event_loop

    @app.task(name=RUN, shared=False)  # type: ignore[untyped-decorator]
    def run(job_id: str) -> None:
        stop: Stop = Stop()
        runner.run(job_id, child, stop)
        loop = get_event_loop()
        if loop is not None:
            # Kombu's loop may wait for the next message now, and acknowledge this one, without which none comes, only
            # when it has waited in vain for up to a second.
            loop.call_later(_SOON, lambda: None)


def _register_deliver(app: Any, parts: Parts, deliverer: Any) -> None:
    @app.task(name=DELIVER, shared=False)  # type: ignore[untyped-decorator]
    def deliver(delivery_id: str, host: str) -> None:
        if not deliverer.send_now(delivery_id, host):
            parts.store.deliveries.give_back(delivery_id)


@contextlib.contextmanager
def _grace(app: Any, grace: timedelta, stop: Any) -> Iterator[None]:
    """Break off what runs when the grace after the first signal is over, or at SIGUSR1."""
    from celery.signals import worker_shutting_down

    timer = threading.Timer(grace.total_seconds(), stop)
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


def main(registry: str, algorithms: str, role: str, parent: str) -> None:
    """Run one process of a worker, with the settings of the environment."""
    from callback_sdk.config import ServiceConfig
    from callback_sdk.guard import AddressGuard
    from callback_sdk.service.engines.celery import needed
    from callback_sdk.service.files import make_data_folder
    from callback_sdk.service.isolation import forbid_inspection
    from callback_sdk.service.logs import log_to_stderr
    from callback_sdk.service.memory import default_limit
    from callback_sdk.service.server import default_processes

    forbid_inspection()
    config = ServiceConfig.from_environ()
    log_to_stderr(config.log_format)
    folder = make_data_folder(config.data)
    work(
        registry,
        role,
        Places(data=folder, database=config.database, blobs=config.blobs, keys=config.encryption_keys),
        Reach(
            storage_endpoints=config.storage_endpoints,
            webhook_secrets=config.webhook_secrets,
            guard=AddressGuard(allow_networks=config.allow_networks, allow_hosts=config.allow_hosts),
            retry_delays=config.retry_delays,
        ),
        broker=needed(config.broker),
        algorithms=algorithms.split(","),
        grace=config.grace,
        parent=int(parent),
        pass_env=config.pass_env,
        memory_limit=default_limit(config.memory_limit, config.processes or default_processes()),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
