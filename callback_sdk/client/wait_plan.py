"""WaitPlan: decides what to ask the service next while waiting for a task.

It makes no request, doesn't sleep and has no clock, so that blocking and asynchronous code share it.
"""

from __future__ import annotations

from enum import Enum

from attrs import define, field

from callback_sdk.client.transport import MAX_RETRY_AFTER
from callback_sdk.errors import ServiceConnectionError, ServiceError
from callback_sdk.transport.retry import is_retryable

LONGEST_POLL = 30.0
"""Maximum seconds for which the service may hold a response back. Many proxies give up after 60 s without one."""

LONGEST_POLL_WITH_PROGRESS = 5.0
"""The same while progress is shown that no event reports."""

_LAST_REQUEST_TIME = 0.5
"""Seconds reserved for the last poll. The first poll may take as long, even if the timeout is shorter."""

_MIN_REQUEST_TIME = 0.05
"""Seconds before the deadline in which no request is started."""

_SHORTEST_POLL = 1.0
"""Seconds below which the service is asked for its answer at once."""

_ANSWER_TIME = 30.0
"""Seconds in which the service answers after a wait."""

_FIRST_PAUSE = 0.1
_GROWTH = 1.5

_WAITED = 0.8
"""Part of a wait after which an answer counts as late, as opposed to that of a service that doesn't wait."""

MAX_STREAM_FAILURES = 3
"""Streams that fail before the task is only polled: a proxy may hold back or cut them."""

STABLE_STREAM = 5.0
"""Seconds after which a stream that ends hasn't failed."""

_CUT = frozenset({408, 499, 502, 504, 524})
"""Statuses of proxies that have waited too long for a response; 499 is nginx's, 524 Cloudflare's."""


class Streams(Enum):
    """When a stream of events is read instead of polling.

    Attributes:
        NEVER: Never.
        LATER: After a long poll: the first request answers tasks that end soon.
        AT_ONCE: From the beginning, for its progress.
    """

    NEVER = "never"
    LATER = "later"
    AT_ONCE = "at once"


@define(frozen=True, kw_only=True)
class Poll:
    """Ask for the task.

    Attributes:
        pause: Seconds to sleep before.
        wait: Seconds for which the service may hold the response back; 0 for a response at once.
        deadline: Time by which the request must end, of the plan's clock.
    """

    pause: float
    wait: float
    deadline: float


@define(frozen=True, kw_only=True)
class ReadEvents:
    """Read the events of the task.

    Attributes:
        pause: Seconds to sleep before.
        deadline: Time by which the stream is left, of the plan's clock.
    """

    pause: float
    deadline: float


Step = Poll | ReadEvents


@define
class WaitPlan:
    """The requests of one wait. All times are seconds of one monotonic clock.

    Old services answer at once instead of waiting, and so does a service with too many waiting clients. Then the task
    is polled, with pauses that grow up to `max_interval`.

    Args:
        end: Deadline of the wait.
        max_interval: Maximum pause between two polls, unless a `Retry-After` requests more.
        longest: Maximum seconds for which the service may hold a response back.
        streams: When events are read.
    """

    end: float
    max_interval: float = field(default=2.0, kw_only=True)
    longest: float = field(default=LONGEST_POLL, kw_only=True)
    streams: Streams = field(default=Streams.NEVER, kw_only=True)
    _pause: float = field(default=0.0, init=False)
    _step: Step | None = field(default=None, init=False)
    _began_at: float = field(default=0.0, init=False)
    _stream_failures: int = field(default=0, init=False)

    def begin(self, now: float) -> Step:
        """Return the first step."""
        self._pause = min(_FIRST_PAUSE, self.max_interval)
        if self.streams is Streams.AT_ONCE and self.end - now >= _SHORTEST_POLL:
            return self._read_events(now, 0.0)
        # The first request has the time to be answered, however short the wait is.
        return self._poll(now, 0.0, deadline=max(self.end, now + _LAST_REQUEST_TIME))

    def after_response(self, now: float) -> Step | None:
        """Return the step after a poll whose response doesn't end the wait; None if the time is over."""
        if isinstance(self._step, Poll) and self._step.wait and now - self._began_at >= _WAITED * self._step.wait:
            self._pause = min(_FIRST_PAUSE, self.max_interval)
            return self._next(now, 0.0, may_read=True)
        return self._next(now, self._grown_pause())

    def after_error(self, now: float, error: ServiceError) -> Step | None:
        """Return the step after a poll that failed; None if the time is over.

        Args:
            now: The time.
            error: An error that may pass.
        """
        waited = now - self._began_at
        if isinstance(self._step, Poll) and self._step.wait and waited >= _SHORTEST_POLL and _is_cut(error):
            # Something between client and service allows no responses that take as long.
            self.longest = min(self.longest, waited / 2)
        asked_for = min(error.retry_after or 0.0, MAX_RETRY_AFTER)
        return self._next(now, max(self._grown_pause(), asked_for))

    def after_events(self, now: float, *, heard: bool, ended: bool) -> Step | None:
        """Return the step after a stream has ended; None if the time is over.

        Args:
            now: The time.
            heard: Whether there was an event.
            ended: Whether an event has said that the task has ended.
        """
        if ended:
            self.streams = Streams.NEVER
            return self._next(now, 0.0, wait=False)
        if not heard or now - self._began_at < STABLE_STREAM:
            self._stream_failures += 1
            return self._next(now, 0.0)
        return self._next(now, min(_FIRST_PAUSE, self.max_interval), may_read=True)

    def _next(self, now: float, pause: float, *, may_read: bool = False, wait: bool = True) -> Step | None:
        left = self.end - now
        if left < _MIN_REQUEST_TIME:
            return None
        pause = min(pause, max(left - _LAST_REQUEST_TIME, left / 2))
        has_streams = self.streams is not Streams.NEVER and self._stream_failures < MAX_STREAM_FAILURES
        if may_read and has_streams and left - pause >= _SHORTEST_POLL:
            return self._read_events(now, pause)
        return self._poll(now, pause, deadline=self.end, wait=wait)

    def _grown_pause(self) -> float:
        pause, self._pause = self._pause, min(self._pause * _GROWTH, self.max_interval)
        return pause

    def _poll(self, now: float, pause: float, *, deadline: float, wait: bool = True) -> Poll:
        at = now + pause
        seconds = min(self.longest, self.end - at - _LAST_REQUEST_TIME)
        if not wait or seconds < _SHORTEST_POLL:
            seconds = 0.0
        step = Poll(pause=pause, wait=seconds, deadline=min(deadline, at + seconds + _ANSWER_TIME))
        self._step, self._began_at = step, at
        return step

    def _read_events(self, now: float, pause: float) -> ReadEvents:
        step = ReadEvents(pause=pause, deadline=self.end - _LAST_REQUEST_TIME)
        self._step, self._began_at = step, now + pause
        return step


def may_pass(error: ServiceError) -> bool:
    """Return whether the next request may succeed."""
    return isinstance(error, ServiceConnectionError) or (error.status is not None and is_retryable(error.status))


def _is_cut(error: ServiceError) -> bool:
    return isinstance(error, ServiceConnectionError) or error.status in _CUT
