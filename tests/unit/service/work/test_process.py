"""callback_sdk.service.work.process"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from callback_sdk.service.supervision.memory_groups import MemoryGroup
from callback_sdk.service.work import child
from callback_sdk.service.work import watch as module
from callback_sdk.service.work.orphans import end_orphans
from callback_sdk.service.work.outcome import CANCEL, Outcome, StopSignal
from callback_sdk.service.work.process import ChildProcess
from tests.clocks import hour_passes_when
from tests.topology import wait_until

JOBS = "tests.integration.service_jobs:registry"
ROOT = Path(__file__).parents[4]
LONG = timedelta(minutes=2)
LIMIT = 300_000_000


@pytest.fixture
def process() -> Iterator[ChildProcess]:
    """Give a process for runs, and end it."""
    process = ChildProcess(JOBS)
    yield process
    process.close()


def run_spec(
    folder: Path,
    algorithm: str,
    *,
    registry: str = JOBS,
    kind: str = "predict",
    version: str = "1.0.0",
    limit: float = math.inf,
    **parameters: Any,
) -> child.RunSpec:
    (folder / "features").write_bytes(b'{"a": [1, 2]}')
    return child.RunSpec(
        registry=registry,
        kind=kind,
        algorithm=algorithm,
        version=version,
        job_id="1",
        attempt=1,
        evaluate=True,
        export_new_version=True,
        parameters=parameters,
        features=folder / "features",
        features_format="json",
        results=folder / "results",
        progress=folder / "progress",
        output=folder / "output",
        outputs=folder / "outputs",
        stop=folder / "stop",
        directory=folder,
        memory_limit=limit,
    )


def pids(path: Path) -> list[int]:
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def ended(pid: int) -> bool:
    # What has lost its parent may stay a zombie where nobody waits for orphans.
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end(*running: int) -> None:
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_one_process_serves_many_runs(process: ChildProcess, tmp_path: Path) -> None:
    """Predictions and trainings run in the same child."""
    outcome = process.run(run_spec(tmp_path, "sum"), timeout=LONG, stop=StopSignal())
    assert outcome.result is not None
    assert (tmp_path / "results").read_bytes().startswith(b'{"predictions":{"a":3},')
    outcome = process.run(run_spec(tmp_path, "sum", kind="fit", version="2.0.0"), timeout=LONG, stop=StopSignal())
    assert outcome.result is not None
    assert b'"predictions":{"rows":2,"export_new_version":true}' in (tmp_path / "results").read_bytes()


@pytest.mark.parametrize("grandchild", [False, True])
def test_too_much_memory_ends_the_run(process: ChildProcess, tmp_path: Path, grandchild: bool) -> None:
    """The memory of child and grandchildren counts together, all are killed, and the next run has a new child."""
    places = {"grandchild": grandchild, "pids": str(tmp_path / "pids")}
    greedy = run_spec(tmp_path, "greedy", limit=LIMIT, megabytes=600, seconds=600, **places)
    outcome = process.run(greedy, timeout=LONG, stop=StopSignal())
    assert outcome.result is None
    assert outcome.out_of_memory > LIMIT
    assert not outcome.timed_out
    for pid in pids(tmp_path / "pids"):
        wait_until(lambda pid=pid: ended(pid), what=f"the end of {pid}")
    outcome = process.run(run_spec(tmp_path, "sum", limit=LIMIT), timeout=LONG, stop=StopSignal())
    assert outcome.result is not None


def test_memory_below_the_limit_is_permitted(process: ChildProcess, tmp_path: Path) -> None:
    """A run that stays below its limit ends normally."""
    modest = run_spec(tmp_path, "greedy", limit=LIMIT, megabytes=50, seconds=0.5)
    outcome = process.run(modest, timeout=LONG, stop=StopSignal())
    assert outcome.result is not None
    assert outcome.out_of_memory == 0
    assert (tmp_path / "results").read_bytes().startswith(b'{"predictions":50,')


def test_memory_of_earlier_runs_does_not_count(process: ChildProcess, tmp_path: Path) -> None:
    """A model that another algorithm keeps for its next run counts for no run, up to a limit."""
    keeper = run_spec(tmp_path, "keeper", megabytes=400)
    assert succeeded(process.run(keeper, timeout=LONG, stop=StopSignal()))
    first = (tmp_path / "results").read_bytes()
    modest = run_spec(tmp_path, "greedy", limit=LIMIT, megabytes=50, seconds=0.5)
    assert succeeded(process.run(modest, timeout=LONG, stop=StopSignal()))
    assert succeeded(process.run(keeper, timeout=LONG, stop=StopSignal()))
    assert (tmp_path / "results").read_bytes() == first


def test_a_process_that_retains_too_much_memory_is_replaced(tmp_path: Path) -> None:
    """Before the next run, so that retained memory is bounded."""
    process = ChildProcess(JOBS, max_retained_bytes=LIMIT)
    try:
        seen = set()
        for megabytes in (400, 1):
            keeper = run_spec(tmp_path, "keeper", megabytes=megabytes)
            assert succeeded(process.run(keeper, timeout=LONG, stop=StopSignal()))
            seen.add(json.loads((tmp_path / "results").read_bytes())["predictions"])
        assert len(seen) == 2
    finally:
        process.close()


def test_the_runs_of_a_process_are_limited(tmp_path: Path) -> None:
    """By the default, and by the lowest limit of the algorithms that it runs."""
    process = ChildProcess(JOBS, max_runs=3)

    def run(max_runs: int | None) -> int:
        score = run_spec(tmp_path, "pooled")
        assert succeeded(process.run(score, timeout=LONG, stop=StopSignal(), max_runs=max_runs))
        pid: int = json.loads((tmp_path / "results").read_bytes())["predictions"]
        return pid

    try:
        ordered = [run(None) for _ in range(4)]
        assert [pid == ordered[0] for pid in ordered] == [True, True, True, False]
        fresh = [run(1), run(1), run(None), run(2), run(None)]
        assert len({ordered[3], *fresh[:3]}) == 4
        assert fresh[2] == fresh[3] != fresh[4]
    finally:
        process.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is shared")
def test_memory_shared_by_forked_processes_counts_once(process: ChildProcess, tmp_path: Path) -> None:
    """Four children that read the parent's data use no more memory than the parent alone."""
    sharing = run_spec(tmp_path, "sharing", limit=LIMIT, megabytes=150, processes=4, seconds=0.8)
    assert succeeded(process.run(sharing, timeout=LONG, stop=StopSignal()))


