"""Outages of a dependency: exponential backoff, and rate-limited log records."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from callback_sdk.errors import CallbackSDKError

_FIRST_INTERVAL = 10.0
"""Seconds after the first log record of an outage in which repeats are only counted."""

_MAX_INTERVAL = 600.0


def retry_pause(failures: int, *, first: float = 1.0, max_pause: float = 60.0) -> float:
    """Return the delay before a retry, in seconds: exponential backoff with jitter.

    Half of the delay is fixed, so that no retry follows at once; the other half is random, so that many
    processes don't retry at the same time.

    Args:
        failures: Failures in a row, at least 1.
        first: Delay after the first failure, in seconds.
        max_pause: Maximum delay, in seconds.
    """
    whole = min(max_pause, first * 2.0 ** min(failures - 1, 16))
    return whole / 2 + random.random() * whole / 2  # noqa: S311 (jitter is not a secret)


class OutageLog:
    """Logs the start of an outage, the number of its repeats at growing intervals, and its end. Thread-safe.

    Args:
        log: The logger.
        failing: Start of the records about failures: `"Tasks can't be dispatched"`.
        working: Record about the end of the outage: `"Tasks are dispatched again"`.
        clock: A monotonic clock, in seconds.
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
        self._suppressed = 0
        self._interval = _FIRST_INTERVAL
        self._next = 0.0
        self._kind: type[BaseException] | None = None
        self._error: BaseException | None = None

    @property
    def error(self) -> BaseException | None:
        """The latest failure of the current outage; None if there is none."""
        return self._error

    def record_failure(self, error: BaseException) -> int:
        """Log or count a failure, and return the number of consecutive failures."""
        with self._lock:
            moment = self._clock()
            if self._since is None:
                self._since, self._interval = moment, _FIRST_INTERVAL
            self._failures += 1
            self._error = error
            # Another type of error is logged at once.
            if moment >= self._next or type(error) is not self._kind:
                self._write(error)
                self._next = moment + self._interval
                self._interval = min(_MAX_INTERVAL, 2 * self._interval)
            else:
                self._suppressed += 1
            return self._failures

    def record_recovery(self) -> None:
        """Log the end of the outage, if there was one."""
        if self._since is None:
            return
        with self._lock:
            if self._since is not None:
                seconds = self._clock() - self._since
                self._log.warning(
                    "%s, after %.0f s and %s.", self._working, seconds, _count(self._failures, "failure")
                )  # fmt: skip
            self._since, self._failures, self._suppressed, self._next, self._kind = None, 0, 0, 0.0, None
            self._error = None

    def _write(self, error: BaseException) -> None:
        repeats = f" ({_count(self._suppressed, 'repeat')} not logged)" if self._suppressed else ""
        # A traceback helps with a bug of this package, not with an unavailable server.
        unexpected = not isinstance(error, CallbackSDKError) and type(error) is not self._kind
        text = str(error) if isinstance(error, CallbackSDKError) else f"{type(error).__name__}: {error}"
        self._log.error("%s: %s%s", self._failing, text, repeats, exc_info=error if unexpected else None)
        self._kind, self._suppressed = type(error), 0


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
