"""Waits for a task: carries out the steps of a plan until a condition holds or a timeout expires."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define

from callback_sdk.client.states import TaskSnapshot
from callback_sdk.client.wait_plan import LONGEST_POLL, Poll, ReadEvents, Streams, WaitPlan, may_pass
from callback_sdk.errors import ServiceError
from callback_sdk.redaction import strip_traceback

Ask = Callable[[Poll], TaskSnapshot]
"""Requests the state of a task, with a deadline in seconds of the monotonic clock."""

Follow = Callable[[ReadEvents], "tuple[bool, bool]"]
"""Reads the events of a task. Returns whether there was one, and whether one has said that the task has ended."""

Show = Callable[[TaskSnapshot, "ServiceError | None"], object]
"""Shows a state, and the error of the last poll."""


@define(frozen=True, kw_only=True)
class TaskWait:
    """A wait.

    Attributes:
        end: Deadline, in seconds of the monotonic clock.
        max_interval: Maximum seconds between two polls of a service that doesn't hold its responses back, unless a
            `Retry-After` requests more.
        longest: Maximum seconds for which the service may hold a response back.
        streams: When `follow` is called instead of polling.
        show: Shows each state.
    """

    end: float
    max_interval: float = 2.0
    longest: float = LONGEST_POLL
    streams: Streams = Streams.NEVER
    show: Show = lambda state, poll_error: None

    def until(
        self,
        condition: Callable[[TaskSnapshot], bool],
        poll: Ask,
        state: TaskSnapshot,
        follow: Follow = lambda watch: (False, False),
    ) -> tuple[TaskSnapshot, ServiceError | None]:
        """Ask until a condition holds or the deadline has passed.

        Args:
            condition: The condition.
            poll: Requests the current state.
            state: The last known state.
            follow: Reads events.

        Returns:
            The last state, and the error of the last poll.

        Raises:
            ServiceError: The service doesn't know the task, or rejects the request.
        """
        plan = WaitPlan(self.end, max_interval=self.max_interval, longest=self.longest, streams=self.streams)
        poll_error: ServiceError | None = None
        step: Poll | ReadEvents | None = plan.begin(time.monotonic())
        while step is not None:
            if step.pause:
                time.sleep(step.pause)
            if isinstance(step, ReadEvents):
                heard, ended = follow(step)
                step = plan.after_events(time.monotonic(), heard=heard, ended=ended)
                continue
            poll_error = None
            try:
                state = poll(step)
            except ServiceError as error:
                if not may_pass(error):
                    raise
                poll_error = strip_traceback(error)
            self.show(state, poll_error)
            if poll_error is not None:
                step = plan.after_error(time.monotonic(), poll_error)
            elif condition(state):
                break
            else:
                step = plan.after_response(time.monotonic())
        return state, poll_error
