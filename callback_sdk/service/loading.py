"""Startup without garbage collection: loaded modules are excluded from later collections."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Disable garbage collection while modules are loaded, and exclude the loaded objects from later collections.

    The web framework and the database toolkit create hundreds of thousands of objects that exist until the process
    ends. Collections during startup would take a third of its time, and another collection would follow at exit.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
