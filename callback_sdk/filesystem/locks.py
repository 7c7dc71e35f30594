"""Locks on files between processes, by `fcntl` or `msvcrt`."""

from __future__ import annotations

import importlib
from typing import Any


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _msvcrt = _optional("fcntl"), _optional("msvcrt")


def try_lock(descriptor: int, *, shared: bool = False) -> bool | None:
    """Lock a file without waiting. The lock is released when the descriptor is closed or the process ends.

    Args:
        descriptor: The open file.
        shared: Whether other shared locks are allowed at the same time, where the system has such locks.

    Returns:
        True if the file was locked; False if another process holds the lock; None if locks are not supported.
    """
    try:
        if _fcntl is not None:
            _fcntl.flock(descriptor, (_fcntl.LOCK_SH if shared else _fcntl.LOCK_EX) | _fcntl.LOCK_NB)
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
