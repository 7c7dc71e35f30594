"""How much memory a run may take, and how much it takes.

Linux has all of it in /proc and in the cgroups' files. Elsewhere the resident sizes of the processes are added up.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from attrs import define

from callback_sdk.concurrency.forking import Lock

_SHARE = 0.8
"""Part of the memory that all runs may take together; the rest is the service's own, and the system's."""

_HELD = 0.5
"""Part of its limit that a process may hold between two runs."""

_LEAST = 256 * 1024**2
"""Bytes of the smallest share: Python with pandas and pyarrow takes about as much."""

_SLACK = 256 * 1024**2
"""Bytes of address space that threads and allocators reserve beside what they hold."""

_PAUSE = 20
"""An exact look takes as long as there are pages, and is repeated only after so many times that."""

_BOUNDED = Lock()

_GROUPS = Path("/proc/self/cgroup")
_GROUP_FOLDER = Path("/sys/fs/cgroup")

_SHOWN = ("bytes", "kB", "MB", "GB", "TB")


@define(frozen=True)
class MemoryLimit:
    """How much memory one run may take beyond what its process held before.

    Attributes:
        size: Bytes; infinite for no limit.
        is_default: Whether it is the service's own, as the algorithm has none.
    """

    size: float
    is_default: bool = False

    @property
    def held(self) -> float:
        """Bytes that a process may hold between two runs."""
        return self.size * _HELD

    def excess(self, taken: int) -> str:
        """Return what to say of a run that took more.

        Args:
            taken: Bytes.
        """
        advice = (
            "That is the service's limit for each run: raise it with memory_limit= of the algorithm, or with "
            "--memory-limit or CALLBACK_SDK_MEMORY_LIMIT; run fewer processes, or send less data."
            if self.is_default
            else "Send less data, or raise memory_limit= of the algorithm."
        )
        return f"The algorithm took {shown(taken)} of memory, and may take {shown(self.size)}. {advice}"


NO_LIMIT = MemoryLimit(math.inf, is_default=True)


def limit_of(own: float | None, default: MemoryLimit) -> MemoryLimit:
    """Return the limit of an algorithm's runs.

    Args:
        own: The algorithm's; None when it has none.
        default: The service's.
    """
    return default if own is None else MemoryLimit(own)


def default_limit(configured: float | None, processes: int) -> MemoryLimit:
    """Return the limit of runs whose algorithm has none.

    Args:
        configured: The operator's; None for the share of one process.
        processes: How many run at a time on this machine.
    """
    size = configured if configured is not None else max(_LEAST, int(total() * _SHARE / processes))
    return MemoryLimit(size, is_default=True)


def total() -> int:
    """Return the bytes of memory that this process can have: the machine's, or those of its control group."""
    limits = [int(psutil.virtual_memory().total)]
    for file in _group_files():
        # "max", or a file that isn't there: no limit.
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(file.read_text()))
    return min(limits)


def shown(size: float) -> str:
    """Return bytes for people."""
    if not math.isfinite(size):
        return "any number of bytes"
    power = min(int(math.log(max(size, 1), 1000)), len(_SHOWN) - 1)
    return f"{size / 1000**power:.{1 if power else 0}f} {_SHOWN[power]}"


@contextlib.contextmanager
def bounded(size: float) -> Iterator[None]:
    """Let this process allocate only so much more while the block lasts: what asks for more gets a MemoryError.

    Other threads count too, and are refused as well when all of it is taken, which is what their run may take anyway.
    Where the kernel has no such limit, nothing happens.

    Args:
        size: Bytes beyond what it has; infinite for no limit.
    """
    if sys.platform != "linux" or not math.isfinite(size):
        yield
        return
    import resource

    # One after the other: the second of two threads would take the limit of the first for that from before.
    with _BOUNDED:
        before = resource.getrlimit(resource.RLIMIT_DATA)
        limit = _status(Path("/proc/self"), "VmData") + int(size) + _SLACK
        soft = limit if before[0] == resource.RLIM_INFINITY else min(limit, before[0])
        resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, before)


class Meter:
    """Measures what a run takes: a process and its descendants, without what the process held before.

    Pages of files don't count, as the kernel can drop them. Pages that forked processes share count once.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = _resident(pid)
        self._exact_after = 0.0

    def excess(self, limit: float) -> int:
        """Return the bytes that the run takes, when they are more than the limit; 0 otherwise."""
        family = [self._pid, *_family(self._pid)]
        taken = sum(map(_resident, family)) - self._before
        if taken <= limit or time.monotonic() < self._exact_after:
            return 0
        started = time.monotonic()
        taken = sum(map(_proportional, family)) - self._before
        self._exact_after = time.monotonic() + _PAUSE * (time.monotonic() - started)
        return taken if taken > limit else 0


def held_by(pid: int) -> int:
    """Return the bytes that a process holds."""
    return _resident(pid)


def _resident(pid: int) -> int:
    """Return the bytes of memory of a process that are its own or shared memory, and no file's."""
    if sys.platform != "linux":
        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
        return 0
    folder = Path(f"/proc/{pid}")
    return _status(folder, "RssAnon") + _status(folder, "RssShmem")


def _proportional(pid: int) -> int:
    """Return the same, with each page divided by the number of processes that share it."""
    fields = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    # Linux before 5.9 has the sum only, with the pages of files.
    found = [fields[name] for name in ("Pss_Anon", "Pss_Shmem") if name in fields]
    return sum(found) if found else fields.get("Pss", _resident(pid))


def _status(folder: Path, name: str) -> int:
    return _fields(folder / "status").get(name, 0)


def _fields(file: Path) -> dict[str, int]:
    """Return the sizes of a file of /proc, in bytes; none of a process that has ended."""
    try:
        lines = [line.split() for line in file.read_text(errors="replace").splitlines()]
    except OSError:
        return {}
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3 and words[2] == "kB"}


def _family(pid: int) -> list[int]:
    """Return the descendants of a process."""
    if not Path(f"/proc/{pid}/task/{pid}/children").exists():
        with contextlib.suppress(psutil.Error):
            return [child.pid for child in psutil.Process(pid).children(recursive=True)]
        return []
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for file in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                children = [int(child) for child in file.read_text().split()]
                found += children
                waiting += children
    return found


def _group_files() -> Iterator[Path]:
    """Yield the files that have the memory limits of this process's control group, and of those above it."""
    try:
        lines = _GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        # Version 2 has one hierarchy for all controllers, version 1 one for each.
        root, name = ("memory", "memory.limit_in_bytes") if controllers else ("", "memory.max")
        folder = _GROUP_FOLDER / root
        # Within a container the path may be that of the host, and its own group the root.
        for part in ("", *Path(path.lstrip("/")).parts):
            folder /= part
            yield folder / name
