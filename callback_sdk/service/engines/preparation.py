"""Preparation: gets the child process of a worker thread ready for tasks, and tries again until it is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from attrs import define, evolve

from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import without_credentials
from callback_sdk.service.supervision.outages import OutageLog, retry_pause
from callback_sdk.service.work.child_pair import ChildPair
from callback_sdk.service.work.outcome import StopSignal

_log = logging.getLogger(__name__)

_MAX_PROBLEM = 1000
"""Maximum characters of an error."""

LOADING = "loading"
READY = "ready"
FAILED = "failed"
"""States of a worker."""


@define(frozen=True, kw_only=True)
class WorkerState:
    """The state of a worker: a process that runs one task at a time.

    Attributes:
        name: Name of the worker.
        status: `LOADING` while its process imports the registry and calls the setups, `READY`, or `FAILED` until the
            next attempt.
        problem: The error of the last attempt; None if there was none.
        has_been_ready: Whether it has been ready since the start of the service.
    """

    name: str
    status: str = LOADING
    problem: str | None = None
    has_been_ready: bool = False

    @property
    def is_available(self) -> bool:
        """Whether it can take tasks now, or after a process has been replaced."""
        return self.status == READY or (self.status == LOADING and self.has_been_ready and self.problem is None)


class Preparation:
    """The preparation of one worker's process.

    Args:
        name: Name of the worker.
        stopping: Set to stop retrying.
        stop: Stops a preparation.
        changed: Called when the worker has become ready.

    Attributes:
        state: The worker's state.
    """

    def __init__(
        self, name: str, *, stopping: threading.Event, stop: StopSignal, changed: Callable[[], None]
    ) -> None:  # fmt: skip
        self.state = WorkerState(name=name)
        self._stopping = stopping
        self._stop = stop
        self._changed = changed
        self._outage = OutageLog(_log, failing=f"{name} can't take tasks", working=f"{name} takes tasks again")

    def complete(self, child: ChildPair) -> bool:
        """Prepare a process; retry after failures, with growing pauses.

        Returns:
            False if the engine is stopping.
        """
        while not self._stopping.is_set():
            if child.is_prepared or self._attempt(child):
                return True
        return False

    def _attempt(self, child: ChildPair) -> bool:
        self.state = evolve(self.state, status=LOADING)
        try:
            is_ready = child.prepare(self._stop)
        except CallbackSDKError as error:
            self.state = evolve(
                self.state,
                status=FAILED,
                problem=without_credentials(str(error), show_plain_queries=True)[:_MAX_PROBLEM],
            )
            self._stopping.wait(retry_pause(self._outage.record_failure(error)))
            return False
        if is_ready:
            self.state = evolve(self.state, status=READY, problem=None, has_been_ready=True)
            self._outage.record_recovery()
            self._changed()
        return is_ready