class Group(MemoryGroup):
    """A control group in which the kernel kills each process that exits."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def add(self, pid: int) -> None:
        self.calls.append(pid)

    def limit(self, size: float) -> None:
        self.calls.append(size)

    def excess(self) -> int:
        return 4711

    def kill(self) -> None:
        self.calls.append("kill")

    def remove(self) -> None:
        self.calls.append("remove")


def test_a_kill_by_the_control_group_is_a_lack_of_memory(
    process: ChildProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is in the group from its start, and the group is removed with it."""
    group = Group()
    monkeypatch.setattr(MemoryGroup, "create", lambda: group)
    dying = run_spec(tmp_path, "suicide", limit=LIMIT, how="SIGKILL", starts=str(tmp_path / "pids"))
    outcome = process.run(dying, timeout=LONG, stop=StopSignal())
    assert (outcome.out_of_memory, outcome.crash) == (4711, None)
    # The rest are pids of reapers: Pebble may start another process before the pool is stopped.
    steps = [call for call in group.calls if call in (LIMIT, "kill", "remove")]
    assert (list(dict.fromkeys(steps)), group.calls[1], group.calls[-1]) == ([LIMIT, "kill", "remove"], LIMIT, "remove")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own choice is read from /proc")
def test_the_kernel_kills_a_run_before_the_service(process: ChildProcess, tmp_path: Path) -> None:
    """When the memory of the machine is used up."""
    assert succeeded(process.run(run_spec(tmp_path, "score"), timeout=LONG, stop=StopSignal()))
    assert json.loads((tmp_path / "results").read_bytes())["predictions"] >= 500


