"""Detection of threads that a run has left running: they would continue during the next run of their process."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Collection
from types import FrameType

_GRACE = 0.2
"""Seconds to wait for threads that are about to end."""

_TICK = 0.01

_WAITING = frozenset({"threading", "queue", "selectors", "multiprocessing.connection"})
"""Modules of the standard library whose functions are on top of the stack of a waiting thread."""

_IDLE = frozenset(
    {("concurrent.futures.thread", "_worker"), ("multiprocessing.pool", "worker"), ("tqdm._monitor", "run")}
    | {("multiprocessing.pool", f"_{name}") for name in ("handle_results", "handle_tasks", "wait_for_updates")}
)
"""Functions, with their modules, in which an idle thread waits for work, such as a thread of a pool."""


def of_run(before: Collection[threading.Thread]) -> list[str]:
    """Return the names of the threads that a run has left running.

    Idle threads of pools are excluded: they do nothing until they get work, and algorithms may keep a pool for the
    lifetime of the process, for example to load a model only once.

    Args:
        before: The threads that were alive when the run started.
    """
    if not _find_started(before):
        return []
    # A thread of a pool may not have started its last work item yet.
    time.sleep(_TICK)
    end = time.monotonic() + _GRACE
    while (found := _at_work(before)) and time.monotonic() < end:
        time.sleep(_TICK)
    return found


def _find_started(before: Collection[threading.Thread]) -> list[threading.Thread]:
    # The end of a thread that Python did not start can't be observed.
    alive = threading.enumerate()
    return [thread for thread in alive if thread not in before and not isinstance(thread, threading._DummyThread)]


def _at_work(before: Collection[threading.Thread]) -> list[str]:
    frames = sys._current_frames()
    return sorted(thread.name for thread in _find_started(before) if not _is_idle(frames.get(thread.ident or 0)))


def _is_idle(frame: FrameType | None) -> bool:
    while frame is not None and _module(frame) in _WAITING:
        frame = frame.f_back
    return frame is not None and (_module(frame), frame.f_code.co_name) in _IDLE


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
