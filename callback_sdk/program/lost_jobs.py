"""Delivers the failures of jobs whose process has ended, or which have reached their time limit."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path

from callback_sdk.errors import CallbackSDKError
from callback_sdk.outbox import Outbox
from callback_sdk.outbox.jobs import end_jobs_of, fail_job
from callback_sdk.outbox.open_jobs import JobFailure
from callback_sdk.outbox.temporary import TemporaryOutbox
from callback_sdk.program.configured import open_writer
from callback_sdk.program.job_report import of_process
from callback_sdk.program.watched import WatchedOutbox

logger = logging.getLogger(__name__)

_TIMEOUT = 120.0
"""Seconds for which deliveries are tried that were pending when the process ended."""


def deliver(outbox: WatchedOutbox, code: int | None, memory_kills: int, *, but: Collection[str]) -> None:
    """Deliver what a process has left in an outbox.

    Args:
        outbox: The outbox.
        code: Its exit code, or the negative number of its signal; None if unknown.
        memory_kills: Number of processes that the kernel killed because of the memory limit.
        but: Keys of jobs whose ends are being delivered already.
    """
    with _open_outbox(outbox) as opened:
        end_jobs_of(opened, Path(outbox.lock).stem, of_process(code, memory_kills), but=but)
        _send_pending(opened)


def fail_at_limit(outbox: WatchedOutbox, key: str, seconds: float) -> None:
    """Deliver that a job has reached its time limit, unless it has ended.

    Args:
        outbox: The outbox.
        key: Key of the job.
        seconds: The limit.
    """
    limit = timedelta(seconds=round(seconds, 1))
    with _open_outbox(outbox) as opened:
        fail_job(opened, key, JobFailure(f"The job has reached its time limit of {limit}."))


def finish(outbox: WatchedOutbox, key: str, error: str | None, status: str) -> None:
    """Deliver what is left of a job whose delivery was interrupted.

    Args:
        outbox: The outbox.
        key: Key of the job.
        error: Its error, unless its outcome is stored; None for no document.
        status: Its status, likewise.
    """
    with _open_outbox(outbox) as opened:
        fail_job(opened, key, None if error is None else JobFailure(error, status))
        _send_pending(opened)


@contextlib.contextmanager
def _open_outbox(outbox: WatchedOutbox) -> Iterator[Outbox]:
    """Open an outbox, and log what can't be done with it: nobody else would see an error here."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="callback-sdk: %(message)s")
    kind = Outbox if outbox.directory is None else TemporaryOutbox
    try:
        with open_writer() as writer, kind(outbox.path, writer=writer, create=False) as opened:
            yield opened
    except CallbackSDKError as error:
        logger.error("%s", error)


def _send_pending(outbox: Outbox) -> None:
    stop = threading.Event()
    timer = threading.Timer(_TIMEOUT, stop.set)
    timer.daemon = True
    timer.start()
    outbox.run(until_empty=True, stop=stop)
    timer.cancel()
