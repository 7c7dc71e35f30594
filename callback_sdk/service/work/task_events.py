"""Events of running tasks: sent by the worker that runs the task, in the background.

They aren't stored. Events of a run that was interrupted are lost, and the next run's have greater sequence numbers.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from callback_sdk.errors import CallbackSDKError
from callback_sdk.models import FINISHED, IN_PROGRESS, Progress
from callback_sdk.service.store import Claim, Store, StoreUnavailableError
from callback_sdk.service.store.subscriptions import EVENTS
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.hosts import origin
from callback_sdk.tracing import TRACEPARENT
from callback_sdk.writer.attempts import DeliveryAttempts
from callback_sdk.writer.events import JobEvents

_log = logging.getLogger(__name__)

MAX_PER_HOST = 4
"""Events that a process sends to one host at a time, so that they leave its capacity to results."""


class RunEvents:
    """The events of one run.

    Attributes:
        events: Sends them.
        has_ended: Whether the run has ended its task, and its last events are being sent.
    """

    events: JobEvents
    has_ended = False

    def report(self, progress: Mapping[str, Any] | None) -> None:
        """Report progress as the algorithm's process has written it, which may be anything."""
        try:
            found = Progress.from_dict(progress)
        except CallbackSDKError:
            return
        if found != Progress():
            self.events.progress(found.fraction, found.message)

    def close(self) -> None:
        """Send the last progress, and no event after that: the result follows."""
        self.has_ended = True
        self.events.close()

    def abort(self) -> None:
        """Send no event any more: the run has lost its claim, or the task runs again."""
        self.events.abort()


class TaskEvents:
    """Opens the events of the runs of one process.

    Args:
        store: Knows the targets, and whether a host takes events.
        writer: Sends the events.
        interval: Shortest time between two progress events of a task at one target.
    """

    def __init__(self, store: Store, writer: DeliveryAttempts, interval: timedelta) -> None:
        self._store = store
        self._writer = writer
        self._interval = interval
        self._lock = threading.Lock()
        self._sending: Counter[str] = Counter()

    def open(self, claim: Claim) -> RunEvents | None:
        """Return the events of a run that begins, whose targets are told so; None if no target subscribes to any."""
        task = claim.task
        if EVENTS not in task.options:
            return None
        try:
            callbacks = [each for each in self._store.subscriptions.of(task.job_id) if self._can_be_sent(each)]
            if not callbacks:
                return None
            # The keys are read when an event is signed.
            writer = self._writer.signing_with(lambda: self._store.signing_secrets.keys(task.owner))
            run = RunEvents()
            run.events = writer.open_events(
                task.job_id,
                callbacks,
                run=claim.attempt,
                interval=self._interval,
                admit=lambda callback: self._admit(claim, run, callback),
                traceparent=task.options.get(TRACEPARENT),
            )
        except (CallbackSDKError, StoreUnavailableError) as error:
            _log.warning("Task %s: no events are sent: %s", task.job_id, error, extra={"job_id": task.job_id})
            return None
        run.events.started()
        return run

    def _can_be_sent(self, callback: Callback) -> bool:
        """Return whether a target takes events: it may have replaced the one that subscribed, or be gone."""
        try:
            self._writer.plan(callback).check_events()
        except CallbackSDKError as error:
            _log.warning("%s gets no events: %s", callback.shown_url, error)
            return False
        return not self._store.hosts.is_disabled(callback.url)

    @contextmanager
    def _admit(self, claim: Claim, run: RunEvents, callback: Callback) -> Iterator[bool]:
        """Tell whether an event of a run may be sent, and count it as long as it is being sent."""
        host = origin(callback.shown_url)
        with self._lock:
            sending, self._sending[host] = self._sending[host], self._sending[host] + 1
        try:
            yield sending < MAX_PER_HOST and self._may_send(claim, host, sending, has_ended=run.has_ended)
        finally:
            with self._lock:
                self._sending[host] -= 1
                if not self._sending[host]:
                    del self._sending[host]

    def _may_send(self, claim: Claim, host: str, sending: int, *, has_ended: bool) -> bool:
        status = FINISHED if has_ended else IN_PROGRESS
        try:
            return self._store.subscriptions.may_send(
                claim.task.job_id, claim.attempt, host, status=status, sending=sending
            )
        except StoreUnavailableError:
            return False