def succeeded(outcome: Outcome) -> bool:
    return outcome.result is not None and outcome.result.error is None


def test_a_timeout_kills_child_and_grandchild(
    process: ChildProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an endless computation."""
    monkeypatch.setattr(module, "time", hour_passes_when(lambda: len(pids(tmp_path / "pids")) == 2))
    busy = run_spec(tmp_path, "busy", pids=str(tmp_path / "pids"))
    outcome = process.run(busy, timeout=LONG, stop=StopSignal())
    assert outcome.timed_out
    for pid in pids(tmp_path / "pids"):
        wait_until(lambda pid=pid: ended(pid), what=f"the end of {pid}")


def test_processes_of_an_algorithm_end_with_its_run(process: ChildProcess, tmp_path: Path) -> None:
    """Even if they left the process group; the next run has a new child process."""
    outcome = process.run(run_spec(tmp_path, "leaver"), timeout=LONG, stop=StopSignal())
    assert outcome.result is not None
    assert outcome.result.error is None
    left = json.loads((tmp_path / "results").read_bytes())["predictions"]
    wait_until(lambda: ended(left), what=f"the end of {left}")
    outcome = process.run(run_spec(tmp_path, "sum"), timeout=LONG, stop=StopSignal())
    assert outcome.result is not None


def test_a_thread_of_one_run_prints_nothing_into_the_next(process: ChildProcess, tmp_path: Path) -> None:
    """A process with threads that an algorithm has left is replaced; one with an idle pool is not."""
    first = process.run(run_spec(tmp_path, "chatty"), timeout=LONG, stop=StopSignal())
    assert first.result is not None
    assert first.result.threads == ["chatty"]
    assert b"of the first run" in (tmp_path / "output").read_bytes()
    (tmp_path / "output").unlink()
    used = []
    for _ in range(2):
        outcome = process.run(run_spec(tmp_path, "pooled"), timeout=LONG, stop=StopSignal())
        assert outcome.result is not None
        assert outcome.result.threads == []
        used.append(json.loads((tmp_path / "results").read_bytes())["predictions"])
    assert used[0] == used[1]
    assert (tmp_path / "output").read_bytes() == b""


def test_stop_interrupts_a_run(process: ChildProcess, tmp_path: Path) -> None:
    """The outcome has the reason given by another thread, and the child is killed."""
    stop = StopSignal()
    busy = run_spec(tmp_path, "busy", pids=str(tmp_path / "pids"))

    def cancel() -> None:
        try:
            wait_until(lambda: len(pids(tmp_path / "pids")) == 2, what="the start")
        finally:
            stop.request(CANCEL)

    with ThreadPoolExecutor(1) as other:
        canceling = other.submit(cancel)
        outcome = process.run(busy, timeout=LONG, stop=stop)
        canceling.result()
    assert outcome.stop_reason == CANCEL
    for pid in pids(tmp_path / "pids"):
        wait_until(lambda pid=pid: ended(pid), what=f"the end of {pid}")


PARENT = """
import sys
import time
from datetime import timedelta
from pathlib import Path
from callback_sdk.service.work.process import ChildProcess, StopSignal
from tests.unit.service.work.test_process import run_spec

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    busy = run_spec(folder, "abandon", how="work", pids=str(folder / "pids"))
    ChildProcess(busy.registry).run(busy, timeout=timedelta(minutes=2), stop=StopSignal())
"""


def abandoned(folder: Path) -> dict[str, int]:
    wait_until((folder / "pids").exists, what="the start")
    found: dict[str, int] = json.loads((folder / "pids").read_text())
    return found


def assert_all_ended(found: dict[str, int]) -> None:
    try:
        for name, pid in found.items():
            wait_until(lambda pid=pid: ended(pid), patience=30, what=f"the end of {name}")
    finally:
        end(*found.values())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", "exit", "return"])
def test_nothing_that_a_run_has_started_outlives_its_process(process: ChildProcess, tmp_path: Path, how: str) -> None:
    """However the process ends, and in whatever way it was detached."""
    spec = run_spec(tmp_path, "abandon", how=how, pids=str(tmp_path / "pids"))
    outcome = process.run(spec, timeout=LONG, stop=StopSignal())
    found = json.loads((tmp_path / "pids").read_text())
    assert sorted(found) == ["double fork", "nohup", "own", "setsid", "without environment"]
    assert how in str(outcome.crash) or how in ("exit", "return")
    assert all(map(ended, found.values()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_nothing_outlives_a_process_that_was_killed_from_outside(process: ChildProcess, tmp_path: Path) -> None:
    """As the kernel does when the machine has no memory left."""
    spec = run_spec(tmp_path, "abandon", how="work", pids=str(tmp_path / "pids"))
    with ThreadPoolExecutor(1) as other:
        killing = other.submit(lambda: os.kill(abandoned(tmp_path)["own"], signal.SIGKILL))
        outcome = process.run(spec, timeout=LONG, stop=StopSignal())
        killing.result()
    assert outcome.crash is not None
    assert "SIGKILL" in outcome.crash
    assert all(map(ended, abandoned(tmp_path).values()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows shared memory as files")
def test_shared_memory_that_a_run_leaves_is_removed(
    process: ChildProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the process, and logged; what it keeps open stays until then."""
    caplog.set_level("INFO")

    def run(**parameters: Any) -> tuple[int, list[str]]:
        spec = run_spec(tmp_path, "sharer", **parameters)
        assert succeeded(process.run(spec, timeout=LONG, stop=StopSignal()))
        pid, *names = json.loads((tmp_path / "results").read_bytes())["predictions"]
        return pid, names

    first, kept = run(keep=True)
    assert process.is_prepared
    assert Path("/dev/shm", *kept).exists()
    second, left = run()
    assert first == second
    assert not process.is_prepared
    assert len(left) == 2
    assert not [name for name in kept + left if Path("/dev/shm", name).exists()]
    assert f"left the shared memory {left[0]}; its process is replaced" in caplog.text
    assert kept[0] not in caplog.text


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a parent of a process with a run that has left processes of all kinds, and end it."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, script, tmp_path], cwd=ROOT, env=environment) as parent:
        try:
            abandoned(tmp_path)
            yield parent
        finally:
            parent.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_nothing_outlives_a_killed_parent(parent: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """The reaper is told of its end."""
    found = abandoned(tmp_path)
    assert not any(map(ended, found.values()))
    parent.kill()
    assert_all_ended(found)


@pytest.mark.skipif(sys.platform != "linux", reason="the environment is read from /proc")
def test_what_outlives_the_reaper_is_ended_by_the_next_service(parent: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Unless it runs in another environment, by which it can't be recognized."""
    found = abandoned(tmp_path)
    reaper = psutil.Process(found["own"]).ppid()
    parent.send_signal(signal.SIGSTOP)
    os.kill(reaper, signal.SIGKILL)
    wait_until(lambda: ended(found["own"]), what="the end of the process")
    end_orphans()
    # The parent may be stopped, and still live.
    assert not ended(found["nohup"])
    parent.kill()
    parent.wait()
    end_orphans()
    unknown = {"without environment": found.pop("without environment")}
    try:
        assert_all_ended(found)
        assert not ended(unknown["without environment"])
    finally:
        end(*unknown.values())


WATCHED = """
import os
from callback_sdk.service.work.child import watch
parent = os.getppid()
print("ready", flush=True)
watch(parent)
"""
BETWEEN = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); print(p.pid, flush=True)"


def test_a_process_that_watches_its_parent_ends_after_it() -> None:
    """Where the kernel tells nothing, a look at the parent's pid does."""
    command = [sys.executable, "-c", f"{BETWEEN}; p.wait()", WATCHED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
        assert "ready" in lines
        (watching,) = (int(line) for line in lines - {"ready"})
        parent.kill()
        parent.wait()
        try:
            wait_until(lambda: ended(watching), what="the end of the process that watches")
        finally:
            end(watching)
