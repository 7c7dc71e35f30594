"""Detection of stalled consumers: they receive nothing from the broker although tasks were dispatched to them.

Celery's consumers can stop permanently without an error: after the broker's queues were deleted while a worker was
busy, or after a network partition with a half-open connection. The store has the ids that were dispatched but not
claimed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from callback_sdk.service.store import StoreUnavailableError
from callback_sdk.service.supervision.threads import SupervisedThread

_log = logging.getLogger(__name__)

STALL_TIMEOUT = timedelta(seconds=30)
"""Default timeout after which a free consumer that receives nothing, although ids were dispatched to it, has stalled.

Longer than the sum of the dispatcher's `AGAIN_AFTER` and its longest sleep: an id that the broker lost is sent again
within that time, and doesn't require a restart.
"""

_MAX_INTERVAL = 2.0
"""Maximum seconds between two checks."""

_ROUND_TIMEOUT = 180.0
"""Seconds after which a check counts as hanging: more than the timeouts of the database."""


class MessageCounter:
    """Counts the messages of the broker to one process, by queue. Thread-safe.

    Args:
        slots: Number of ids that the process handles concurrently.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._lock = threading.Lock()
        self._busy = 0
        self._received: set[str] = set()

    @contextmanager
    def handle(self, queue: str) -> Iterator[None]:
        """Record an id from a queue, and occupy one slot in the block."""
        with self._lock:
            self._busy += 1
            self._received.add(queue)
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    @property
    def idle(self) -> bool:
        """Whether all slots are free."""
        with self._lock:
            return self._busy == 0

    def check(self) -> tuple[bool, set[str]]:
        """Return whether a slot is free, and the queues of the messages since the last check."""
        with self._lock:
            received, self._received = self._received, set()
            return self._busy < self._slots, received


class StallDetector:
    """Measures, for each queue, how long a process was free while ids were dispatched to the queue and none arrived.

    A queue has stalled when that is longer than the timeout. A message from it, or an empty queue, resets the
    measurement. Time in which the process is busy doesn't count, as it consumes nothing then.

    Args:
        timeout: The timeout, in seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._looked_at: float | None = None
        self._waited: dict[str, float] = {}

    def check(self, moment: float, *, free: bool, received: Collection[str], dispatched: Collection[str]) -> list[str]:
        """Return the queues that have stalled.

        Args:
            moment: The current time of a monotonic clock, in seconds.
            free: Whether the process has a free slot.
            received: Queues of the messages since the last check.
            dispatched: Queues with ids that were dispatched but not claimed, according to the store.
        """
        # While the machine was suspended, or a check hung, no message could arrive.
        passed = 0.0 if self._looked_at is None else min(moment - self._looked_at, 2 * _MAX_INTERVAL)
        self._looked_at = moment
        grown = {queue: self._waited.get(queue, -passed) + passed for queue in dispatched}
        waited = grown if free else self._waited
        self._waited = {queue: seconds for queue, seconds in waited.items() if queue not in received}
        return sorted(queue for queue, seconds in self._waited.items() if seconds >= self._timeout)


class StallWatch:
    """A thread that checks for stalls of this process's consumer, and for outages of the database.

    Args:
        messages: Counts the messages from the broker.
        dispatched: Returns the queues with unclaimed ids that were dispatched since a time of the database's clock.
        since: The database's time at the start of this process's consumer.
        timeout: Time without messages after which a queue has stalled.
        on_stall: Called once with the stalled queues; it ends the process.
        on_check: Called after each check with the database's problem; None if there is none.
    """

    def __init__(
        self,
        messages: MessageCounter,
        *,
        dispatched: Callable[[float], Sequence[str]],
        since: float,
        timeout: timedelta,
        on_stall: Callable[[Sequence[str]], None],
        on_check: Callable[[str | None], None],
    ) -> None:
        self._messages = messages
        self._dispatched = dispatched
        self._since = since
        self._detector = StallDetector(timeout.total_seconds())
        self._interval = min(_MAX_INTERVAL, timeout.total_seconds() / 5)
        self._on_stall = on_stall
        self._on_check = on_check
        self._stopping = threading.Event()
        self._thread = SupervisedThread(
            self._loop, name="stall-watch", stopping=self._stopping, round_timeout=_ROUND_TIMEOUT
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread."""
        self._stopping.set()

    def check(self) -> None:
        """Check that the thread runs.

        Raises:
            ThreadError: The thread has ended, or hangs.
        """
        self._thread.check()

    def _loop(self) -> None:
        while not self._stopping.wait(self._interval):
            free, received = self._messages.check()
            try:
                # A busy process consumes nothing anyway, and its heartbeat checks the database.
                dispatched = self._dispatched(self._since) if free else []
            except StoreUnavailableError as error:
                self._on_check(str(error))
            else:
                self._on_check(None)
                stalled = self._detector.check(time.monotonic(), free=free, received=received, dispatched=dispatched)
                if stalled:
                    self._on_stall(stalled)
                    self._stopping.wait()
                    return
            self._thread.complete_round()
