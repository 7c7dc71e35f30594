"""callback_sdk.service.work.shared_memory; that of real runs is in test_process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

import pytest

from callback_sdk.service.work import shared_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is used is read from /proc")


@pytest.fixture(autouse=True)
def noted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note what this process creates during a test."""
    monkeypatch.setattr(resource_tracker, "register", resource_tracker.register)
    shared_memory.prepare()
    yield
    shared_memory._created.clear()


def test_a_segment_is_left_when_nobody_uses_it() -> None:
    """Until it is removed."""
    segment = SharedMemory(create=True, size=10)
    assert shared_memory.left() == []
    segment.close()
    assert shared_memory.left() == [segment.name]
    other = SharedMemory(segment.name)
    assert shared_memory.left() == []
    other.close()
    segment.unlink()
    assert shared_memory.left() == []
    assert not shared_memory._created


def test_the_number_of_names_is_limited() -> None:
    """They go into the log."""
    segments = [SharedMemory(create=True, size=10) for _ in range(20)]
    for segment in segments:
        segment.close()
    assert len(shared_memory.left()) == 10
    for segment in segments:
        segment.unlink()
