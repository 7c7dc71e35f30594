"""callback_sdk.service.work.heartbeat"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from callback_sdk.filesystem.files import write_whole
from callback_sdk.service.store import Store, Submission, TaskRow
from callback_sdk.service.work import heartbeat as module
from callback_sdk.service.work.heartbeat import Heartbeat
from callback_sdk.service.work.live_output import LiveOutput
from callback_sdk.service.work.outcome import CANCEL, SHUTDOWN, StopSignal
from tests.topology import wait_until


@pytest.fixture
def heartbeat(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heartbeat]:
    """Look after the claims of one worker, in a hurry."""
    monkeypatch.setattr(module, "CHECK_INTERVAL", 0.05)
    heartbeat = Heartbeat(store, "w", lease=timedelta(seconds=0.4))
    heartbeat.start()
    yield heartbeat
    heartbeat.close()


def claimed(store: Store):
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, features=b"[]")])
    return store.tasks.claim("1", "w")


def output_of(store: Store, folder: Path) -> LiveOutput:
    return LiveOutput(folder / "output", partial(store.output.write, "1", 1))


def test_a_canceled_run_is_stopped(store: Store, heartbeat: Heartbeat, tmp_path: Path) -> None:
    """Even if the task was canceled on another machine."""
    stop = StopSignal()
    with heartbeat.running(claimed(store), stop, tmp_path / "progress", output_of(store, tmp_path)):
        store.tasks.cancel("1")
        assert stop.result(120) == CANCEL


def test_output_before_a_cancellation_is_stored_at_once(store: Store, heartbeat: Heartbeat, tmp_path: Path) -> None:
    """Before the run is stopped, which may take long."""
    stop, output = StopSignal(), tmp_path / "output"
    with heartbeat.running(claimed(store), stop, tmp_path / "progress", output_of(store, tmp_path)):
        output.write_bytes(b"one\n")
        heartbeat.store_output("1")
        assert store.output.read("1").data == b"one\n"
        output.write_bytes(b"one\ntwo\n")
        store.tasks.cancel("1")
        stop.result(120)
        assert store.output.read("1").data == b"one\ntwo\n"


def test_a_run_that_lost_its_claim_is_stopped(store: Store, heartbeat: Heartbeat, tmp_path: Path) -> None:
    """So two runs of one task don't continue concurrently."""
    stop = StopSignal()
    with heartbeat.running(claimed(store), stop, tmp_path / "progress", output_of(store, tmp_path)):
        store.tasks.reclaim(worker="w")
        store.tasks.claim("1", "another")
        assert stop.result(120) == CANCEL
    assert store.tasks.claims_of("another") == {"1": 2}


def test_signs_of_life_keep_a_claim(store: Store, heartbeat: Heartbeat, tmp_path: Path) -> None:
    """And bring the progress along."""
    stop = StopSignal()
    with heartbeat.running(claimed(store), stop, tmp_path / "progress", output_of(store, tmp_path)):
        first = store.tasks.get("1")["heartbeat_at"]
        write_whole(tmp_path / "progress", [b'{"fraction": 0.5, "message": "half"}'])
        wait_until(lambda: store.tasks.get("1")["progress"] == {"fraction": 0.5, "message": "half"})
        wait_until(lambda: store.tasks.get("1")["heartbeat_at"] > first + 0.3)
        assert store.tasks.reclaim(silent_for=5) == []
    assert not stop.done()


def test_output_is_stored_during_the_run(store: Store, heartbeat: Heartbeat, tmp_path: Path) -> None:
    """So that it is there if this process is killed."""
    with heartbeat.running(claimed(store), StopSignal(), tmp_path / "progress", output_of(store, tmp_path)):
        (tmp_path / "output").write_bytes(b"one\n")
        wait_until(lambda: store.output.read("1").data == b"one\n")
        with (tmp_path / "output").open("ab") as file:
            file.write(b"two\n")
        wait_until(lambda: store.output.read("1").data == b"one\ntwo\n")


def test_all_runs_can_be_stopped(store: Store, heartbeat: Heartbeat, tmp_path: Path) -> None:
    """When the shutdown timeout has expired."""
    stop = StopSignal()
    with heartbeat.running(claimed(store), stop, tmp_path / "progress", output_of(store, tmp_path)):
        heartbeat.stop_runs(SHUTDOWN)
        heartbeat.stop_runs(CANCEL)
    assert stop.result(0) == SHUTDOWN
