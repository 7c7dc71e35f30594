"""The error names the cause, and which of several causes it was."""

from __future__ import annotations

import signal
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk.program.execution import ProgramExit
from callback_sdk.program.report import failure, is_canceled, warning
from callback_sdk.program.scheduler import Scheduler

ENDED = ProgramExit(status=0, stopped_by=None, stopped_at=0.0, timed_out=False, memory_kills=0, error_tail=b"")
SLURM = Scheduler("Slurm", "90_1", end=1000.0)


def _failure(found: Scheduler | None = None, **fields: Any) -> str | None:
    return failure(ENDED._replace(**fields), timeout=timedelta(minutes=5), found=found)


def _exited(code: int) -> int:
    return code << 8


def test_a_program_that_exits_with_0_has_not_failed() -> None:
    assert _failure() is None
    assert _failure(stopped_by=signal.SIGTERM) is None
    assert _failure(memory_kills=1) is None


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"status": _exited(3)}, "The program exited with code 3."),
        (
            {"status": _exited(127)},
            "The program exited with code 127, with which shells say that a command was not found.",
        ),
        ({"status": _exited(139)}, "The program exited with code 139, as after signal 11 (SIGSEGV)."),
        ({"status": int(signal.SIGSEGV)}, "The program was ended by signal 11 (SIGSEGV)."),
        (
            {"status": int(signal.SIGTERM), "timed_out": True},
            "The program was stopped at its time limit of 0:05:00: it was ended by signal 15 (SIGTERM).",
        ),
        ({"timed_out": True}, "The program was stopped at its time limit of 0:05:00: it exited with code 0."),
        (
            {"status": int(signal.SIGKILL), "memory_kills": 1},
            (
                "The memory limit was reached, and the kernel killed a process of the program: "
                "it was ended by signal 9 (SIGKILL)."
            ),
        ),
        (
            {"status": int(signal.SIGTERM), "stopped_by": signal.SIGTERM, "memory_kills": 2},
            (
                "The program was asked to end with SIGTERM: it was ended by signal 15 (SIGTERM). "
                "Before, the kernel killed 2 processes because the memory limit was reached."
            ),
        ),
        (
            {"status": int(signal.SIGKILL), "timed_out": True, "memory_kills": 1},
            (
                "The program was stopped at its time limit of 0:05:00: it was ended by signal 9 (SIGKILL). "
                "Before, the kernel killed a process because the memory limit was reached."
            ),
        ),
        (
            {"status": int(signal.SIGTERM), "stopped_by": signal.SIGTERM},
            "The program was asked to end with SIGTERM: it was ended by signal 15 (SIGTERM).",
        ),
    ],
)
def test_the_error_names_the_cause(fields: dict[str, Any], error: str) -> None:
    assert _failure(**fields) == error


def test_a_stop_at_the_schedulers_time_limit_is_no_cancellation() -> None:
    stop = {"status": int(signal.SIGTERM), "stopped_by": signal.SIGTERM}
    early, late = ENDED._replace(**stop, stopped_at=900.0), ENDED._replace(**stop, stopped_at=1001.0)
    assert is_canceled(early, SLURM)
    assert not is_canceled(late, SLURM)
    assert "time limit of Slurm" in (failure(late, timeout=None, found=SLURM) or "")
    assert "asked to end with SIGTERM by Slurm" in (failure(early, timeout=None, found=SLURM) or "")


@pytest.mark.parametrize("stopped_by", [signal.SIGTERM, None])
def test_what_the_scheduler_says_counts_more_than_the_clock(stopped_by: int | None) -> None:
    """Clocks differ, limits are changed, and a busy node may have signaled the program alone."""
    stop = ENDED._replace(status=int(signal.SIGTERM), stopped_by=stopped_by)
    before, after = SLURM._replace(at_limit=True), SLURM._replace(at_limit=False)
    assert not is_canceled(stop._replace(stopped_at=900.0), before)
    assert "time limit of Slurm" in (failure(stop._replace(stopped_at=900.0), timeout=None, found=before) or "")
    assert is_canceled(stop._replace(stopped_at=1001.0), after)
    assert "asked to end" in (failure(stop._replace(stopped_at=1001.0), timeout=None, found=after) or "")


@pytest.mark.parametrize(
    "fields",
    [
        {"status": 0, "stopped_by": signal.SIGTERM},
        {"status": _exited(1)},
        {"status": int(signal.SIGTERM), "timed_out": True, "stopped_by": signal.SIGTERM},
        {"status": int(signal.SIGXCPU), "stopped_by": signal.SIGXCPU},
        {"status": int(signal.SIGKILL), "stopped_by": signal.SIGTERM, "memory_kills": 1},
    ],
)
def test_only_a_program_that_somebody_has_stopped_is_canceled(fields: dict[str, Any]) -> None:
    assert not is_canceled(ENDED._replace(**fields), None)


@pytest.mark.parametrize("status", [int(signal.SIGTERM), _exited(143)])
def test_a_program_that_outlived_the_memory_limit_can_be_canceled(status: int) -> None:
    """The kernel counts the processes that it has killed since the job began."""
    assert is_canceled(ENDED._replace(status=status, stopped_by=signal.SIGTERM, memory_kills=1), None)


def test_success_after_the_memory_limit_is_doubtful() -> None:
    """A shell without `set -e` ignores that its commands were killed."""
    assert warning(ENDED) is None
    assert warning(ENDED._replace(status=_exited(3), memory_kills=1)) is None
    assert "killed a process because the memory limit was reached" in (warning(ENDED._replace(memory_kills=1)) or "")


def test_the_error_has_the_last_lines_as_a_terminal_shows_them() -> None:
    tail = b"1%\r50%\r100%\n\x1b[31mValueError\x1b[0m: \xff bad \x07\n\n"
    error = _failure(status=_exited(1), error_tail=tail)
    assert error is not None
    assert error.endswith("The end of its standard error:\n100%\nValueError: \ufffd bad \\x07")
