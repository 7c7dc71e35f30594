"""Threads for calls of drivers that must not block: to name servers, and those that compute or read for long."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

MAX_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Threads for calls, as many as `concurrent.futures.ThreadPoolExecutor` has: they compute, and read files."""

MAX_LOOK_UPS = 64
"""Threads for name servers, which may take seconds to respond."""

SMALL = 256 * 1024
"""Bytes that are encoded or hashed at once: that takes less than a millisecond, and a thread a tenth of one."""


class CallThreads:
    """Threads for calls, started when they are needed. They keep neither an event loop nor the process from ending.

    Args:
        limit: Maximum number of threads.
        name: Name of the threads.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._count = self._idle = 0
        # A signal handler may send too, while it has interrupted this.
        self._lock = threading.RLock()
        # Looked up at run time: eventlet and gevent replace the C implementation, which would block their event loop.
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def submit(self, job: Callable[[], None]) -> None:
        """Call a function that raises nothing in a thread; in this one if there is no other."""
        self._jobs.put(job)
        if not self._has_thread():
            # "can't start new thread": at the limit of threads, or during interpreter shutdown.
            self._jobs.get()()

    def _has_thread(self) -> bool:
        """Start a thread if none is idle and the limit isn't reached; return whether there is any."""
        with self._lock:
            if self._idle or self._count == self._limit:
                # One that is idle and wasn't assigned a job yet.
                self._idle = max(0, self._idle - 1)
                return True
            try:
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            except RuntimeError:
                return bool(self._count)
            self._count += 1
            return True

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            with self._lock:
                self._idle += 1
