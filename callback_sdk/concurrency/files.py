"""Files that processes share, on every system: flags that Windows lacks, and locks by `fcntl` or `msvcrt`."""

from __future__ import annotations

import importlib
import os
from typing import Any

PRIVATE = getattr(os, "O_CLOEXEC", getattr(os, "O_NOINHERIT", 0)) | getattr(os, "O_BINARY", 0)
"""Flags of every file: no child process inherits it, and Windows changes no line ends."""

NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
"""Opening a named pipe doesn't wait for its writer. Windows has no named pipes among its files."""

DIRECTORY: int | None = getattr(os, "O_DIRECTORY", None)
"""Opens a directory; None where that isn't possible."""


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _msvcrt = _optional("fcntl"), _optional("msvcrt")


def try_lock(descriptor: int) -> bool | None:
    """Lock a file until its descriptor is closed, or its process ends.

    Returns:
        False if another process has locked it; None if the system or the file system has no locks.
    """
    try:
        if _fcntl is not None:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        elif _msvcrt is not None:
            _msvcrt.locking(descriptor, _msvcrt.LK_NBLCK, 1)
        else:
            return None
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def wait_for_lock(descriptor: int) -> None:
    """Lock a file as `try_lock` does, but wait for others.

    Raises:
        OSError: The file system has no locks, or Windows has waited for its ten seconds.
    """
    if _fcntl is not None:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX)
    elif _msvcrt is not None:
        _msvcrt.locking(descriptor, _msvcrt.LK_LOCK, 1)
