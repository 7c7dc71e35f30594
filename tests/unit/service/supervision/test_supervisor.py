"""callback_sdk.service.supervision.supervisor: the parent of a worker's processes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from callback_sdk.service.supervision import supervisor as module
from callback_sdk.service.supervision.supervisor import WorkerSettingError, WorkerStartError, WorkerSupervisor
from tests.topology import wait_until

PROCESS = """
import json, os, signal, sys, time
role, parent, pipe = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def report(**members):
    members = {"started": False, "problems": [], "failure": None, "permanent": False} | members
    os.write(pipe, json.dumps(members).encode() + b"\\n")
"""
READY = "report(started=True)\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(0))\ntime.sleep(600)\n"


def make_supervisor(code: str, *, processes: int = 1, startup_timeout: float = 60.0) -> WorkerSupervisor:
    return WorkerSupervisor(
        [sys.executable, "-c", PROCESS + code],
        processes=processes,
        environment=os.environ,
        shutdown_timeout=timedelta(0),
        stop_timeout=timedelta(0),
        startup_timeout=timedelta(seconds=startup_timeout),
    )


def interrupt_when(condition: Callable[[], object]) -> threading.Thread:
    """Send this process SIGTERM when something has happened."""

    def wait() -> None:
        try:
            wait_until(condition)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_wrong_setting_ends_the_worker_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """All its processes say the same, and it is said once."""
    supervisor = make_supervisor(
        'report(failure="The keys are others. Give the right ones.", permanent=True)\nsys.exit(78)\n', processes=3
    )
    with pytest.raises(WorkerSettingError, match=r"can't run: The keys are others\. Give the right ones\."):
        supervisor.run()
    assert caplog.records == []


def test_an_outage_at_the_start_is_retried_with_backoff(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One log line per attempt, with growing delays; the worker reports why it isn't ready."""
    failures: list[int] = []
    monkeypatch.setattr(module, "retry_pause", lambda count: failures.append(count) or 0.0)
    away = tmp_path / "away"
    away.touch()
    code = (
        f"if role == 'send' and os.path.exists({str(away)!r}):\n"
        "    report(failure='The database is away.')\n    sys.exit(75)\n"
    )
    supervisor = make_supervisor(code + READY)
    seen: list[list[str]] = []

    def recovered() -> bool:
        if len(failures) == 3 and not seen:
            seen.append(supervisor.problems())
            away.unlink()
        return bool(seen) and supervisor.problems() == []

    thread = interrupt_when(recovered)
    supervisor.run()
    thread.join()
    assert failures == sorted(failures) == list(range(1, len(failures) + 1))
    assert "The database is away." in seen[0][-1] or "it is starting" in seen[0][-1]
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == len(failures)
    assert all("Worker process (send) ended: The database is away." in line for line in lines)


def test_a_worker_that_can_not_start_in_time_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the last error."""
    supervisor = make_supervisor('report(failure="The broker is away.")\nsys.exit(75)\n')
    failures: list[int] = []

    def pause(count: int) -> float:
        failures.append(count)
        if len(failures) == 2:
            # Both processes have reported: the time is over now.
            monkeypatch.setattr(supervisor, "_startup_timeout", -1.0)
        return 600.0

    monkeypatch.setattr(module, "retry_pause", pause)
    with pytest.raises(WorkerStartError, match=r"could not start within -1 s: The broker is away\."):
        supervisor.run()


def test_a_process_that_hangs_at_its_start_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The startup timeout applies to processes that report nothing, such as an endless import."""
    monkeypatch.setattr(module, "retry_pause", lambda count: 600.0)
    supervisor = make_supervisor("time.sleep(600)\n", startup_timeout=0.5)
    with pytest.raises(WorkerStartError, match=r"could not start within 0 s: .*it is starting\."):
        supervisor.run()


def test_a_killed_process_is_restarted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has the signal, and the worker is ready again with the new process."""
    monkeypatch.setattr(module, "retry_pause", lambda count: 0.0)
    pids = tmp_path / "pids"
    code = f"if role == 'compute':\n    print(os.getpid(), file=open({str(pids)!r}, 'a'), flush=True)\n"
    supervisor = make_supervisor(code + READY)

    def killed_and_back() -> bool:
        started = pids.read_text().split() if pids.exists() else []
        if len(started) == 1 and supervisor.problems() == []:
            os.kill(int(started[0]), signal.SIGKILL)
        return len(started) == 2 and supervisor.problems() == []

    thread = interrupt_when(killed_and_back)
    supervisor.run()
    thread.join()
    assert "Worker process (compute) ended: it was killed by SIGKILL." in caplog.text
    assert supervisor.is_alive()
    assert supervisor.problems() == ["The worker is stopping."]


def test_problems_of_processes_are_reported_by_the_worker(tmp_path: Path) -> None:
    """Each problem once, until it is solved."""
    go = tmp_path / "go"
    code = (
        "report(started=True, problems=['the broker is away.'])\n"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n"
        f"while not os.path.exists({str(go)!r}):\n    time.sleep(0.01)\n"
    )
    supervisor = make_supervisor(code + READY, processes=2)
    seen: list[list[str]] = []

    def state() -> bool:
        problems = supervisor.problems()
        if not any("starting" in problem for problem in problems) and not seen:
            seen.append(problems)
            go.touch()
        return bool(seen) and problems == []

    thread = interrupt_when(state)
    supervisor.run()
    thread.join()
    assert seen == [
        ["A compute process isn't ready: the broker is away.", "A send process isn't ready: the broker is away."]
    ]
