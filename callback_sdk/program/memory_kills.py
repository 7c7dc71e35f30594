"""How many processes the kernel has killed because the memory limit of this control group was reached.

Version 2 has the number in memory.events ("Control Group v2" in the kernel's documentation), version 1 in
memory.oom_control ("Memory Resource Controller").
"""

from __future__ import annotations

from pathlib import Path

_OWN = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def memory_kills(own: Path = _OWN, root: Path = _ROOT) -> int:
    """Return the number; 0 if it isn't known.

    Args:
        own: The file that names this process's control groups; see cgroups(7).
        root: Where control groups are mounted.
    """
    try:
        groups = own.read_text().splitlines()
    except OSError:
        return 0
    return sum(_number(file) for file in _files(groups, root))


def _files(groups: list[str], root: Path) -> list[Path]:
    found = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found.append(root / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            found.append(root / "memory" / path.lstrip("/") / "memory.oom_control")
    return found


def _number(file: Path) -> int:
    try:
        words = file.read_text().split()
    except OSError:
        return 0
    pairs = dict(zip(words[::2], words[1::2], strict=False))
    return int(pairs.get("oom_kill", 0))
