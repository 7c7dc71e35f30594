"""Fork safety: locks, sockets and database handles that a child process must not share with its parent.

A child process inherits objects in the state that they had at the fork. A lock held by another thread is never
released, two processes that share a socket read each other's responses, and a SQLite connection used across a fork
can corrupt its file ("How To Corrupt An SQLite Database File", section 2.6). Celery's prefork pool, gunicorn's
`--preload` and `multiprocessing` with the start method `fork` all fork processes that have such objects in modules.

Use `Lock` and `RLock` for locks, `PerProcess` for values with sockets or files, `no_fork` around imports while other
threads run, and `after_fork` for anything else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)

_hooks: dict[int, tuple[weakref.ref[Any], Callable[[Any], object]]] = {}

_inherited: list[Any] = []
"""References to values of the parent process: their finalizers must not run, as they may write to sockets or files."""


def after_fork(owner: T, renew: Callable[[T], object]) -> None:
    """Register a function that is called in each child process as long as its owner exists.

    The function runs inside `os.fork()`, where no other thread exists. It must not block on locks or the network.

    Args:
        owner: An object that supports weak references. Registering it again replaces its function.
        renew: Called with the owner. It must not hold a reference to the owner, which would never be collected then.
    """
    key = id(owner)
    _hooks[key] = (weakref.ref(owner, lambda _: _hooks.pop(key, None)), renew)


def keep_inherited(value: object) -> None:
    """Hold a reference to a value of the parent process, so that its finalizer doesn't run in this child."""
    _inherited.append(value)


def Lock() -> threading.Lock:  # noqa: N802 - the name that `threading` gives it
    """Return a `threading.Lock` that is unlocked in each child process.

    It is not wrapped in a class: if a signal handler raised between the acquisition and the end of an `__enter__`
    written in Python, the lock would never be released.
    """
    return _renew_after_fork(threading.Lock())


def RLock() -> threading.RLock:  # noqa: N802 - the name that `threading` gives it
    """Return a `threading.RLock` that is unlocked in each child process.

    Use it where signal handlers acquire the lock: they interrupt the main thread and would deadlock on a `Lock` that
    the main thread holds.
    """
    return _renew_after_fork(threading.RLock())


def _renew_after_fork(lock: T) -> T:
    after_fork(lock, _renew_lock)
    return lock


def _renew_lock(lock: Any) -> None:
    # `threading` reinitializes its own locks with this method. Locks of eventlet may lack it.
    if hasattr(lock, "_at_fork_reinit"):
        lock._at_fork_reinit()


class PerProcess(Generic[T]):
    """A value that each process creates on first use.

    Args:
        make: Creates the value.
        leave: Called in a child process with the parent's value, inside `os.fork()`. It may close the child's copies
            of file descriptors, which doesn't affect the parent's, but it must not acquire locks.
    """

    def __init__(self, make: Callable[[], T], *, leave: Callable[[T], object] | None = None) -> None:
        self._make = make
        self._leave = leave
        self._value: tuple[T] | None = None
        self._lock = RLock()
        after_fork(self, PerProcess._renew)

    def get(self) -> T:
        """Return the value of this process; create it on first use."""
        value = self._value
        if value is not None:
            return value[0]
        with self._lock:
            if self._value is None:
                new = self._make()
                # A signal handler may have set the value during the call above.
                self._value = self._value or (new,)
            return self._value[0]

    def peek(self) -> T | None:
        """Return the value of this process; None if there is none."""
        value = self._value
        return None if value is None else value[0]

    def pop(self) -> T | None:
        """Remove the value of this process and return it; None if there is none."""
        with self._lock:
            value, self._value = self._value, None
        return None if value is None else value[0]

    def _renew(self) -> None:
        value, self._value = self._value, None
        if value is not None:
            keep_inherited(value[0])
            if self._leave is not None:
                self._leave(value[0])


_MAX_WAIT = 5.0
"""Maximum number of seconds that a fork waits for `no_fork`."""

no_fork = threading.RLock()
"""Lock that delays forks in other threads while a module is imported or a TLS context is created.

Usage: `with no_fork: import ssl`. Otherwise a child inherits the lock of a module that another thread is importing, and
its own import of that module deadlocks. Python reinitializes the global import lock in a child, not those of modules.
"""


def _wait() -> None:
    no_fork.acquire(timeout=_MAX_WAIT)


def _end_wait() -> None:
    # The lock isn't owned if the wait timed out and the fork proceeded without it.
    with contextlib.suppress(RuntimeError):
        no_fork.release()


def _end_wait_in_child() -> None:
    # The forking thread may still hold the lock afterwards: a signal handler may fork within a `no_fork` block.
    try:
        no_fork.release()
    except RuntimeError:
        # The owner is a thread that doesn't exist in this process.
        _renew_lock(no_fork)


def _in_child() -> None:
    _end_wait_in_child()
    for reference, renew in list(_hooks.values()):
        owner = reference()
        if owner is None:
            continue
        try:
            renew(owner)
        except Exception:
            # The hooks of the other objects must still run.
            logger.exception("A %s can't be used in this child process.", type(owner).__name__)


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_wait, after_in_parent=_end_wait, after_in_child=_in_child)
