"""Changes of tasks: tells listeners, in this process and in others on the same database, which tasks have changed.

A notification says only that a task has to be read again, so a lost one loses no data: listeners check all of their
tasks from time to time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from callback_sdk.concurrency.forking import Lock

Listener = Callable[["Collection[str] | None"], object]
"""Called with the ids of changed tasks; with None if any task may have changed. It must not block, as it is called in
the thread that has changed the tasks."""


class TaskChanges:
    """The listeners of this process, and the way to those of other processes. Thread-safe.

    Attributes:
        forward: Tells other processes, if the database has a channel for that.
    """

    def __init__(self) -> None:
        self.forward: Listener = _to_nobody
        self._listeners: tuple[Listener, ...] = ()
        self._lock = Lock()

    @property
    def is_heard(self) -> bool:
        """Whether this process has listeners."""
        return bool(self._listeners)

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Call a listener for all changes during the block."""
        with self._lock:
            self._listeners = (*self._listeners, listener)
        try:
            yield
        finally:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not listener)

    def publish(self, job_ids: Collection[str]) -> None:
        """Tell all processes that tasks have changed, after the change was committed."""
        if job_ids:
            self.tell(job_ids)
            self.forward(job_ids)

    def tell(self, job_ids: Collection[str] | None) -> None:
        """Tell this process that tasks have changed; None if any task may have."""
        for listener in self._listeners:
            listener(job_ids)


def _to_nobody(_: Collection[str] | None) -> None:
    pass
