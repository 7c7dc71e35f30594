"""Portable access to files shared by processes: `os.open` flags, and file locks by `fcntl` or `msvcrt`."""

from __future__ import annotations

import importlib
import os
from typing import Any

PRIVATE = getattr(os, "O_CLOEXEC", getattr(os, "O_NOINHERIT", 0)) | getattr(os, "O_BINARY", 0)
"""`os.open` flags for every file: not inherited by child processes, and no newline translation on Windows."""

NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
"""`os.open` flag that keeps the open from blocking on a named pipe. 0 on Windows, which has none in its file system."""

DIRECTORY: int | None = getattr(os, "O_DIRECTORY", None)
"""`os.open` flag to open a directory; None where the system doesn't support it."""


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _msvcrt = _optional("fcntl"), _optional("msvcrt")


def try_lock(descriptor: int) -> bool | None:
    """Lock a file without waiting. The lock is released when the descriptor is closed or the process ends.

    Returns:
        True if the file was locked; False if another process holds the lock; None if locks are not supported.
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
    """Lock a file as `try_lock` does, but wait until other processes have released it.

    Raises:
        OSError: The file system doesn't support locks, or the wait timed out (Windows: ten seconds).
    """
    if _fcntl is not None:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX)
    elif _msvcrt is not None:
        _msvcrt.locking(descriptor, _msvcrt.LK_LOCK, 1)
