"""Sends the events of one job to the targets that subscribe to them: in order, throttled, and none after the end.

Events are best effort. What is promised, for each target:

- The sequence numbers of a job's events increase, and their requests are made one after the other. Of progress that is
  reported faster than it is sent, the newest is sent.
- The last progress is sent before `close` returns, unless the events before it failed, or it takes too long.
- No event is begun after `close` has returned, and none is retried.

A request that timed out may still arrive later. So an event is never the object of the result: `Target.takes_events`.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from datetime import timedelta
from types import TracebackType

from callback_sdk import tracing
from callback_sdk.documents.events import event_document
from callback_sdk.documents.result_files import gzip_body
from callback_sdk.errors import DeliveryError, EncodingError, TargetError
from callback_sdk.models import Progress
from callback_sdk.parsing import Duration, to_timedelta
from callback_sdk.targets import Target
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.members import PROGRESS, STARTED
from callback_sdk.transport.driver import BLOCKING, Driver
from callback_sdk.transport.http import Timeouts
from callback_sdk.writer.delivery import PreparedDelivery, stable_delivery_id
from callback_sdk.writer.failures import loggable_text

logger = logging.getLogger(__name__)

INTERVAL = timedelta(seconds=5)
"""Shortest time between two progress events of a job at one target."""

CLOSE_TIMEOUT = timedelta(seconds=3)
"""How long the end of a job waits for its last event."""

TIMEOUTS = Timeouts(connect=5, read=10, attempt=10)
"""Timeouts of one event: a slow receiver gets the newest progress, and not each."""

EVENTS_OF_RUN = 1_000_000
"""Sequence numbers of one run of a job, so that those of the next run are greater. At an interval of 5 s they last for
57 days."""

_SHORTEST_PAUSE = 0.2
"""Seconds until an event that could not be sent is tried again, if the interval is shorter."""

_MAX_DOUBLINGS = 4
"""Failures after which the interval doesn't grow any more."""

Admit = Callable[[Callback], AbstractContextManager[bool]]
"""Returns a context manager for an attempt, which tells whether a target may be sent an event now."""

SendEvent = Callable[[PreparedDelivery], object]
"""Makes one attempt at an event."""


class JobEvents:
    """Events of one job, sent in the background to the targets that subscribe to them.

    `ResultsWriter.events` returns it. Thread-safe; in a child process of the one that created it, it does nothing.

    Args:
        job_id: The job's id.
        targets: The targets that subscribe to events.
        send: Makes one attempt at an event.
        run: Number of the job's run, from 1. The sequence numbers of a run are greater than those of earlier runs.
        interval: Shortest time between two progress events at one target, a `timedelta` or seconds.
        traceparent: The trace of the job, if another process began it; that of the caller when None.
        admit: Surrounds each attempt, and tells whether it may be made now; otherwise the event waits. None for always.
        driver: Closes the events at the end of `async with`.
    """

    def __init__(
        self,
        job_id: str,
        targets: Iterable[Target],
        *,
        send: SendEvent,
        run: int = 1,
        interval: Duration = INTERVAL,
        traceparent: str | None = None,
        admit: Admit | None = None,
        driver: Driver = BLOCKING,
    ) -> None:
        self._driver = driver
        seconds = to_timedelta("interval", interval, zero=True).total_seconds()
        first = (run - 1) * EVENTS_OF_RUN + 1
        trace = traceparent or tracing.current()
        self._process = os.getpid()
        self._streams = tuple(
            _Stream(job_id, target, first, interval=seconds, send=send, admit=admit, traceparent=trace)
            for target in targets
        )

    def __enter__(self) -> JobEvents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> JobEvents:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._driver.call(self.close)

    def started(self) -> None:
        """Tell the targets that a run of the job has started."""
        for stream in self._own():
            stream.start()

    def progress(self, fraction: float | None, message: str = "") -> None:
        """Report progress. The newest is sent when the interval is over.

        Args:
            fraction: Fraction done, from 0 to 1; None if unknown.
            message: Current step, for people.

        Raises:
            ConfigurationError: The fraction is not a number from 0 to 1.
        """
        progress = Progress(fraction, message)
        for stream in self._own():
            stream.report(progress)

    def close(self, timeout: Duration = CLOSE_TIMEOUT) -> None:
        """Send the last progress, and no event after that. Call it before the result document is sent.

        Args:
            timeout: How long to wait for it, a `timedelta` or seconds. An event that fails isn't waited for.
        """
        deadline = time.monotonic() + to_timedelta("timeout", timeout, zero=True).total_seconds()
        streams = self._own()
        try:
            for stream in streams:
                stream.finish()
            for stream in streams:
                stream.join(max(0.0, deadline - time.monotonic()))
        finally:
            for stream in streams:
                stream.stop()

    def abort(self) -> None:
        """Send no event any more, not even the last one: another run of the job goes on, or nobody waits for it."""
        for stream in self._own():
            stream.stop()

    def _own(self) -> tuple[_Stream, ...]:
        # A forked child has the events of its parent, which goes on sending them.
        return self._streams if os.getpid() == self._process else ()


