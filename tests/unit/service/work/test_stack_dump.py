"""callback_sdk.service.work.stack_dump; the stacks of setups are in test_startup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callback_sdk.service.work.stack_dump import StackDump

ROOT = Path(__file__).parents[4]
SCRIPT = """
import re
import sys
from callback_sdk.service.work import stack_dump
stack_dump.enable(int(sys.argv[1]))
if sys.argv[2] == "off":
    stack_dump.disable()

def compute():
    # The regular expression engine holds the interpreter's lock.
    print("ready", flush=True)
    re.match("(a+)+$", "a" * 60 + "b")

compute()
"""


@pytest.fixture
def dump() -> Iterator[StackDump]:
    """Give a file for the stack of a process."""
    dump = StackDump()
    yield dump
    dump.close()


@pytest.fixture
def processes(tmp_path: Path, dump: StackDump) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Run processes that don't return from a C function, with and without dumps."""
    script = tmp_path / "computing.py"
    script.write_text(SCRIPT)
    found = {}
    try:
        for state in ("on", "off"):
            command = [sys.executable, script, str(dump.descriptor), state]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            found[state] = subprocess.Popen(
                command, stdout=subprocess.PIPE, env=environment, pass_fds=[dump.descriptor]
            )  # fmt: skip
            output = found[state].stdout
            assert output is not None
            assert output.readline() == b"ready\n"
        yield found
    finally:
        for process in found.values():
            process.kill()
            process.communicate()


def test_a_process_that_does_not_return_from_c_tells_where_it_is(
    dump: StackDump, processes: dict[str, subprocess.Popen[bytes]]
) -> None:
    """No other thread of it runs."""
    found = dump.describe(processes["on"].pid)
    assert found.startswith("It was in compute (")
    assert found.endswith("computing.py, line 14).")
    assert ", called by <module> (" in found


def test_the_signal_has_its_own_action_when_dumps_are_disabled(
    dump: StackDump, processes: dict[str, subprocess.Popen[bytes]]
) -> None:
    """Algorithms may use it."""
    assert dump.describe(processes["off"].pid) == ""
    assert processes["off"].wait() == -signal.SIGUSR2


def test_the_place_of_a_process_that_has_ended_is_unknown(dump: StackDump) -> None:
    """As is that of one that hasn't started yet."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert dump.describe(ended.pid) == dump.describe(0) == ""
