"""The reaper: a process between this one and a child of it, which ends all descendants of the child together with it.

Linux gives orphans to the nearest ancestor that is a subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)), whatever sessions,
process groups and environments they have made for themselves. The reaper is one, and lives a little longer than the
child: neither a child that is killed nor a parent that is killed leaves a process behind.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal to get when the parent's thread that started this process ends."""

_PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphans below this process become its own children, and not those of init."""

_TIMEOUT = 10.0
"""Maximum seconds until killed processes have ended: one that waits for a device in the kernel can't be killed."""

_MAX_DESCRIPTOR = 65536
"""Number of descriptors that the tracker closes: the parent passes few, so they are small."""

_TICK = 0.05


def program(pids: int, tracker: int) -> str:
    """Return the statements by which a new interpreter becomes a reaper; see `guard`.

    The interpreter has not been told `sys.path` yet, and imports nothing else before it forks, so a reaper is small.

    Args:
        pids: Descriptor to which the child writes its pid.
        tracker: Descriptor for the child's resource tracker.
    """
    root = str(Path(__file__).parents[2])
    return (
        f"import sys; sys.path.insert(0, {root!r}); from {__name__} import guard; del sys.path[0]; "
        f"guard({os.getpid()}, {pids}, {tracker})"
    )


def guard(parent: int, pids: int, tracker: int) -> None:
    """Fork a child, in which this function returns. This process waits for it, ends its descendants, and ends like it.

    The kernel kills the child when the reaper ends, and tells the reaper when the parent's thread ends that started it.

    Args:
        parent: Pid of the parent.
        pids: Descriptor to which the child writes its pid, when it is in a session of its own.
        tracker: Descriptor that is replaced by that of a resource tracker of multiprocessing: it removes shared memory
            and semaphores that the child and its descendants have registered there, when they have ended.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    become_subreaper()
    end_with_parent(signal.SIGTERM, parent)
    reaper = os.getpid()
    tracking = _fork_tracker(tracker)
    child = os.fork()
    if child:
        os.close(pids)
        # It ends when nobody can register anything any more.
        os.close(tracker)
        status = _wait_for(child)
        _end_children(tracking)
        _end_tracker(tracking)
        _end_like(status)
    # Signals to the child's group, and those of a terminal, don't reach the reaper.
    os.setsid()
    end_with_parent(signal.SIGKILL, reaper)
    # Not earlier, and not by the reaper: the parent signals the child's group, which must exist when it knows the pid.
    os.write(pids, b"%d" % os.getpid())
    os.close(pids)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def become_subreaper() -> None:
    """Become the parent of descendants whose parents have ended."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(number: int, parent: int) -> None:
    """Get a signal when the parent's thread ends that started this process, or exit if it has ended.

    Args:
        number: The signal.
        parent: Pid of the parent.
    """
    _prctl(_PR_SET_PDEATHSIG, number)
    # If the parent ended before the call, the kernel sends no signal, but this process has another parent already.
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value)


def _fork_tracker(tracker: int) -> int:
    """Start a resource tracker, and return its pid."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        # Its warnings are about leaks of algorithms, which the service logs itself.
        for descriptor in (1, 2):
            os.dup2(null, descriptor)
        os.dup2(reader, 3)
        # What it has open would stay open: locks of devices, and pipes whose other ends wait for the end of the child.
        os.closerange(4, _MAX_DESCRIPTOR)
        resource_tracker.main(3)
        os._exit(0)
    os.close(reader)
    os.dup2(writer, tracker, inheritable=False)
    os.close(writer)
    return pid


def _wait_for(child: int) -> int:
    """Return the wait status of the child, or that of SIGTERM if this process gets the signal before."""
    while signal.sigwait({signal.SIGCHLD, signal.SIGTERM}) == signal.SIGCHLD:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
    return signal.SIGTERM


def _end_children(kept: int) -> None:
    """Kill the children but one until there are none: those of a killed process become the reaper's."""
    end = time.monotonic() + _TIMEOUT
    while (found := [pid for pid in _children() if pid != kept]) and time.monotonic() < end:
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        signal.sigtimedwait({signal.SIGCHLD}, _TICK)


def _end_tracker(pid: int) -> None:
    """Wait for the resource tracker, which removes what is left; kill it if it doesn't end."""
    end = time.monotonic() + _TIMEOUT
    with suppress(ChildProcessError):
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, _TICK)


def _children() -> list[int]:
    # Not /proc/PID/task/TID/children, which not every kernel has; see proc(5).
    own, found = os.getpid(), []
    for file in Path("/proc").glob("[0-9]*/stat"):
        # It may have ended.
        with suppress(OSError):
            # The name of a program may contain anything, parentheses too.
            if int(file.read_bytes().rpartition(b")")[2].split()[1]) == own:
                found.append(int(file.parent.name))
    return found


def _end_like(status: int) -> NoReturn:
    """End with the exit code or by the signal of a wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        # The child has dumped its core already, if at all.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
    os._exit(code & 0xFF)
