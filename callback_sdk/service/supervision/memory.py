"""Memory limits of runs, and measurement of their memory usage.

`work.watch` compares, and `work.process` kills a run above its limit. On Linux both are read from /proc and from cgroup
files. Elsewhere the resident sizes of the processes are added up.
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
"""Share of the memory for all runs together; the rest is for the service and the system."""

_MAX_RETAINED_SHARE = 0.5
"""Share of its limit that a process may retain between two runs."""

_MIN_LIMIT = 256 * 1024**2
"""Minimum default limit, in bytes: Python with pandas and pyarrow uses about as much."""

_SLACK = 256 * 1024**2
"""Bytes of address space that threads and allocators reserve in addition to the memory that they use."""

_EXACT_INTERVAL_FACTOR = 20
"""Minimum interval between exact measurements, as a multiple of their duration, which grows with the pages."""

_BOUNDED = Lock()

_GROUPS = Path("/proc/self/cgroup")
_GROUP_FOLDER = Path("/sys/fs/cgroup")

_USAGE = {
    "memory.max": ("memory.current", "inactive_file"),
    "memory.limit_in_bytes": ("memory.usage_in_bytes", "total_inactive_file"),
}
"""For each file with a limit: the file with the usage, and the part of it in memory.stat that is discarded first."""

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@define(frozen=True)
class MemoryLimit:
    """The memory that one run may use in addition to the memory that its process used before.

    Attributes:
        size: The limit, in bytes; infinite for no limit.
        is_default: Whether it is the service's default, as the algorithm has none.
    """

    size: float
    is_default: bool = False

    @property
    def max_retained_bytes(self) -> float:
        """Bytes that a process may retain between two runs."""
        return self.size * _MAX_RETAINED_SHARE

    def excess(self, taken: int) -> str:
        """Return the error of a run that exceeded the limit.

        Args:
            taken: Bytes that the run used.
        """
        advice = (
            "That is the service's limit for each run: raise it with memory_limit= of the algorithm, or with "
            "--memory-limit or CALLBACK_SDK_MEMORY_LIMIT; run fewer processes, or send less data."
            if self.is_default
            else "Send less data, or raise memory_limit= of the algorithm."
        )
        return f"The algorithm used {format_size(taken)} of memory (limit {format_size(self.size)}). {advice}"


NO_LIMIT = MemoryLimit(math.inf, is_default=True)


def limit_of(own: float | None, default: MemoryLimit) -> MemoryLimit:
    """Return the limit of an algorithm's runs.

    Args:
        own: The algorithm's limit; None if it has none.
        default: The service's default.
    """
    return default if own is None else MemoryLimit(own)


def default_limit(configured: float | None, processes: int) -> MemoryLimit:
    """Return the default limit of runs.

    Args:
        configured: The configured limit; None for an equal share of the memory.
        processes: Number of concurrent runs on this machine.
    """
    size = configured if configured is not None else max(_MIN_LIMIT, int(total() * _SHARE / processes))
    return MemoryLimit(size, is_default=True)


def total() -> int:
    """Return the memory available to this process, in bytes: the machine's, or the limit of its control group."""
    limits = [int(psutil.virtual_memory().total)]
    for file in _group_files():
        # "max" (cgroups(7)) or a missing file means no limit.
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(file.read_text()))
    return min(limits)


def has_room(size: int) -> bool:
    """Return whether a process of this size leaves the share of the memory available that isn't for runs.

    Args:
        size: Its memory, in bytes.
    """
    return _available() - size >= total() * (1 - _SHARE)


def _available() -> int:
    """Return the memory that is not used, or that the kernel can reclaim, in bytes; see `total`."""
    found = [int(psutil.virtual_memory().available)]
    for file in _group_files():
        usage, reclaimable = _USAGE[file.name]
        with contextlib.suppress(OSError, ValueError):
            limit, used = int(file.read_text()), int((file.parent / usage).read_text())
            stat = dict(line.split() for line in (file.parent / "memory.stat").read_text().splitlines())
            found.append(limit - used + int(stat.get(reclaimable, 0)))
    return min(found)


