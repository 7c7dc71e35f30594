"""Locks on files between processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from callback_sdk.filesystem.locks import try_lock, wait_for_lock


@pytest.fixture
def descriptors(tmp_path: Path) -> Iterator[tuple[int, int, int]]:
    """Open a file three times: flock(2) treats them as three processes."""
    opened = [os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR, 0o600) for _ in range(3)]
    yield (opened[0], opened[1], opened[2])
    for descriptor in opened:
        os.close(descriptor)


def test_second_lock_is_refused(descriptors: tuple[int, int, int]) -> None:
    """An exclusive lock excludes exclusive and shared ones."""
    first, second, _ = descriptors
    wait_for_lock(first)
    assert (try_lock(second), try_lock(second, shared=True)) == (False, False)


def test_shared_locks_exclude_only_exclusive_ones(descriptors: tuple[int, int, int]) -> None:
    """Several commands can hold one at the same time, and no service starts meanwhile."""
    first, second, third = descriptors
    assert (try_lock(first, shared=True), try_lock(second, shared=True), try_lock(third)) == (True, True, False)


def test_file_system_without_locks_is_neither_locked_nor_refused(tmp_path: Path) -> None:
    """A descriptor that can't be locked stands for such a file system."""
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert try_lock(writer) is None
