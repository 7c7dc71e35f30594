"""callback_sdk.concurrency.reaper"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from callback_sdk.concurrency import reaper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")


def run(program: str) -> tuple[int, int, int]:
    """Run a program below a reaper, and return the reaper's exit code, the pid that it tells, and its own."""
    reader, writer = os.pipe()
    command = [sys.executable, "-c", f"{reaper.program(writer)}; {program}"]
    with subprocess.Popen(command, pass_fds=[writer]) as process:
        os.close(writer)
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
