"""callback_sdk.service.work.interrupts"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.service import RunInterrupt
from callback_sdk.service.work import watch as module
from callback_sdk.service.work.outcome import CANCEL, SHUTDOWN, Outcome, StopSignal
from callback_sdk.service.work.process import ChildProcess
from tests.clocks import hour_passes_when
from tests.topology import wait_until
from tests.unit.service.work.test_process import LONG, ended, run_spec, succeeded

JOBS = "tests.integration.process_jobs:registry"
TIMEOUT = "timeout"


@pytest.fixture
def process() -> Iterator[ChildProcess]:
    """Give a process for runs, and end it."""
    process = ChildProcess(JOBS, stop_timeout=LONG)
    yield process
    process.close()


class Notes:
    """What an algorithm has written down."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notes"

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []


def run(
    process: ChildProcess, folder: Path, algorithm: str, stop: StopSignal | None = None, **parameters: Any
) -> Outcome:
    spec = run_spec(folder, algorithm, registry=JOBS, notes=str(folder / "notes"), **parameters)
    return process.run(spec, timeout=LONG, stop=stop or StopSignal())


def stopped(process: ChildProcess, folder: Path, algorithm: str, reason: str, **parameters: Any) -> Outcome:
    """Run an algorithm, and stop it when it has started."""
    notes, stop = Notes(folder), StopSignal()

    def request() -> None:
        try:
            wait_until(lambda: "started" in notes.lines, what="the start")
        finally:
            stop.request(reason)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as other:
        patch.setattr(module, "time", hour_passes_when(lambda: reason == TIMEOUT and "started" in notes.lines))
        if reason == TIMEOUT:
            return run(process, folder, algorithm, **parameters)
        other.submit(request)
        return run(process, folder, algorithm, stop, **parameters)


@pytest.mark.parametrize("reason", [CANCEL, SHUTDOWN, TIMEOUT])
def test_a_stopped_algorithm_cleans_up(process: ChildProcess, tmp_path: Path, reason: str) -> None:
    """It catches an exception with the reason, and its process is replaced."""
    outcome = stopped(process, tmp_path, "cleaning", reason)
    assert outcome.result is None
    assert (outcome.stop_reason or TIMEOUT) == reason
    assert outcome.timed_out == (reason == TIMEOUT)
    assert Notes(tmp_path).lines == ["started", f"{reason} True"]
    assert succeeded(run(process, tmp_path, "answer"))


@pytest.mark.parametrize("reason", [CANCEL, SHUTDOWN, TIMEOUT])
def test_a_result_after_the_request_is_discarded(process: ChildProcess, tmp_path: Path, reason: str) -> None:
    """It may be incomplete."""
    outcome = stopped(process, tmp_path, "partial", reason)
    assert outcome.result is None
    assert (outcome.stop_reason or TIMEOUT) == reason


@pytest.mark.parametrize("algorithm", ["retrying", "asynchronous", "coroutine"])
def test_except_exception_and_event_loops_let_it_pass(process: ChildProcess, tmp_path: Path, algorithm: str) -> None:
    """An event loop reports other exceptions in its callbacks, and continues."""
    assert stopped(process, tmp_path, algorithm, CANCEL).stop_reason == CANCEL
    assert Notes(tmp_path).lines == ["started", "cleaned up"]


def test_a_pool_of_processes_ends(process: ChildProcess, tmp_path: Path) -> None:
    """Its context manager terminates it while the exception passes."""
    assert stopped(process, tmp_path, "pooling", CANCEL).stop_reason == CANCEL
    _, pids, *rest = Notes(tmp_path).lines
    assert rest == ["cleaned up"]
    for pid in map(int, pids.split()):
        wait_until(lambda pid=pid: ended(pid), what=f"the end of {pid}")


def test_forked_processes_have_no_handler(process: ChildProcess, tmp_path: Path) -> None:
    """A pool waits forever for a process that SIGTERM doesn't end."""
    assert succeeded(run(process, tmp_path, "pools"))


def test_a_request_at_any_time_reaches_one_run_only(tmp_path: Path) -> None:
    """Also before the algorithm is called and after it has returned: the next run has its own result."""
    process = ChildProcess(JOBS)
    try:
        for delay in range(12):
            stop = StopSignal()
            timer = threading.Timer(delay / 1000, stop.request, [CANCEL])
            timer.start()
            outcome = run(process, tmp_path, "answer", stop)
            timer.join()
            assert outcome.stop_reason == CANCEL or succeeded(outcome)
            (tmp_path / "stop").unlink(missing_ok=True)
            assert succeeded(run(process, tmp_path, "answer"))
    finally:
        process.close()


def test_a_loop_polls_for_the_request(process: ChildProcess, tmp_path: Path) -> None:
    """In any thread, even if the algorithm ignores SIGTERM."""
    assert stopped(process, tmp_path, "polling", CANCEL).stop_reason == CANCEL
    assert Notes(tmp_path).lines == ["started", "stopping"]


def test_an_algorithm_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """After the stop timeout, with its child processes."""
    process = ChildProcess(JOBS, stop_timeout=timedelta(seconds=0.2))
    try:
        assert stopped(process, tmp_path, "stubborn", CANCEL).stop_reason == CANCEL
        for pid in map(int, Notes(tmp_path).lines[1].split()):
            wait_until(lambda pid=pid: ended(pid), what=f"the end of {pid}")
        assert succeeded(run(process, tmp_path, "answer"))
    finally:
        process.close()


def test_any_other_sigterm_ends_the_process(process: ChildProcess, tmp_path: Path) -> None:
    """As it ends a script."""
    assert run(process, tmp_path, "suicidal").crash == "its process was killed by SIGTERM"


def test_the_interrupt_survives_pickling() -> None:
    """multiprocessing and concurrent.futures send exceptions to other processes."""
    error = pickle.loads(pickle.dumps(RunInterrupt(CANCEL)))
    assert isinstance(error, RunInterrupt)
    assert (error.reason, error.code, str(error)) == (CANCEL, 143, CANCEL)
