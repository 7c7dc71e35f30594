"""callback_sdk.program.job_report"""

from __future__ import annotations

import asyncio

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Ignore, Reject, Retry

from callback_sdk.outbox.open_jobs import JobFailure
from callback_sdk.program.job_report import is_retry, of_exception, of_process

_MEMORY = (
    "The memory limit was reached, and the kernel killed the process that ran the job: "
    "it was ended by signal 9 (SIGKILL)."
)


class _Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "text", "status"),
    [
        (ValueError("no convergence"), "ValueError: no convergence", "Finished"),
        (ValueError(), "ValueError", "Finished"),
        (OSError("https://a:b@h/k?X-Amz-Signature=00"), "OSError: https://h/k?***", "Finished"),
        (_Unprintable(), "_Unprintable: (str() of the error fails)", "Finished"),
        (KeyboardInterrupt(), "The job was interrupted: KeyboardInterrupt.", "Canceled"),
        (asyncio.CancelledError(), "The job was interrupted: CancelledError.", "Canceled"),
        (SystemExit(), "The job exited with code 0, before its end.", "Finished"),
        (SystemExit(3), "The job exited with code 3, before its end.", "Finished"),
        (SystemExit("no data"), "The job exited with code 1, before its end. SystemExit: no data", "Finished"),
        (SystemExit(143), "The job was asked to end with SIGTERM.", "Canceled"),
        (SystemExit(-241), "The job was asked to end with SIGTERM.", "Canceled"),
        (
            SoftTimeLimitExceeded(),
            "The job was stopped at the time limit of its queue: SoftTimeLimitExceeded: SoftTimeLimitExceeded().",
            "Finished",
        ),
    ],
)
def test_the_failure_says_what_the_exception_is(error: BaseException, text: str, status: str) -> None:
    """A queue raises SystemExit in a task for a signal, and exceptions of its own for its time limits."""
    assert of_exception(error) == JobFailure(text, status)


def test_exceptions_by_which_a_task_asks_for_another_run_are_known() -> None:
    """Not so those that only look like it."""
    assert is_retry(Retry())
    assert is_retry(Reject(requeue=True))
    assert not any(map(is_retry, (Reject(requeue=False), Ignore(), ValueError("Retry"))))


@pytest.mark.parametrize(
    ("code", "kills", "text", "status"),
    [
        (-9, 0, "The process that ran the job was ended by signal 9 (SIGKILL), before the job did.", "Finished"),
        (
            -9,
            1,
            _MEMORY,
            "Finished",
        ),
        (-15, 1, "The process that ran the job was ended by signal 15 (SIGTERM), before the job did.", "Canceled"),
        (-24, 0, "The process that ran the job was ended by signal 24 (SIGXCPU), before the job did.", "Finished"),
        (0, 0, "The process that ran the job exited with code 0, before the job did.", "Finished"),
        (None, 0, "The process that ran the job ended before the job did. How it ended is not known.", "Finished"),
    ],
)  # fmt: skip
def test_the_failure_says_how_the_process_ended(code: int | None, kills: int, text: str, status: str) -> None:
    """A process that was asked to end has been canceled."""
    assert of_process(code, kills) == JobFailure(text, status)
