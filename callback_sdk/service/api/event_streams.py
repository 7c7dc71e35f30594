"""Server-sent events of tasks: status, progress and output, until the task has ended.

The format is that of the HTML standard, section "Server-sent events". One query a second reads all watched tasks of the
process, in one thread, so that an open stream costs no thread and no query of its own while nothing changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.api.task_output import OutputPosition, new_output, parse_position
from callback_sdk.service.store import Store
from callback_sdk.service.store.live import LiveTask

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

MAX_STREAMS = 200
"""Maximum number of open streams of this process."""

MAX_STREAMS_OF_USER = 20
"""Maximum number of open streams of a user."""

_INTERVAL = 1.0
"""Seconds between two looks at the watched tasks."""

_HEARTBEAT = 15.0
"""Seconds without an event after which a comment is sent: many proxies close connections that are idle for 30 s."""

_LIFETIME = 300.0
"""Seconds after which a stream is closed. The client opens another one, with its credentials of that time."""

_RETRY = 2000
"""Milliseconds after which a client reconnects."""

_FINISHED = ".end"
"""End of the id of the last event."""

_HEADERS = {
    # nginx buffers responses otherwise, and other proxies compress them, which holds events back.
    "X-Accel-Buffering": "no",
    "Cache-Control": "no-store, no-transform",
}

_log = logging.getLogger(__name__)


@define(eq=False)
class _Watch:
    """One open stream.

    Attributes:
        job_id: The task.
        user_id: The user.
        state: The task's latest state; None when it was purged.
        changed: Set when there is a new state.
    """

    job_id: str
    user_id: str
    state: LiveTask | None = None
    changed: asyncio.Event = field(factory=asyncio.Event)


class _EventResponse(StreamingResponse):
    """A stream that is counted while it is open, and rejected before its head is sent."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], watching: AbstractContextManager[None]) -> None:
        super().__init__(events, headers=_HEADERS)
        self._watching = watching

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._watching:
            await super().__call__(scope, receive, send)


class EventStreams:
    """The open streams of this process. Not thread-safe: its methods run in the event loop.

    Args:
        store: The store.
        max_streams: Maximum number of open streams.
        max_streams_of_user: Maximum number of open streams of one user.

    Attributes:
        is_stopping: Returns whether the server is stopping: the streams end then, and clients reconnect later.
    """

    def __init__(
        self, store: Store, *, max_streams: int = MAX_STREAMS, max_streams_of_user: int = MAX_STREAMS_OF_USER
    ) -> None:
        self._store = store
        self._max_streams = max_streams
        self._max_streams_of_user = max_streams_of_user
        self._watches: set[_Watch] = set()
        self._counts: Counter[str] = Counter()
        self._looking: asyncio.Task[None] | None = None
        self.is_stopping: Callable[[], bool] = lambda: False

    def respond(self, job_id: str, user_id: str, last_event_id: str | None) -> Response:
        """Return the stream of a task as a response.

        Args:
            job_id: The task. The caller has checked that it is the user's.
            user_id: The user.
            last_event_id: Header `Last-Event-ID`: the stream continues after this event.

        Raises:
            HTTPException: 422 if the header is invalid. The response raises it with 429 if the user has too many
                streams, and with 503 if the process has.
        """
        if last_event_id is not None and last_event_id.endswith(_FINISHED):
            # Clients reconnect after the end of a stream, until they get this status.
            return Response(status_code=204)
        after = parse_position(last_event_id) if last_event_id else OutputPosition()
        watch = _Watch(job_id=job_id, user_id=user_id)
        return _EventResponse(self._events(watch, after), self._watching(watch))

    async def _events(self, watch: _Watch, after: OutputPosition) -> AsyncIterator[bytes]:
        """Yield the events of a task: `status`, `output` and `end`."""
        yield b"retry: %d\n\n" % _RETRY
        shown: dict[str, Any] | None = None
        clock = asyncio.get_running_loop().time
        closing = clock() + _LIFETIME
        while clock() < closing:
            if not await _is_set_within(watch.changed, _HEARTBEAT):
                yield b": heartbeat\n\n"
                continue
            watch.changed.clear()
            state = watch.state
            if state is None or self.is_stopping():
                return
            if (status := _status(state)) != shown:
                shown = status
                yield _event("status", status)
            if (state.attempt, state.output_end) > (after.attempt, after.offset):
                new = await self._output(watch.job_id, after, ended=state.complete)
                if new is None:
                    # Try again at the next look.
                    watch.state = None
                    continue
                text, after = new
                if text:
                    yield _event("output", {"text": text}, str(after))
            if state.complete:
                yield _event("end", status, f"{after}{_FINISHED}")
                return

    async def _output(self, job_id: str, after: OutputPosition, *, ended: bool) -> tuple[str, OutputPosition] | None:
        """Return the new output and the position of its end; None if it can't be read at the moment."""
        try:
            stored = await run_in_threadpool(self._store.output.read, job_id)
        except CallbackSDKError:
            return None
        return new_output(stored, after, ended=ended)

    @contextmanager
    def _watching(self, watch: _Watch) -> Iterator[None]:
        of_user = self._counts[watch.user_id]
        if of_user >= self._max_streams_of_user:
            text = f"You have {of_user} open event streams, which is the limit. Close some."
            raise HTTPException(429, text, {"Retry-After": "5"})
        if len(self._watches) >= self._max_streams or self.is_stopping():
            raise HTTPException(503, "The service can't open another event stream. Try again.", {"Retry-After": "5"})
        self._watches.add(watch)
        self._counts[watch.user_id] += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self._watches.discard(watch)
            self._counts[watch.user_id] -= 1
            if not self._counts[watch.user_id]:
                del self._counts[watch.user_id]

    async def _look(self) -> None:
        """Tell the streams what has changed, while there are any."""
        while self._watches:
            try:
                found = await run_in_threadpool(self._store.live.read, {watch.job_id for watch in self._watches})
            except CallbackSDKError as error:
                # The streams stay open: the outage is logged elsewhere, and may end soon.
                _log.debug("Watched tasks can't be read: %s", error)
            else:
                for watch in self._watches:
                    _update(watch, found)
            if self.is_stopping():
                for watch in self._watches:
                    watch.changed.set()
            await asyncio.sleep(_INTERVAL)


def _update(watch: _Watch, found: dict[str, LiveTask]) -> None:
    state = found.get(watch.job_id)
    if state is None or state != watch.state:
        watch.state = state
        watch.changed.set()


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True


def _status(state: LiveTask) -> dict[str, Any]:
    names = ("status", "success", "error_code")
    return {name: getattr(state, name) for name in names} | {
        "progress": state.progress or {"fraction": None, "message": ""}
    }


def _event(name: str, data: dict[str, Any], event_id: str | None = None) -> bytes:
    # JSON has no line breaks, so data can't end an event or add a field.
    head = b"" if event_id is None else b"id: %b\n" % event_id.encode()
    return b"event: %b\n%bdata: %b\n\n" % (name.encode(), head, orjson.dumps(data))
