"""callback_sdk.program.process_status"""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys

import pytest

from callback_sdk.program.process_status import ProcessStatus

_LINUX = tuple(map(int, re.findall(r"[0-9]+", platform.release())[:2]))
_AFTER_WAITING = _LINUX >= (6, 15)
"""Whether the kernel knows how a process ended after its parent has waited for it."""

_ENDINGS = [
    ("import os, signal, sys; sys.stdin.read(); os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ("import sys; sys.stdin.read(); raise SystemExit(3)", 3),
    ("import sys; sys.stdin.read()", 0),
]


def _start(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)


@pytest.mark.parametrize(("code", "expected"), _ENDINGS)
def test_the_end_of_a_process_is_known_before_its_parent_has_waited(code: str, expected: int) -> None:
    """The parent of a worker has not noticed its end yet."""
    with _start(code) as process:
        status = ProcessStatus(process.pid)
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert status.exit_code() == expected


@pytest.mark.parametrize(("code", "expected"), _ENDINGS)
def test_the_end_of_a_process_may_be_known_after_its_parent_has_waited(code: str, expected: int) -> None:
    """If the kernel is new enough; otherwise it is not guessed."""
    with _start(code) as process:
        status = ProcessStatus(process.pid)
        process.stdin.close()
        process.wait()
        assert status.exit_code() == (expected if _AFTER_WAITING else None)


def test_nothing_is_known_of_a_process_that_was_not_there() -> None:
    with _start("") as process:
        process.communicate()
    assert ProcessStatus(process.pid).exit_code() is None
