"""What a child process must not share with its parent after `os.fork()`: locks, sockets, database handles.

A child inherits each of them in the state that it has at that moment. A lock that another thread holds is never
released, two processes that use one socket read each other's responses, and a SQLite connection that crosses a fork
can corrupt its file ("How To Corrupt An SQLite Database File", section 2.6). Celery's prefork pool, gunicorn's
`--preload` and `multiprocessing` with the start method `fork` all do this to objects at module level.

The whole package uses this module: `Lock` for a lock, `PerProcess` for a value with sockets or files, `no_fork` around
an import that is done while threads run, `after_fork` for anything else.
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
"""Values of the parent process. They are kept, because the finalizer of one may write to a socket or to a file."""


def after_fork(owner: T, renew: Callable[[T], object]) -> None:
    """Call a function in every child process, for as long as its owner exists.

    It runs inside `os.fork()`, where no other thread exists: it must wait for nothing, neither a lock nor the network.

    Args:
        owner: An object that supports weak references. Registering it again replaces its function.
        renew: Called with the owner. It must not refer to the owner itself, which would then live for ever.
    """
    key = id(owner)
    _hooks[key] = (weakref.ref(owner, lambda _: _hooks.pop(key, None)), renew)


def keep_inherited(value: object) -> None:
    """Keep a value of the parent process in this child, so that no finalizer of it runs here."""
    _inherited.append(value)


def Lock() -> threading.Lock:  # noqa: N802 - the name that `threading` gives it
    """Return a `threading.Lock` that is free in each child process, whoever held it in the parent.

    It is a lock in C and no class around one: a signal handler's exception between its acquisition and the end of an
    `__enter__` in Python would leave it held for ever.
    """
    return _renewed(threading.Lock())


def RLock() -> threading.RLock:  # noqa: N802 - the name that `threading` gives it
    """Return a `threading.RLock` that is free in each child process.

    The thread that holds it may acquire it again: a signal handler runs in the middle of whatever the main thread does,
    and would wait for ever for a `Lock` that the main thread holds.
    """
    return _renewed(threading.RLock())


def _renewed(lock: T) -> T:
    after_fork(lock, _renew_lock)
    return lock


def _renew_lock(lock: Any) -> None:
    # The method by which `threading` renews its own locks; those of eventlet may have none.
    if hasattr(lock, "_at_fork_reinit"):
        lock._at_fork_reinit()


class PerProcess(Generic[T]):
    """A value that each process makes for itself, when it first asks for it.

    Args:
        make: Makes the value.
        leave: What a child process does with its parent's value, inside `os.fork()`; nothing by default. It may close
            the child's copies of file descriptors, which leaves the parent's open, but it must take no lock.
    """

    def __init__(self, make: Callable[[], T], *, leave: Callable[[T], object] | None = None) -> None:
        self._make = make
        self._leave = leave
        self._value: tuple[T] | None = None
        self._lock = RLock()
        after_fork(self, PerProcess._renew)

    def get(self) -> T:
        """Return the value of this process; make it if there is none."""
        value = self._value
        if value is not None:
            return value[0]
        with self._lock:
            if self._value is None:
                made = self._make()
                # A signal handler may have been quicker, in the middle of the call above.
                self._value = self._value or (made,)
            return self._value[0]

    def pop(self) -> T | None:
        """Return the value of this process and forget it; None if there is none."""
        with self._lock:
            value, self._value = self._value, None
        return None if value is None else value[0]

    def _renew(self) -> None:
        value, self._value = self._value, None
        if value is not None:
            keep_inherited(value[0])
            if self._leave is not None:
                self._leave(value[0])


_LONGEST_WAIT = 5.0
"""Seconds, at most, that a fork waits for `no_fork`."""

no_fork = threading.RLock()
"""Held while a module is imported or a TLS context is made: `with no_fork: import ssl`. A fork in another thread waits.

A child would inherit the lock of a module that another thread was importing, and wait for ever when it imports the same
one. The lock of the import system itself is renewed in a child, those of single modules are not.
"""


def _wait() -> None:
    no_fork.acquire(timeout=_LONGEST_WAIT)


def _end_wait() -> None:
    # It isn't owned when the wait took too long; then the fork went ahead without it.
    with contextlib.suppress(RuntimeError):
        no_fork.release()


def _end_wait_in_child() -> None:
    # The thread that forked may hold it on, when a signal handler forked in there.
    try:
        no_fork.release()
    except RuntimeError:
        # The thread that holds it doesn't exist here.
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
            # The other objects need their hooks all the same.
            logger.exception("A %s can't be used in this child process.", type(owner).__name__)


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_wait, after_in_parent=_end_wait, after_in_child=_in_child)
