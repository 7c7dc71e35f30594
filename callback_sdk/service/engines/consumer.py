"""The consumer of a Celery worker: its readiness, its messages, and the watch for stalls."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NoReturn

from callback_sdk.service.engines.celery import DELIVERIES, queue_name
from callback_sdk.service.engines.stalls import MessageCounter, StallWatch
from callback_sdk.service.runtime import Runtime, WorkerRuntime
from callback_sdk.service.supervision.reports import Reporter
from callback_sdk.service.supervision.threads import ThreadError

EXIT_STALLED = 3
"""Exit code of a process with a stalled consumer. Its report has the reason."""

_STOP_TIMEOUT = 10.0
"""Seconds for a stalled consumer to close its connection, which may be broken."""


class FatalErrors(logging.Filter):
    """Reports fatal errors of Celery to the supervisor, in place of the traceback that Celery logs.

    Args:
        reporter: Reports to the supervisor.
    """

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.msg.startswith("Unrecoverable error"):
            return True
        error = record.exc_info[1] if record.exc_info else None
        self._reporter.fail(
            f"its consumer ended by {type(error).__name__}: {str(error)[:200].rstrip('.')}.", permanent=False
        )
        return False


def ready_step(reporter: Reporter) -> Any:
    """Return a step of Celery's consumer that starts and stops with its subscription to the queues."""
    from celery import bootsteps

    class Ready(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, _: Any) -> None:
            reporter.note("broker", None)
            reporter.note("start", None)

        def stop(self, _: Any) -> None:
            reporter.note("broker", "it is reconnecting to the message broker.")

    return Ready


@contextlib.contextmanager
def watch_consumer(
    runtime: Runtime,
    worker_runtime: WorkerRuntime,
    queues: Sequence[str],
    messages: MessageCounter,
    reporter: Reporter,
    timeout: timedelta,
) -> Iterator[threading.Event]:
    """Monitor the consumer and the threads, and yield an event that is set when the consumer has stalled."""
    stalled = threading.Event()

    def report_problems(database: str | None) -> None:
        reporter.note("database", database)
        reporter.note("threads", _problem_of_threads(worker_runtime))

    def stop(names: Sequence[str]) -> None:
        stalled.set()
        reason = (
            f"the message broker delivered nothing from {', '.join(names)} for {timeout.total_seconds():.0f} s, "
            "although tasks were dispatched there: its consumer has stalled."
        )
        reporter.fail(reason, permanent=False)
        _stop_consumer(lambda: messages.idle and not worker_runtime.uploads.count)

    watch = StallWatch(
        messages,
        dispatched=lambda since: _find_dispatched(runtime, queues, since),
        since=runtime.store.clock(),
        timeout=timeout,
        on_stall=stop,
        on_check=report_problems,
    )
    watch.start()
    try:
        yield stalled
    finally:
        watch.close()


def _problem_of_threads(worker_runtime: WorkerRuntime) -> str | None:
    try:
        worker_runtime.heartbeat.check()
        worker_runtime.uploads.check()
    except ThreadError as error:
        return str(error)
    return None


def _find_dispatched(runtime: Runtime, queues: Sequence[str], since: float) -> list[str]:
    """Return the queues to which ids were dispatched since a time and not claimed yet, according to the store."""
    if queues == [DELIVERIES]:
        return [DELIVERIES] if runtime.store.deliveries.has_dispatched(since=since) else []
    names = [name for name in runtime.registry if queue_name(name) in queues]
    return [queue_name(name) for name in runtime.store.queue.find_dispatched(names, since=since)]


def _stop_consumer(idle: Callable[[], bool]) -> NoReturn:
    """End this process from another thread than Celery's: by a warm shutdown if possible, otherwise at once."""
    from celery.worker import state

    # Celery's loop checks it at least once a second.
    state.should_stop = EXIT_STALLED
    end = time.monotonic() + _STOP_TIMEOUT
    # A task may have arrived at the last moment. Interrupting it would count as one of its three attempts.
    while time.monotonic() < end or not idle():
        time.sleep(0.1)
    os._exit(EXIT_STALLED)


def silence_celery(reporter: Reporter) -> None:
    """Suppress Celery's messages at startup and reconnection, and warnings that need no action."""
    from celery.apps import worker as celery_worker
    from celery.platforms import SecurityWarning
    from celery.utils.log import worker_logger

    worker_logger.addFilter(FatalErrors(reporter))
    # Celery's signal handlers print "worker: Warm shutdown" as plain text to stdout, not through logging, because a
    # handler may interrupt a write of a log record. The supervisor logs the shutdown.
    celery_worker.safe_say = lambda *_: None
    warnings.simplefilter("ignore", SecurityWarning)
    # Ten lines at every lost connection. A warnings filter doesn't help, because Celery inserts its own before it.
    logging.getLogger("py.warnings").addFilter(lambda record: "CPendingDeprecationWarning" not in record.getMessage())
    # Two lines per queue about ETA tasks, which are not used here.
    logging.getLogger("kombu.transport.native_delayed_delivery").setLevel(logging.ERROR)
