"""Kills by the kernel are counted in both versions of control groups."""

from __future__ import annotations

from pathlib import Path

from callback_sdk.program.memory_kills import memory_kills


def _kills(tmp_path: Path, groups: str) -> int:
    own = tmp_path / "cgroup"
    own.write_text(groups)
    return memory_kills(own, tmp_path)


def test_version_2(tmp_path: Path) -> None:
    (tmp_path / "job_7").mkdir()
    (tmp_path / "job_7/memory.events").write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert _kills(tmp_path, "0::/job_7\n") == 2


def test_version_1(tmp_path: Path) -> None:
    (tmp_path / "memory/job_7").mkdir(parents=True)
    (tmp_path / "memory/job_7/memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert _kills(tmp_path, "5:cpu,memory:/job_7\n1:name=systemd:/x\n") == 1


def test_without_control_groups_nothing_is_known(tmp_path: Path) -> None:
    assert _kills(tmp_path, "0::/\n") == 0
    assert memory_kills(tmp_path / "missing", tmp_path) == 0
