"""Stream of a task's output while the task runs: from its events, or by polling where they don't arrive."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator

import orjson
from attrs import define

from callback_sdk.client.api import ServiceAPI
from callback_sdk.client.responses import parse_response
from callback_sdk.client.server_events import ServerEvent
from callback_sdk.client.wait_plan import MAX_STREAM_FAILURES, STABLE_STREAM, may_pass
from callback_sdk.errors import ServiceError, TaskTimeoutError
from callback_sdk.parsing import Duration, total_seconds
from callback_sdk.redaction import strip_traceback

_REQUEST_TIME = 30.0
"""Maximum seconds of one request."""


def stream_logs(api: ServiceAPI, job_id: str, timeout: Duration, poll_interval: Duration) -> Iterator[str]:
    """Yield a task's output until it has ended; see `Client.stream_logs`."""
    end = time.monotonic() + total_seconds("timeout", timeout)
    return _Output(api, job_id, end, total_seconds("poll_interval", poll_interval)).pieces()


@define
class _Output:
    """The output of a task, up to a cursor.

    Attributes:
        end: Deadline, in seconds of the monotonic clock.
        pause: Seconds between two polls.
        cursor: Position of what was yielded; None at the beginning.
        has_ended: Whether all was yielded.
        failures: Number of streams of events that have failed.
    """

    api: ServiceAPI
    job_id: str
    end: float
    pause: float
    cursor: str | None = None
    has_ended: bool = False
    failures: int = 0

    def pieces(self) -> Iterator[str]:
        while not self.has_ended:
            if self.failures < MAX_STREAM_FAILURES:
                yield from self._events()
            if not self.has_ended:
                yield from self._poll()

    def _events(self) -> Iterator[str]:
        """Yield output until a stream of events ends. After any error a poll follows, which raises one that stays."""
        began, heard = time.monotonic(), False
        with contextlib.suppress(ServiceError), contextlib.closing(self._stream()) as events:
            for event in events:
                heard, self.has_ended = True, event.name == "end"
                if event.name == "output":
                    text, self.cursor = _text(event), event.last_id
                    yield text
                if self.has_ended:
                    return
        if not heard or time.monotonic() - began < STABLE_STREAM:
            self.failures += 1

    def _stream(self) -> Generator[ServerEvent, None, None]:
        return self.api.events(self.job_id, self.cursor, output=True, deadline=self.end)

    def _poll(self) -> Iterator[str]:
        poll_error: ServiceError | None = None
        try:
            part = self.api.new_logs(self.job_id, self.cursor, deadline=min(self.end, time.monotonic() + _REQUEST_TIME))
        except ServiceError as error:
            if not may_pass(error):
                raise
            poll_error = strip_traceback(error)
        else:
            self.cursor, self.has_ended = part.cursor, part.ended
            if part.text:
                yield part.text
            if self.has_ended:
                return
        if time.monotonic() + self.pause >= self.end:
            raise TaskTimeoutError(
                f"The task {self.job_id} has not ended in time; it continues.",
                hint="Follow its output again, with a longer timeout.",
                job_id=self.job_id,
            ) from poll_error
        time.sleep(self.pause)


def _text(event: ServerEvent) -> str:
    return parse_response("output of a task", lambda data: str(orjson.loads(data)["text"]), event.data)
