"""callback_sdk.concurrency.reaper"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from callback_sdk.concurrency import reaper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")


def run(program: str) -> tuple[int, int, int]:
    """Run a program below a reaper, and return the reaper's exit code, the pid that it tells, and its own."""
    reader, writer = os.pipe()
    tracker = os.open(os.devnull, os.O_RDONLY)
    command = [sys.executable, "-c", f"{reaper.program(writer, tracker)}; tracker = {tracker}; {program}"]
    with subprocess.Popen(command, pass_fds=[writer, tracker]) as process:
        os.close(writer)
        os.close(tracker)
        with os.fdopen(reader, "rb") as file:
            pid = int(file.read() or b"0")
    return process.returncode, pid, process.pid


@pytest.mark.parametrize("code", [0, 7])
def test_a_reaper_has_the_exit_code_of_its_child(code: int) -> None:
    """It tells the pid of the child, which is not its own."""
    returned, pid, own = run(f"sys.exit({code})")
    assert returned == code
    assert pid not in (0, own)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT, signal.SIGINT])
def test_a_reaper_ends_by_the_signal_of_its_child(number: signal.Signals) -> None:
    """So the cause of a crash is known."""
    program = (
        f"import os, signal; signal.signal({number}, 0) if {number} != 9 else None; os.kill(os.getpid(), {number})"
    )
    assert run(program)[0] == -number


def test_a_child_has_a_group_and_a_signal_mask_of_its_own() -> None:
    """Signals to its group don't reach the reaper, and none is blocked."""
    check = "assert os.getpgrp() == os.getpid(); assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())"
    assert run(f"import os, signal; {check}; os.killpg(0, 9)")[0] == -9


@pytest.mark.parametrize("end", ["sys.exit()", "os.kill(0, 9)"])
def test_shared_memory_of_a_child_is_removed_after_its_end(end: str) -> None:
    """By a resource tracker of its own, which has nothing to remove otherwise."""
    name = f"psm_test_{os.getpid()}"
    program = (
        "import os; from multiprocessing import resource_tracker, shared_memory; "
        "resource_tracker._resource_tracker._fd = tracker; "
        f"shared_memory.SharedMemory({name!r}, create=True, size=10); "
        f"assert os.path.exists('/dev/shm/{name}'); {end}"
    )
    assert run(program)[0] in (0, -9)
    assert not Path("/dev/shm", name).exists()