def format_size(size: float) -> str:
    """Format a number of bytes with a decimal unit."""
    if not math.isfinite(size):
        return "any number of bytes"
    power = min(int(math.log(max(size, 1), 1000)), len(_UNITS) - 1)
    return f"{size / 1000**power:.{1 if power else 0}f} {_UNITS[power]}"


@contextlib.contextmanager
def limit_allocations(size: float) -> Iterator[None]:
    """Limit further allocations of this process while the block runs; beyond the limit they raise MemoryError.

    It bounds the reading of features only. Runs are watched from outside; see `work.watch`.

    Allocations of other threads count, and fail at the limit too. Does nothing on other systems than Linux.

    Args:
        size: Bytes in addition to the current size; infinite for no limit.
    """
    if sys.platform != "linux" or not math.isfinite(size):
        yield
        return
    import resource

    # RLIMIT_DATA covers private writable mappings since Linux 4.7 (getrlimit(2)). RLIMIT_AS would also count shared
    # and read-only mappings, such as files. One thread at a time, because a second one would restore the temporary
    # limit of the first.
    with _BOUNDED:
        before = resource.getrlimit(resource.RLIMIT_DATA)
        limit = _fields(Path("/proc/self/status")).get("VmData", 0) + int(size) + _SLACK
        soft = limit if before[0] == resource.RLIM_INFINITY else min(limit, before[0])
        resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, before)


class Meter:
    """Measures the memory of a run: that of a process and its descendants, without what the process used before.

    File-backed pages don't count, as the kernel can reclaim them. Pages shared by forked processes count once.

    Args:
        pid: Pid of the process.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = _resident(pid)
        self._exact_after = 0.0

    def excess(self, limit: float) -> int:
        """Return the memory usage of the run, in bytes, if it exceeds the limit; 0 otherwise."""
        family = [self._pid, *_family(self._pid)]
        taken = sum(map(_resident, family)) - self._before
        if taken <= limit or time.monotonic() < self._exact_after:
            return 0
        started = time.monotonic()
        taken = sum(map(_proportional, family)) - self._before
        self._exact_after = time.monotonic() + _EXACT_INTERVAL_FACTOR * (time.monotonic() - started)
        return taken if taken > limit else 0


def retained_by(pid: int) -> int:
    """Return the memory usage of a process, in bytes."""
    return _resident(pid)


def _resident(pid: int) -> int:
    """Return the anonymous and shared memory of a process, in bytes, without file-backed pages."""
    if sys.platform != "linux":
        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
        return 0
    fields = _fields(Path(f"/proc/{pid}/status"))
    return fields.get("RssAnon", 0) + fields.get("RssShmem", 0)


def _proportional(pid: int) -> int:
    """Return the same with each page divided by the number of processes that share it (PSS)."""
    fields = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    # Linux before 5.9 has only the total "Pss", which includes file-backed pages; see proc_pid_smaps(5).
    found = [fields[name] for name in ("Pss_Anon", "Pss_Shmem") if name in fields]
    return sum(found) if found else fields.get("Pss", _resident(pid))


def _fields(file: Path) -> dict[str, int]:
    """Parse the sizes in a file of /proc, in bytes; empty for a process that has ended."""
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
    """Yield the files with the memory limits of this process's control group and its ancestors."""
    try:
        lines = _GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        # cgroup v2 has one hierarchy for all controllers, v1 has one per controller.
        root, name = ("memory", "memory.limit_in_bytes") if controllers else ("", "memory.max")
        folder = _GROUP_FOLDER / root
        # Without a cgroup namespace (cgroup_namespaces(7)), the path is the host's, but the container's own group is
        # mounted as the root. So the files of the root and of each part of the path are tried.
        for part in ("", *Path(path.lstrip("/")).parts):
            folder /= part
            yield folder / name
