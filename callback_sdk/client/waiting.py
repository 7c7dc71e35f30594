"""Polls the state of a task until a condition holds or a timeout expires."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define

from callback_sdk.client.states import TaskSnapshot
from callback_sdk.client.transport import MAX_RETRY_AFTER
from callback_sdk.errors import ServiceConnectionError, ServiceError
from callback_sdk.redaction import strip_traceback
from callback_sdk.transport.retry import is_retryable

Ask = Callable[[float], TaskSnapshot]
"""Requests the state of a task, with a deadline in seconds of the monotonic clock."""

Show = Callable[[TaskSnapshot, "ServiceError | None"], object]
"""Shows a state, and the error of the last poll."""

_FIRST_PAUSE = 0.1
_GROWTH = 1.5

_LAST_REQUEST_TIME = 0.5
"""Seconds reserved for the last poll. The first poll may take as long, even if the timeout is shorter."""

_MIN_REQUEST_TIME = 0.05
"""Seconds before the deadline in which no poll is started."""


@define(frozen=True, kw_only=True)
class Waiting:
    """A wait with polling.

    Attributes:
        end: Deadline, in seconds of the monotonic clock.
        max_interval: Maximum seconds between two polls, unless a `Retry-After` requests more.
        show: Shows each state.
    """

    end: float
    max_interval: float = 2.0
    show: Show = lambda state, poll_error: None

    def until(
        self, condition: Callable[[TaskSnapshot], bool], poll: Ask, state: TaskSnapshot
    ) -> tuple[TaskSnapshot, ServiceError | None]:
        """Poll until a condition holds or the deadline has passed.

        Args:
            condition: The condition.
            poll: Requests the current state.
            state: The last known state.

        Returns:
            The last state, and the error of the last poll.

        Raises:
            ServiceError: The service doesn't know the task, or rejects the request.
        """
        pause = min(_FIRST_PAUSE, self.max_interval)
        deadline = max(self.end, time.monotonic() + _LAST_REQUEST_TIME)
        while True:
            poll_error: ServiceError | None = None
            try:
                state = poll(deadline)
            except ServiceError as error:
                if not may_pass(error):
                    raise
                poll_error = strip_traceback(error)
            self.show(state, poll_error)
            left = self.end - time.monotonic()
            if (poll_error is None and condition(state)) or left < _MIN_REQUEST_TIME:
                return state, poll_error
            asked_for = min(poll_error.retry_after or 0.0, MAX_RETRY_AFTER) if poll_error else 0.0
            time.sleep(min(max(pause, asked_for), max(left - _LAST_REQUEST_TIME, left / 2)))
            deadline = self.end
            pause = min(pause * _GROWTH, self.max_interval)


def may_pass(error: ServiceError) -> bool:
    """Return whether the next poll may succeed."""
    return isinstance(error, ServiceConnectionError) or (error.status is not None and is_retryable(error.status))
