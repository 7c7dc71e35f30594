"""callback_sdk.service.supervision.threads"""

from __future__ import annotations

import logging
import threading

import pytest

from callback_sdk.service.supervision import threads as module
from callback_sdk.service.supervision.threads import SupervisedThread, ThreadError
from tests.topology import wait_until


def test_a_thread_that_ends_is_not_ready_and_starts_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SystemExit ends a thread without a word of Python's: the check names it, and the log has its traceback."""
    stopping, runs = threading.Event(), []
    monkeypatch.setattr(module, "retry_pause", lambda failures: 0.0)

    def run() -> None:
        runs.append(threading.current_thread())
        if len(runs) == 1:
            raise SystemExit("secret")
        thread.complete_round()
        stopping.wait()

    thread = SupervisedThread(run, name="dispatcher", stopping=stopping, round_timeout=60.0)
    thread.check()
    thread.start()
    wait_until(lambda: len(runs) == 2)
    wait_until(lambda: _is_ready(thread))
    stopping.set()
    thread.join(120)
    (record,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "dispatcher ended: SystemExit" in record.getMessage()
    assert record.exc_info is not None


def test_the_check_fails_until_a_round_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which thread it is and why it ended, by the error's type: the text may hold anything."""
    monkeypatch.setattr(module, "retry_pause", lambda failures: 0.0)
    go, stopping, runs = threading.Event(), threading.Event(), []

    def run() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise KeyError("secret")
        assert go.wait(120)
        thread.complete_round()
        stopping.wait()

    thread = SupervisedThread(run, name="dispatcher", stopping=stopping, round_timeout=60.0)
    thread.start()
    wait_until(lambda: len(runs) == 2)
    with pytest.raises(ThreadError, match="dispatcher ended: KeyError") as caught:
        thread.check()
    assert "secret" not in str(caught.value)
    go.set()
    wait_until(lambda: _is_ready(thread))
    stopping.set()
    thread.join(120)


def test_a_thread_without_rounds_is_ready_when_it_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may wait for its next task for hours."""
    monkeypatch.setattr(module, "retry_pause", lambda failures: 0.0)
    stopping, runs = threading.Event(), []

    def run() -> None:
        runs.append(1)
        if len(runs) > 2:
            stopping.wait()

    thread = SupervisedThread(run, name="worker-0", stopping=stopping)
    thread.start()
    wait_until(lambda: len(runs) == 3)
    wait_until(lambda: _is_ready(thread))
    stopping.set()
    thread.join(120)


def test_pauses_grow_with_failures_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exponential backoff by the number of consecutive failures."""
    failures: list[int] = []
    stopping = threading.Event()

    def pause(count: int) -> float:
        failures.append(count)
        if count == 4:
            stopping.set()
        return 0.0

    monkeypatch.setattr(module, "retry_pause", pause)
    thread = SupervisedThread(lambda: None, name="x", stopping=stopping)
    thread.start()
    thread.join(120)
    assert failures == [1, 2, 3, 4]


def test_a_thread_that_hangs_is_not_ready() -> None:
    """It is alive, and completes no round."""
    stopping = threading.Event()
    thread = SupervisedThread(lambda: (stopping.wait(), None)[1], name="claims", stopping=stopping, round_timeout=0.0)
    thread.start()
    wait_until(lambda: not _is_ready(thread))
    with pytest.raises(ThreadError, match="claims has completed no round"):
        thread.check()
    stopping.set()
    thread.join(120)
    thread.check()


def _is_ready(thread: SupervisedThread) -> bool:
    try:
        thread.check()
    except ThreadError:
        return False
    return True
