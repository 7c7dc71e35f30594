"""Shared memory of multiprocessing that a run has left behind."""

from __future__ import annotations

from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path

_FOLDER = Path("/dev/shm")  # noqa: S108 - it is read only
"""The directory of shm_open(3)."""

_KIND = "shared_memory"

_MAX_NAMES = 10
"""Maximum number of names that are returned."""

_created: set[str] = set()


def prepare() -> None:
    """Note what this process creates from now on.

    What its descendants create is not noted: their resource tracker removes it when they and this process have ended.
    """
    original = resource_tracker.register

    def register(name: str, kind: str) -> None:
        original(name, kind)
        if kind == _KIND:
            _created.add(name.lstrip("/"))

    resource_tracker.register = register  # type: ignore[assignment]


def left() -> list[str]:
    """Return the names of segments that this process has created, and that no process uses any more.

    A segment that stays mapped, as a model in a global variable, is not left behind.
    """
    _created.intersection_update(name for name in tuple(_created) if (_FOLDER / name).exists())
    return sorted(_created - _segments_in_use())[:_MAX_NAMES] if _created else []


def _segments_in_use() -> set[str]:
    """Return the names that are mapped in any process of this user."""
    found: set[str] = set()
    prefix = f"{_FOLDER}/"
    for file in Path("/proc").glob("[0-9]*/maps"):
        # It may have ended, or belong to another user.
        with suppress(OSError):
            lines = file.read_text(errors="replace").splitlines()
            found.update(line.partition(prefix)[2] for line in lines if prefix in line)
    return found
