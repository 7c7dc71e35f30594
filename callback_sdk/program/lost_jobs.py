"""Delivers the failures of jobs whose process has ended, or which have reached their time limit."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path

from callback_sdk.errors import CallbackSDKError, ConfigurationError, OutboxError
from callback_sdk.outbox import Outbox
from callback_sdk.outbox.jobs import end_jobs_of, fail_job, is_done
from callback_sdk.outbox.open_jobs import JobFailure
from callback_sdk.outbox.temporary import TemporaryOutbox
from callback_sdk.program.configured import open_writer
from callback_sdk.program.job_report import of_process
from callback_sdk.program.watched import WatchedOutbox

logger = logging.getLogger(__name__)

_TIMEOUT = 120.0
"""Seconds for which deliveries are tried that were pending when the process ended."""


def deliver(outbox: WatchedOutbox, code: int | None, memory_kills: int, *, but: Collection[str]) -> bool:
    """Deliver what a process has left in an outbox.

    Args:
        outbox: The outbox.
        code: Its exit code, or the negative number of its signal; None if unknown.
        memory_kills: Number of processes that the kernel killed because of the memory limit.
        but: Keys of jobs whose ends are being delivered already.

    Returns:
        Whether the outbox could be used: if not, its jobs are still open.
    """

    def end_all(opened: Outbox) -> None:
        end_jobs_of(opened, Path(outbox.lock).stem, of_process(code, memory_kills), but=but)
        _send_pending(opened)

    return _use(outbox, end_all)


def fail_at_limit(outbox: WatchedOutbox, key: str, seconds: float) -> bool:
    """Deliver that a job has reached its time limit, unless it has ended.

    Args:
        outbox: The outbox.
        key: Key of the job.
        seconds: The limit.

    Returns:
        Whether the outbox could be used: if not, the job is still open.
    """
    failure = JobFailure(f"The job has reached its time limit of {timedelta(seconds=round(seconds, 1))}.")
    return _use(outbox, lambda opened: fail_job(opened, key, failure))


def finish(outbox: WatchedOutbox, key: str, error: str | None, status: str) -> bool:
    """Deliver what is left of a job whose delivery was interrupted.

    Args:
        outbox: The outbox.
        key: Key of the job.
        error: Its error, unless its outcome is stored; None for no document.
        status: Its status, likewise.

    Returns:
        Whether the outbox could be used: if not, the job may still be open.
    """

    def end(opened: Outbox) -> None:
        fail_job(opened, key, None if error is None else JobFailure(error, status))
        _send_pending(opened)

    return _use(outbox, end)


def is_empty(outbox: WatchedOutbox) -> bool:
    """Return whether an outbox has neither open jobs nor pending deliveries. What it has is logged."""
    found: list[bool] = []
    if _use(outbox, lambda opened: found.append(is_done(opened))) and found == [True]:
        return True
    logger.error(
        "There may be documents left to deliver: callback-sdk outbox run %s --until-empty. Delete %s after that.",
        outbox.path,
        outbox.directory,
    )
    return False


def _use(outbox: WatchedOutbox, act: Callable[[Outbox], object]) -> bool:
    """Do something with an outbox, log what fails, as nobody else would see it, and return whether it could be used."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="callback-sdk: %(message)s")
    kind = Outbox if outbox.directory is None else TemporaryOutbox
    try:
        with open_writer() as writer, kind(outbox.path, writer=writer, create=False) as opened:
            act(opened)
    except CallbackSDKError as error:
        logger.error("%s", error)
        # Others are those of a target that doesn't take the document.
        return type(error) not in (OutboxError, ConfigurationError)
    return True


def _send_pending(outbox: Outbox) -> None:
    stop = threading.Event()
    timer = threading.Timer(_TIMEOUT, stop.set)
    timer.daemon = True
    timer.start()
    outbox.run(until_empty=True, stop=stop)
    timer.cancel()
