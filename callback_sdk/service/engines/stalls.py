"""Notices a consumer that the broker brings nothing to although there is something for it.

Celery's consumers can stop for good without an error: after the broker's queues were deleted under a busy worker, or
when a partition leaves half of a connection open. The store knows what an engine was given and nobody claimed.
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
"""A free consumer that gets nothing for so long while something is there for it has stalled.

Longer than the dispatcher's `AGAIN_AFTER` and its longest sleep together: an id that the broker lost comes again
within that time, and is no reason to restart anything.
"""

_LONGEST_INTERVAL = 2.0
"""Seconds between two looks, at most."""

_LONGEST_ROUND = 180.0
"""Seconds after which a look counts as hanging: more than the timeouts of the database."""


class MessageCounter:
    """Counts what the broker brings to one process, by queue. Its threads share it.

    Args:
        slots: How many ids it handles at once.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._lock = threading.Lock()
        self._busy = 0
        self._received: set[str] = set()

    @contextmanager
    def handling(self, queue: str) -> Iterator[None]:
        """Note that an id came from a queue, and hold one slot."""
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

    def look(self) -> tuple[bool, set[str]]:
        """Return whether a slot is free, and the queues that something came from since the last look."""
        with self._lock:
            received, self._received = self._received, set()
            return self._busy < self._slots, received


class StallDetector:
    """Adds up, for each queue, how long a process was free while something was dispatched to it and nothing came.

    A queue is stalled when that is longer than the timeout. Whatever comes from it, or nothing more that waits in
    it, begins anew. Time in which the process was busy doesn't count: it takes nothing then.

    Args:
        timeout: Seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._looked_at: float | None = None
        self._waited: dict[str, float] = {}

    def look(self, moment: float, *, free: bool, received: Collection[str], dispatched: Collection[str]) -> list[str]:
        """Return the queues that have stalled.

        Args:
            moment: Now, in seconds of a clock that is never put back.
            free: Whether the process could take something.
            received: Queues that something came from since the last look.
            dispatched: Queues that hold something that nobody has claimed, as far as the store knows.
        """
        # A machine that slept, or a look that hung, is no time in which something could have come.
        passed = 0.0 if self._looked_at is None else min(moment - self._looked_at, 2 * _LONGEST_INTERVAL)
        self._looked_at = moment
        grown = {queue: self._waited.get(queue, -passed) + passed for queue in dispatched}
        waited = grown if free else self._waited
        self._waited = {queue: seconds for queue, seconds in waited.items() if queue not in received}
        return sorted(queue for queue, seconds in self._waited.items() if seconds >= self._timeout)


class StallWatch:
    """A thread that looks for a stall of this process's consumer, and at what the process depends on.

    Args:
        messages: What comes from the broker.
        dispatched: Returns the queues that hold something given out since a time of the database's clock.
        since: The database's time when this process began to take something.
        timeout: How long a stall lasts before it counts.
        on_stall: Called once with the queues that have stalled; it ends the process.
        on_look: Called after each look with what is wrong with the database; None when nothing is.
    """

    def __init__(
        self,
        messages: MessageCounter,
        *,
        dispatched: Callable[[float], Sequence[str]],
        since: float,
        timeout: timedelta,
        on_stall: Callable[[Sequence[str]], None],
        on_look: Callable[[str | None], None],
    ) -> None:
        self._messages = messages
        self._dispatched = dispatched
        self._since = since
        self._detector = StallDetector(timeout.total_seconds())
        self._interval = min(_LONGEST_INTERVAL, timeout.total_seconds() / 5)
        self._on_stall = on_stall
        self._on_look = on_look
        self._stopping = threading.Event()
        self._thread = SupervisedThread(
            self._loop, name="stall-watch", stopping=self._stopping, longest_round=_LONGEST_ROUND
        )

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()

    def check(self) -> None:
        """Make sure that the thread runs.

        Raises:
            ThreadError: It has ended, or hangs.
        """
        self._thread.check()

    def _loop(self) -> None:
        while not self._stopping.wait(self._interval):
            free, received = self._messages.look()
            try:
                # A busy process takes nothing anyway, and its claims need the database.
                dispatched = self._dispatched(self._since) if free else []
            except StoreUnavailableError as error:
                self._on_look(str(error))
            else:
                self._on_look(None)
                stalled = self._detector.look(time.monotonic(), free=free, received=received, dispatched=dispatched)
                if stalled:
                    self._on_stall(stalled)
                    self._stopping.wait()
                    return
            self._thread.complete_round()
