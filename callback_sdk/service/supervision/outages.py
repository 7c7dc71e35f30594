"""What a loop does while something it needs is away: wait longer and longer, and log few lines about it."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from callback_sdk.errors import CallbackSDKError

_FIRST_INTERVAL = 10.0
"""Seconds after the first log line of an outage in which its repeats are counted only."""

_LONGEST_INTERVAL = 600.0


def retry_pause(failures: int, *, first: float = 1.0, longest: float = 60.0) -> float:
    """Return how many seconds to wait before a retry: exponential backoff with jitter.

    Half of the pause is fixed, so that no retry follows at once; the other half is random, so that many
    processes don't come back at the same moment.

    Args:
        failures: Failures in a row, at least 1.
        first: The pause after the first failure.
        longest: No pause is longer.
    """
    whole = min(longest, first * 2.0 ** min(failures - 1, 16))
    return whole / 2 + random.random() * whole / 2  # noqa: S311 (jitter is no secret)


class OutageLog:
    """Logs the begin of an outage, a count of its repeats at growing intervals, and its end. Threads may share it.

    Args:
        log: Where the lines go.
        failing: What doesn't work, as the begin of a line: `"Tasks can't be dispatched"`.
        working: What works again: `"Tasks are dispatched again"`.
        clock: Gives seconds that are never put back.
    """

    def __init__(
        self, log: logging.Logger, *, failing: str, working: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._failing = failing
        self._working = working
        self._clock = clock
        self._lock = threading.Lock()
        self._since: float | None = None
        self._failures = 0
        self._unlogged = 0
        self._interval = _FIRST_INTERVAL
        self._next = 0.0
        self._kind: type[BaseException] | None = None
        self._error: BaseException | None = None

    @property
    def error(self) -> BaseException | None:
        """The latest failure of the outage that lasts; None when there is none."""
        return self._error

    def failed(self, error: BaseException) -> int:
        """Log a failure, or count it only, and return how many there have been in a row."""
        with self._lock:
            moment = self._clock()
            if self._since is None:
                self._since, self._interval = moment, _FIRST_INTERVAL
            self._failures += 1
            self._error = error
            # Another kind of error is other news.
            if moment >= self._next or type(error) is not self._kind:
                self._write(error)
                self._next = moment + self._interval
                self._interval = min(_LONGEST_INTERVAL, 2 * self._interval)
            else:
                self._unlogged += 1
            return self._failures

    def recovered(self) -> None:
        """Log the end of the outage, if there was one."""
        if self._since is None:
            return
        with self._lock:
            if self._since is not None:
                seconds = self._clock() - self._since
                self._log.warning(
                    "%s, after %.0f s and %s.", self._working, seconds, _count(self._failures, "failure")
                )  # fmt: skip
            self._since, self._failures, self._unlogged, self._next, self._kind = None, 0, 0, 0.0, None
            self._error = None

    def _write(self, error: BaseException) -> None:
        repeats = f" ({_count(self._unlogged, 'repeat')} not logged)" if self._unlogged else ""
        # A traceback says where a fault of ours is. It says nothing about a server that is away.
        unexpected = not isinstance(error, CallbackSDKError) and type(error) is not self._kind
        text = str(error) if isinstance(error, CallbackSDKError) else f"{type(error).__name__}: {error}"
        self._log.error("%s: %s%s", self._failing, text, repeats, exc_info=error if unexpected else None)
        self._kind, self._unlogged = type(error), 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
