"""What the document says of a job in a worker that has failed: by an exception, or with its process; pure."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from callback_sdk.documents.error_text import describe
from callback_sdk.models import CANCELED
from callback_sdk.outbox.open_jobs import JobFailure
from callback_sdk.program.exit_codes import CANCELS, ended, ended_by

_RETRIES = {
    "celery.exceptions.Retry",
    "dramatiq.errors.Retry",
    "huey.exceptions.RetryTask",
}
"""Exceptions by which a task asks its queue to run it again."""

_TIME_LIMITS = {
    "billiard.exceptions.SoftTimeLimitExceeded",
    "billiard.exceptions.TimeLimitExceeded",
    "dramatiq.middleware.time_limit.TimeLimitExceeded",
    "huey.exceptions.TaskTimeout",
    "rq.timeouts.BaseTimeoutException",
}
"""Exceptions that queues raise in a task at its time limit."""

_KILLED = -9
"""SIGKILL, which Windows doesn't have."""

_EXIT_CODES = 256
"""billiard, on which Celery is built, makes `SystemExit(-(256 - number))` of a signal."""


def is_retry(error: BaseException) -> bool:
    """Return whether an exception says that the queue runs the job again."""
    names = set(_names(error))
    if names & _RETRIES:
        return True
    return "celery.exceptions.Reject" in names and bool(getattr(error, "requeue", False))


def ends_process(error: BaseException) -> bool:
    """Return whether an exception usually ends its process: `SystemExit`, `KeyboardInterrupt` and the like."""
    return not isinstance(error, Exception)


def of_exception(error: BaseException) -> JobFailure:
    """Return the failure of a job that has raised an exception.

    Args:
        error: The exception.
    """
    if _TIME_LIMITS & set(_names(error)):
        return JobFailure(f"The job was stopped at the time limit of its queue: {describe(error)}.")
    if isinstance(error, SystemExit):
        return _of_exit(error)
    if ends_process(error):
        return JobFailure(f"The job was interrupted: {describe(error)}.", CANCELED)
    return JobFailure(describe(error))


def _of_exit(error: SystemExit) -> JobFailure:
    code = error.code if isinstance(error.code, int) else int(error.code is not None)
    number = code + _EXIT_CODES if code < 0 else ended_by(code)
    if number is not None and number in CANCELS:
        return JobFailure(f"The job was asked to end with {signal.Signals(number).name}.", CANCELED)
    text = "" if isinstance(error.code, int) or error.code is None else f" {describe(error)}"
    return JobFailure(f"The job {ended(code & 0xFF)}, before its end.{text}")


def of_process(code: int | None, memory_kills: int) -> JobFailure:
    """Return the failure of a job whose process has ended before it.

    Args:
        code: The exit code of the process, or the negative number of its signal; None if unknown.
        memory_kills: Number of processes that the kernel killed meanwhile because of the memory limit.
    """
    if code is None:
        return JobFailure("The process that ran the job ended before the job did. How it ended is not known.")
    if memory_kills and code == _KILLED:
        cause = "The memory limit was reached, and the kernel killed the process that ran the job"
        return JobFailure(f"{cause}: it {ended(code)}.")
    error = f"The process that ran the job {ended(code)}, before the job did."
    return JobFailure(error, CANCELED) if -code in CANCELS else JobFailure(error)


def _names(error: BaseException) -> Iterator[str]:
    for kind in type(error).__mro__:
        yield f"{kind.__module__}.{kind.__qualname__}"