class _Stream:
    """The events of one job at one target, and the thread that sends them.

    What callers and thread share is a single assignment or a queue each: a signal handler may report progress while the
    thread that it interrupts does.
    """

    def __init__(
        self,
        job_id: str,
        target: Target,
        first: int,
        *,
        interval: float,
        send: SendEvent,
        admit: Admit | None,
        traceparent: str | None,
    ) -> None:
        self._job_id, self._target = job_id, target
        self._first = self._next = first
        self._interval, self._send = interval, send
        self._admit = admit or (lambda callback: nullcontext(enter_result=True))
        self._wants = target.callback.events
        self._starting = False
        self._newest: deque[Progress] = deque(maxlen=1)
        self._is_ending = self._is_stopped = False
        # Of the thread alone.
        self._unsent: tuple[Progress, int] | None = None
        self._last: Progress | None = None
        self._failures = 0
        self._not_before = 0.0
        # Looked up at run time: eventlet and gevent replace the C implementation, which would block their event loop.
        self._wakings: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._traceparent = traceparent
        self._thread: threading.Thread | None = None
        self._may_start_thread = threading.Lock()

    def start(self) -> None:
        if STARTED in self._wants:
            self._starting = True
            self._wake()

    def report(self, progress: Progress) -> None:
        if PROGRESS in self._wants:
            self._newest.append(progress)
            # One waking is enough, however fast progress is reported.
            if self._wakings.empty():
                self._wake()

    def finish(self) -> None:
        """Send what is left, and end."""
        self._is_ending = True
        self._wakings.put(None)

    def join(self, timeout: float) -> None:
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def stop(self) -> None:
        """Begin no event any more."""
        self._is_stopped = True
        self._wakings.put(None)

    def _wake(self) -> None:
        if self._is_ending or self._is_stopped:
            return
        self._wakings.put(None)
        # Two threads may report the first event at the same time.
        if self._may_start_thread.acquire(blocking=False):
            # A daemon thread: an event must not keep the process from ending.
            thread = self._thread = threading.Thread(target=self._run, name="callback-sdk-events", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                # The limit of threads is reached, or the interpreter is shutting down.
                self._thread, self._is_stopped = None, True
                logger.warning("%s gets no events: %s", self._target.callback.url, error)

    def _run(self) -> None:
        while not self._is_stopped:
            # Read before what is waiting: what was reported before the end is sent.
            is_ending = self._is_ending
            pause = self._pause()
            if is_ending and (pause is None or self._failures):
                return
            if pause is None or (pause > 0 and not is_ending):
                with suppress(queue.Empty):
                    self._wakings.get(timeout=pause)
            else:
                self._send_next(is_ending=is_ending)

    def _pause(self) -> float | None:
        """Return the seconds until the next event may be sent; None if none is waiting."""
        if self._starting and not self._failures:
            return 0.0
        if not (self._starting or self._newest or self._unsent):
            return None
        return max(0.0, self._not_before - time.monotonic())

    def _send_next(self, *, is_ending: bool) -> None:
        taken = self._take()
        if taken is None:
            return
        self._unsent = taken
        now = time.monotonic()
        try:
            with self._admit(self._target.callback) as is_admitted:
                if not is_admitted:
                    self._wait(now, is_ending=is_ending)
                    return
                if not self._is_stopped:
                    self._attempt(*taken)
        except Exception as error:  # noqa: BLE001 - whatever failed, the job goes on without events
            self._record_failure(error, now)
        else:
            self._unsent, self._failures = None, 0
            self._not_before = now if taken[0] == Progress() else now + self._interval

    def _wait(self, now: float, *, is_ending: bool) -> None:
        """Send nothing for another interval. The end doesn't wait: nobody knows when an event is admitted.

        An event that was not admitted before the end is asked for once more: the end may be the reason why it wasn't.
        """
        self._not_before = now + max(self._interval, _SHORTEST_PAUSE)
        self._is_stopped = self._is_stopped or is_ending

    def _take(self) -> tuple[Progress, int] | None:
        """Return the next event with its number. Newer progress replaces an event that could not be sent."""
        if self._starting:
            self._starting = False
            return self._number(Progress())
        try:
            newest = self._newest.popleft()
        except IndexError:
            return self._unsent
        if newest == self._last and self._unsent is None:
            return None
        return self._number(newest)

    def _number(self, progress: Progress) -> tuple[Progress, int] | None:
        if self._next >= self._first + EVENTS_OF_RUN:
            return None
        self._next += 1
        self._last = progress
        return progress, self._next - 1

    def _attempt(self, progress: Progress, sequence: int) -> None:
        target = self._target.of_event(sequence)
        body = event_document(self._job_id, target.callback.param, sequence=sequence, progress=progress)
        with ExitStack() as stack:
            encoding = target.content_encoding(None)
            self._send(
                PreparedDelivery(
                    target=target,
                    job_id=self._job_id,
                    delivery_id=stable_delivery_id(target, body),
                    body=gzip_body(body, stack) if encoding == "gzip" else body,
                    encoding=encoding,
                    traceparent=self._traceparent,
                )
            )

    def _record_failure(self, error: Exception, now: float) -> None:
        self._failures += 1
        pause = max(self._interval, _SHORTEST_PAUSE) * (1 << min(self._failures, _MAX_DOUBLINGS))
        text = loggable_text(error)
        if _is_permanent(error):
            self._is_stopped = True
            logger.warning("event of job %s failed, no further events are sent: %s", self._job_id, text)
            return
        pause = max(pause, getattr(error, "retry_after", None) or 0.0)
        self._not_before = now + pause
        logger.warning("event of job %s failed, retrying in %.0f s: %s", self._job_id, pause, text)


def _is_permanent(error: Exception) -> bool:
    """Return whether the next event would fail too: the target is invalid, or has rejected this one."""
    if isinstance(error, DeliveryError):
        return not error.transient
    return isinstance(error, (EncodingError, TargetError))
