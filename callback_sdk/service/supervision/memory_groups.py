"""Memory limits that the kernel enforces, by control groups (cgroups(7), version 2), where they are delegated.

Measurements miss what is allocated between two of them. In a control group the kernel kills the processes of a run as
soon as they exceed the limit. The files are described in the kernel's documentation, "Control Group v2".

A group with processes can't have groups with limits. So the groups are created beside the one of this process, if the
group above both is delegated, as by `Delegate=memory` and `DelegateSubgroup=` of systemd.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import os
import time
from pathlib import Path

_log = logging.getLogger(__name__)

_OWN = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")

_PREFIX = "callback-sdk-"

_DELEGATED = ("user.delegate", "trusted.delegate")
"""Extended attributes by which systemd marks delegated groups."""

_KERNEL = ("kernel", "sock")
"""Entries of memory.stat for memory of the kernel, since Linux 5.18."""

_REMOVAL_TIMEOUT = 2.0
"""Seconds to wait for the end of killed processes."""

_TICK = 0.01

_numbers = itertools.count()


class MemoryGroup:
    """The control group of one child process and its descendants.

    Args:
        folder: Its directory, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = self._kills = 0
        self._limit = math.inf

    @classmethod
    def create(cls) -> MemoryGroup | None:
        """Create a group; return None if there is no delegated group, or if it can't be used."""
        parent = _delegated_parent()
        if parent is None:
            return None
        group = cls(parent / f"{_PREFIX}{os.getpid()}-{next(_numbers)}")
        try:
            group._folder.mkdir()
            # The whole run, not one of its processes.
            group._write("memory.oom.group", "1")
        except OSError as error:
            _log.warning("No control group can be created, memory is measured only: %s", error)
            group.remove()
            return None
        with contextlib.suppress(OSError):
            group._write("memory.swap.max", "0")
        return group

    def add(self, pid: int) -> None:
        """Move a process into the group. Its later child processes are in the group, too."""
        with contextlib.suppress(OSError):
            self._write("cgroup.procs", str(pid))

    def limit(self, size: float) -> None:
        """Limit the memory of the next run, in bytes, in addition to what its process uses now.

        Pages of files in the cache don't count, because the kernel discards them first.
        """
        stat = self._values("memory.stat")
        self._before = sum(stat.get(name, 0) for name in ("anon", "shmem", *_KERNEL))
        self._kills = self._values("memory.events").get("oom_kill", 0)
        self._limit = size
        with contextlib.suppress(OSError):
            self._write("memory.max", str(self._before + int(size)) if math.isfinite(size) else "max")

    def excess(self) -> int:
        """Return the memory usage of the run, in bytes, if the kernel has killed it; 0 otherwise."""
        if self._values("memory.events").get("oom_kill", 0) <= self._kills:
            return 0
        return int(self._limit)

    def kill(self) -> None:
        """Kill all processes of the group."""
        # Since Linux 5.14.
        with contextlib.suppress(OSError):
            self._write("cgroup.kill", "1")

    def remove(self) -> None:
        """Remove the group, when its processes have ended; otherwise the next start of the service removes it."""
        end = time.monotonic() + _REMOVAL_TIMEOUT
        while not _remove(self._folder) and time.monotonic() < end:
            time.sleep(_TICK)

    def _write(self, name: str, text: str) -> None:
        # Not `write_text`, which would create a missing file on other file systems.
        with (self._folder / name).open("r+") as file:
            file.write(text)

    def _values(self, name: str) -> dict[str, int]:
        try:
            lines = (self._folder / name).read_text().splitlines()
        except OSError:
            return {}
        return {key: int(value) for key, _, value in (line.partition(" ") for line in lines)}


@functools.cache
def _delegated_parent() -> Path | None:
    """Return the delegated group above the group of this process, with limits of memory enabled; None without one."""
    own = _own_group()
    if own is None or not _is_delegated(own.parent):
        return None
    control = own.parent / "cgroup.subtree_control"
    try:
        if "memory" not in control.read_text().split():
            control.write_text("+memory")
    except OSError as error:
        _log.warning("The control group %s is delegated, but its memory can't be limited: %s", own.parent, error)
        return None
    for stale in own.parent.glob(f"{_PREFIX}*"):
        # A group with processes can't be removed.
        _remove(stale)
    return own.parent


def _own_group() -> Path | None:
    """Return the directory of this process's group; None for the root, and with version 1."""
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:
        return None
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    # ".." leads out of the cgroup namespace; see cgroup_namespaces(7).
    known = path and ".." not in Path(path).parts and (_ROOT / "cgroup.controllers").exists()
    return _ROOT / path if known else None


def _is_delegated(folder: Path) -> bool:
    if os.geteuid() != 0:
        return all(os.access(path, os.W_OK) for path in (folder, folder / "cgroup.procs"))
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return False


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
