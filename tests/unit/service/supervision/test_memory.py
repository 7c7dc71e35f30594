"""callback_sdk.service.supervision.memory"""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from callback_sdk.service.supervision import memory
from callback_sdk.service.supervision.memory import (
    MemoryLimit,
    default_limit,
    format_size,
    has_room,
    limit_allocations,
    limit_of,
    total,
)

GIB = 1024**3
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


def test_the_default_is_a_share_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 80 % for all processes together, and never less than Python with pandas needs."""
    monkeypatch.setattr(memory, "total", lambda: 10 * GIB)
    assert default_limit(None, 4) == MemoryLimit(2 * GIB, is_default=True)
    assert default_limit(None, 1000).size == 256 * 1024**2
    assert default_limit(5.0, 4).size == 5
    assert default_limit(math.inf, 4).size == math.inf


def test_an_algorithms_own_limit_goes_before_the_default() -> None:
    """Also when it is none."""
    default = MemoryLimit(1000, is_default=True)
    assert limit_of(None, default) is default
    assert limit_of(5, default) == MemoryLimit(5)
    assert limit_of(math.inf, default).size == math.inf


@pytest.mark.parametrize(("is_default", "advice"), [(True, "CALLBACK_SDK_MEMORY_LIMIT"), (False, "Send less data")])
def test_an_exceeded_limit_has_a_hint(is_default: bool, advice: str) -> None:
    """The error has both sizes in readable units."""
    text = MemoryLimit(1.5e9, is_default=is_default).excess(2_345_678_901)
    assert text.startswith("The algorithm used 2.3 GB of memory (limit 1.5 GB).")
    assert advice in text


def test_sizes_are_shown_for_people() -> None:
    """In the largest unit that leaves a number above one."""
    assert [format_size(size) for size in (0, 999, 1000, 1.5e6, 4 * GIB)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "1.5 MB",
        "4.3 GB",
    ]
    assert format_size(math.inf) == "any number of bytes"


@LINUX
@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/a/b", {"a/memory.max": "3000", "a/b/memory.max": "max"}, 3000),
        ("0::/a/b", {"a/memory.max": "3000", "a/b/memory.max": "2000"}, 2000),
        ("0::/../..", {"memory.max": "1000"}, 1000),
        ("5:memory:/a\n3:cpu:/b", {"memory/a/memory.limit_in_bytes": "4000"}, 4000),
        ("5:memory:/host", {"memory/memory.limit_in_bytes": "5000"}, 5000),
        ("5:memory:/a", {"memory/a/memory.limit_in_bytes": str(2**63 - 4096)}, None),
        ("", {}, None),
    ],
)
def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], expected: int | None
) -> None:
    """The lowest of its control group and of those above it, in both versions; the machine's where there is none."""
    (tmp_path / "cgroup").write_text(groups)
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_GROUP_FOLDER", tmp_path / "fs")
    assert total() == (psutil.virtual_memory().total if expected is None else expected)


@LINUX
@pytest.mark.parametrize(
    ("group", "folder", "limit", "usage", "cached"),
    [
        ("0::/a", "a", "memory.max", "memory.current", "inactive_file"),
        ("5:memory:/a", "memory/a", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_further_process_needs_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, folder: str, limit: str, usage: str, cached: str
) -> None:
    """With it, a fifth of the memory stays available; the cache of files is, what is used is not."""
    place = tmp_path / folder
    place.mkdir(parents=True)
    (tmp_path / "cgroup").write_text(group)
    (place / limit).write_text("1000000")
    (place / usage).write_text("500000")
    (place / "memory.stat").write_text(f"active_file 7\n{cached} 100000\n")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_GROUP_FOLDER", tmp_path)
    assert has_room(400_000)
    assert not has_room(400_001)


@LINUX
def test_without_a_limit_the_memory_of_the_machine_counts() -> None:
    """No process may take all of it."""
    assert not has_room(psutil.virtual_memory().total)


@LINUX
def test_the_kernel_enforces_the_bound() -> None:
    """Allocations above it raise MemoryError, and the limit is restored after the block."""
    with limit_allocations(1_000_000), pytest.raises(MemoryError):
        bytes(GIB)
    assert len(bytes(GIB)) == GIB


@LINUX
def test_a_meter_counts_memory_after_its_start() -> None:
    """Memory used before and file-backed pages don't count."""
    # In a process of its own: threads of other tests may allocate as well.
    script = """
import os
from callback_sdk.service.supervision import memory
before = bytearray(b"x") * 200_000_000
meter = memory.Meter(os.getpid())
after = bytearray(b"x") * 100_000_000
print(meter.excess(50_000_000), meter.excess(150_000_000), len(before) > len(after))
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert 80_000_000 < int(said[0]) < 150_000_000
    assert said[1:] == ["0", "True"]
