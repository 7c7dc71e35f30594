"""callback_sdk.service.work.orphans; the orphans of real runs are in test_process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from callback_sdk.service.work.orphans import end_orphans, mark

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the environment is read from /proc")

ROOT = Path(__file__).parents[4]


def test_only_processes_of_killed_services_are_ended() -> None:
    """Neither those of this one, nor those of another PID namespace, nor any without a mark."""
    ((name, own),), ((_, other),) = mark().items(), _mark_of_ended_process().items()
    pid, start, namespace = own.split(":", 2)
    values = [other, own, f"{pid}:{start}:pid:[1]", f"{other}0", "", "invalid", f"x:{start}:{namespace}"]
    command = [sys.executable, "-c", "print('ready', flush=True); input()"]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, name: value})
        for value in values
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        end_orphans()
        assert [process.poll() is None for process in processes] == [False] + [True] * 6
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _mark_of_ended_process() -> dict[str, str]:
    script = (
        "from callback_sdk.service.work.orphans import mark; [print(name, value) for name, value in mark().items()]"
    )
    name, value = subprocess.check_output([sys.executable, "-c", script], text=True, cwd=ROOT).split()
    return {name: value}
