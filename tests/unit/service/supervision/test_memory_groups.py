"""callback_sdk.service.supervision.memory_groups

The control groups are files here that behave as those of Linux 6.1 do: a new group has its files, and a group with
processes can't be removed.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from callback_sdk.service.supervision import memory_groups
from callback_sdk.service.supervision.memory_groups import MemoryGroup

FILES = {
    "cgroup.procs": "",
    "cgroup.kill": "",
    "memory.max": "max\n",
    "memory.oom.group": "0\n",
    "memory.events": "low 0\nhigh 0\nmax 9\noom 3\noom_kill 0\noom_group_kill 0\n",
    "memory.stat": "anon 1000\nfile 50000\nkernel 100\nsock 10\nshmem 1\n",
}


@pytest.fixture(autouse=True)
def delegated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a delegated group, with this process in a group below it."""
    root = tmp_path / "fs"
    own = root / "svc" / "main"
    own.mkdir(parents=True)
    (root / "cgroup.controllers").write_text("cpu memory\n")
    for name in ("cgroup.subtree_control", "cgroup.procs"):
        (own.parent / name).write_text("")
    (tmp_path / "cgroup").write_text("0::/svc/main\n")
    monkeypatch.setattr(memory_groups, "_ROOT", root)
    monkeypatch.setattr(memory_groups, "_OWN", tmp_path / "cgroup")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    mkdir, rmdir = Path.mkdir, Path.rmdir

    def create(path: Path) -> None:
        mkdir(path)
        for name, text in FILES.items():
            (path / name).write_text(text)

    def remove(path: Path) -> None:
        if (path / "cgroup.procs").read_text():
            raise OSError(errno.EBUSY, "Device or resource busy")
        for name in FILES:
            (path / name).unlink()
        rmdir(path)

    monkeypatch.setattr(Path, "mkdir", create)
    monkeypatch.setattr(Path, "rmdir", remove)
    memory_groups._delegated_parent.cache_clear()
    yield own.parent
    memory_groups._delegated_parent.cache_clear()


def created() -> MemoryGroup:
    group = MemoryGroup.create()
    assert group is not None
    return group


def test_groups_are_created_beside_the_own_one(delegated: Path) -> None:
    """Limits of memory are enabled there, and a group that exceeds its limit is killed as a whole."""
    group = created()
    group.add(4711)
    (folder,) = delegated.glob("callback-sdk-*")
    assert (folder / "cgroup.procs").read_text() == "4711"
    assert (folder / "memory.oom.group").read_text().strip() == "1"
    assert (delegated / "cgroup.subtree_control").read_text() == "+memory"
    assert created()._folder != folder


def test_the_limit_is_added_to_the_memory_before_the_run(delegated: Path) -> None:
    """Without the cache of files, which the kernel discards first."""
    group = created()
    (folder,) = delegated.glob("callback-sdk-*")
    group.limit(500)
    assert (folder / "memory.max").read_text().strip() == "1611"
    (folder / "memory.max").write_text("")
    group.limit(math.inf)
    assert (folder / "memory.max").read_text().strip() == "max"


def test_only_kills_in_this_run_count(delegated: Path) -> None:
    """The process may have survived the kill of another one in an earlier run."""
    group = created()
    (folder,) = delegated.glob("callback-sdk-*")
    for kills in (1, 2):
        group.limit(500)
        assert group.excess() == 0
        (folder / "memory.events").write_text(f"max 3\noom_kill {kills}\n")
        assert group.excess() == 500
    group.limit(500)
    assert group.excess() == 0


def test_groups_are_removed_after_their_processes(delegated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a killed service at its next start."""
    monkeypatch.setattr(memory_groups, "_REMOVAL_TIMEOUT", 0.0)
    first, second = created(), created()
    first.add(4711)
    first.kill()
    assert (first._folder / "cgroup.kill").read_text() == "1"
    for group in (first, second):
        group.remove()
    assert list(delegated.glob("callback-sdk-*")) == [first._folder]
    (first._folder / "cgroup.procs").write_text("")
    memory_groups._delegated_parent.cache_clear()
    assert list(delegated.glob("callback-sdk-*")) == [first._folder]
    assert created()._folder != first._folder
    assert not first._folder.exists()


@pytest.mark.parametrize("groups", ["", "4:memory:/svc/main\n0::/\n", "0::/\n", "0::/../svc/main\n"])
def test_version_1_and_the_root_have_no_groups(tmp_path: Path, groups: str) -> None:
    """Nor has a process outside its namespace."""
    (tmp_path / "cgroup").write_text(groups)
    assert MemoryGroup.create() is None


def test_groups_of_others_are_not_touched(delegated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere, but only what is marked as delegated is its own."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    marks: dict[str, bytes] = {}
    monkeypatch.setattr(os, "getxattr", lambda path, name: marks[name] if name in marks else missing())
    assert MemoryGroup.create() is None
    assert (delegated / "cgroup.subtree_control").read_text() == ""
    memory_groups._delegated_parent.cache_clear()
    marks["trusted.delegate"] = b"1"
    assert MemoryGroup.create() is not None


def missing() -> bytes:
    raise OSError(errno.ENODATA, "No data available")


def test_a_group_that_can_not_be_used_is_reported(
    delegated: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory is measured then, as without groups."""
    monkeypatch.delitem(FILES, "memory.oom.group")
    assert MemoryGroup.create() is None
    assert "memory is measured only" in caplog.text
    assert list(delegated.glob("callback-sdk-*")) == []
