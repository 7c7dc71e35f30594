"""Calls at the same time, on threads that stay for the next time: to begin one takes as long as a delivery."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
R = TypeVar("R")

_RESTING = 2
"""Pools that are kept when nobody needs them."""


class Parallel:
    """Pools of threads. Each round has one of its own, so that no round waits for the slow ones of another.

    Args:
        most: Calls of one round at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._resting: list[ThreadPoolExecutor] = []
        self._process = os.getpid()

    def map(self, call: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Return what a call makes of each item, in their order. All have ended when it returns, or raises."""
        pool = self._take()
        try:
            results = list(pool.map(call, items))
        except BaseException:
            pool.shutdown()
            raise
        self._give(pool)
        return results

    def close(self) -> None:
        """End the threads that rest."""
        with self._lock:
            resting, self._resting = self._resting, []
        for pool in resting:
            pool.shutdown()

    def _take(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._process != os.getpid():
                # No thread survives a fork.
                self._resting, self._process = [], os.getpid()
            if self._resting:
                return self._resting.pop()
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(self._most, thread_name_prefix="callback-sdk")

    def _give(self, pool: ThreadPoolExecutor) -> None:
        with self._lock:
            if len(self._resting) < _RESTING:
                self._resting.append(pool)
                return
        pool.shutdown()
