"""Orphans: processes of a service that was killed together with the reapers that would have ended them."""

from __future__ import annotations

import functools
import logging
import os
from contextlib import suppress
from pathlib import Path

import psutil

_log = logging.getLogger(__name__)

_MARK = "_CALLBACK_SDK_SERVICE"
"""Environment variable with the process of the service that has started a process of algorithms."""

_KILL_TIMEOUT = 5.0
"""Maximum seconds until killed processes have ended."""


def mark() -> dict[str, str]:
    """Return the environment variable by which processes below this one are recognized when it has ended."""
    return {_MARK: f"{os.getpid()}:{_start(os.getpid())}:{_namespace()}"}


def end_orphans() -> None:
    """Kill the processes whose service has ended. Its reapers do that, unless they were killed with it."""
    found = [process for process in psutil.process_iter() if _is_orphan(process)]
    for process in found:
        _log.warning("The process with pid %d is left over from a killed service; killing it.", process.pid)
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, timeout=_KILL_TIMEOUT)


def _is_orphan(process: psutil.Process) -> bool:
    try:
        value: str = process.environ().get(_MARK, "")
    except (psutil.Error, OSError):
        # It has ended, or belongs to another user.
        return False
    pid, _, rest = value.partition(":")
    start, _, namespace = rest.partition(":")
    # Pids are those of their namespace: nothing is known of the service of another container.
    return namespace == _namespace() and pid.isdecimal() and _start(int(pid)) != start


@functools.cache
def _namespace() -> str:
    """Return the PID namespace of this process; see pid_namespaces(7)."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "unknown"


def _start(pid: int) -> str:
    """Return the time when a process started, in clock ticks since the boot; empty if it has ended; see proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    # A zombie has ended, and waits for its parent.
    return "" if fields[0] == b"Z" else fields[19].decode()
