"""Warnings of targets that may expire before their task has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone

from attrs import define

from callback_sdk.service.store.stats import Backlog
from callback_sdk.targets import Target

_CACHE_SECONDS = 10.0
"""Seconds for which an estimate is reused: the queue changes more slowly, and a submission must not wait for it."""


class QueueEstimate:
    """Estimates how long a new task waits, from the length of the queue and recent runs. Thread-safe.

    Args:
        backlog: Returns the queue as it is.
    """

    def __init__(self, backlog: Callable[[], Backlog]) -> None:
        self._backlog = backlog
        self._known: tuple[float, timedelta] | None = None

    def wait(self) -> timedelta:
        """Return the estimated wait; 0 while nothing is queued or nothing is known of the runs."""
        if self._known is None or time.monotonic() - self._known[0] > _CACHE_SECONDS:
            self._known = (time.monotonic(), _estimate(self._backlog()))
        return self._known[1]


def _estimate(backlog: Backlog) -> timedelta:
    # While tasks are queued every process is busy, so the running tasks tell how many there are.
    return timedelta(seconds=backlog.queued * backlog.run_seconds / max(1, backlog.running))


@define(frozen=True, kw_only=True)
class TaskDuration:
    """How long a task may take.

    Attributes:
        expires: Time in which it must be started; None for unlimited.
        timeout: Maximum duration of its run.
    """

    expires: timedelta | None
    timeout: timedelta

    def warnings(self, targets: Iterable[Target], queue: QueueEstimate) -> list[str]:
        """Return a warning for each target that may expire before the task has ended.

        It is an error only if the target has expired already, because a worker may start the task at once. A target
        with an issuer is replaced when it has expired.
        """
        now = datetime.now(timezone.utc)
        ends = [
            (target.callback.url, target.expires_at - now)
            for target in targets
            if target.expires_at is not None and target.callback.issuer is None
        ]
        if not ends:
            return []
        wait = queue.wait() if self.expires is None else self.expires
        start = f"about {_text(wait)} in the queue" if self.expires is None else f"up to {_text(wait)} until it starts"
        return [
            f"{url} expires in {_text(left)}, and the task may end later: {start}, and up to {_text(self.timeout)} of "
            "computing (timeout of the algorithm). Presign for longer, give an issuer (refresh), or replace the target."
            for url, left in ends
            if left < wait + self.timeout
        ]


def _text(duration: timedelta) -> str:
    return str(timedelta(seconds=max(0, round(duration.total_seconds()))))
