"""Server-sent events of tasks: those of one task until it has ended, or of all tasks of a user.

The format is that of the HTML standard, section "Server-sent events". An open stream costs no thread, and no query
while nothing changes; see `watches`.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson
from attrs import define
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.api.task_output import OutputPosition, new_output, parse_position
from callback_sdk.service.api.waiters import Waiters
from callback_sdk.service.api.watches import TaskWatch, UserWatch, Watches, is_set_within, shown_status
from callback_sdk.service.store import Store

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

HEARTBEAT = 25.0
"""Seconds without an event after which a comment is sent: many proxies close connections that are idle for 30 s."""

_LIFETIME = 600.0
"""Seconds after which a stream is closed, with a random part so that not all clients reconnect at the same time."""

_RECHECK = 15.0
"""Seconds after which the caller's right to see the tasks is checked again before an event is sent."""

_FINISHED = ".end"
"""End of the id of the last event."""

_HEADERS = {
    # nginx buffers responses otherwise, and other proxies compress them, which holds events back.
    "X-Accel-Buffering": "no",
    "Cache-Control": "no-store, no-transform",
}

# No line is followed by an empty one unless it ends an event with data: some clients report an event without data then
# (httpx-sse), also after a comment.

_BEGIN = b"retry: 2000\n"
"""Milliseconds after which a client reconnects. Sent at once, it also shows that no proxy holds the stream back."""

_SEPARATORS = tuple((chr(code).encode(), b"\\u%04x" % code) for code in (0x85, 0x2028, 0x2029))

_COMMENT = b": heartbeat\n"


@define(frozen=True, kw_only=True)
class Viewer:
    """Who opens a stream.

    Attributes:
        user_id: The user.
        may_watch: Returns whether the user's credentials are still valid, and the tasks may still be seen. It reads the
            store.
    """

    user_id: str
    may_watch: Callable[[], bool]


W = TypeVar("W", bound="TaskWatch | UserWatch")


class _EventResponse(StreamingResponse, Generic[W]):
    """A stream that is counted and watches tasks while it is open, and is rejected before its head is sent.

    The generator of the events holds nothing: one that was never started, or is left at a `yield`, runs no `finally`.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        viewer: Viewer,
        waiters: Waiters,
        watching: AbstractContextManager[W],
        events: Callable[[W], AsyncGenerator[bytes, None]],
    ) -> None:
        super().__init__((), headers=_HEADERS)
        self._viewer = viewer
        self._waiters = waiters
        self._watching = watching
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._waiters.check(self._viewer.user_id)
        with self._waiters.counted(self._viewer.user_id, "stream"), self._watching as watch:
            async with aclosing(self._events(watch)) as events:
                self.body_iterator = events
                await super().__call__(scope, receive, send)


class _Turns:
    """The turns of an open stream: it ends with its lifetime, the viewer's rights, or the server.

    Args:
        watches: The watches of this process.
        watch: The watch of this stream.
        viewer: Who reads it.
    """

    def __init__(self, watches: Watches, watch: TaskWatch | UserWatch, viewer: Viewer) -> None:
        self._watches = watches
        self._watch = watch
        self._viewer = viewer
        self._clock = asyncio.get_running_loop().time
        self._closing = self._clock() + _LIFETIME * random.uniform(0.8, 1.0)  # noqa: S311 - no secret
        self._checked_at = self._clock()

    async def wait_for_change(self) -> bool | None:
        """Return whether something has changed, as opposed to a long silence; None if the stream has to end."""
        has_changed = await is_set_within(self._watch.changed, HEARTBEAT)
        self._watch.changed.clear()
        moment = self._clock()
        if self._watches.is_stopping or moment >= self._closing:
            return None
        if has_changed and moment - self._checked_at >= _RECHECK:
            self._checked_at = moment
            if not await run_in_threadpool(self._viewer.may_watch):
                return None
        return has_changed


class EventStreams:
    """The event streams of this process. It runs in the event loop.

    Args:
        store: The store.
        watches: Tells which tasks have changed.
        waiters: Counts the open streams, among other waiting clients.
    """

    def __init__(self, store: Store, watches: Watches, waiters: Waiters) -> None:
        self._store = store
        self._watches = watches
        self._waiters = waiters

    def of_task(self, job_id: str, viewer: Viewer, last_event_id: str | None, *, output: bool = True) -> Response:
        """Return the stream of a task as a response.

        Args:
            job_id: The task. The caller has checked that the viewer may see it.
            viewer: Who asks.
            last_event_id: Header `Last-Event-ID`: the stream continues after this event.
            output: Whether to send the task's output.

        Raises:
            HTTPException: 422 if the header is invalid. The response raises it with 429 if the user has too many
                waiting clients, and with 503 if the process has, or is stopping.
        """
        if last_event_id is not None and last_event_id.endswith(_FINISHED):
            # Clients reconnect after the end of a stream, until they get this status.
            return Response(status_code=204)
        after = parse_position(last_event_id) if last_event_id else OutputPosition()
        watching = self._watches.of_task(job_id)
        return _EventResponse(
            viewer,
            self._waiters,
            watching,
            lambda watch: self._events_of_task(job_id, watch, viewer, after, output=output),
        )

    def of_user(self, viewer: Viewer, last_event_id: str | None) -> Response:
        """Return the stream of all tasks of a user as a response.

        Args:
            viewer: Who asks.
            last_event_id: Header `Last-Event-ID`: the stream begins with the tasks that may have changed since.

        Raises:
            HTTPException: As of `of_task`.
        """
        since = _parse_moment(last_event_id) if last_event_id else None
        watching = self._watches.of_user(viewer.user_id)
        return _EventResponse(viewer, self._waiters, watching, lambda watch: self._events_of_user(watch, viewer, since))

    async def _events_of_task(
        self, job_id: str, watch: TaskWatch, viewer: Viewer, after: OutputPosition, *, output: bool
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events of a task: `status`, `output` and `end`."""
        yield _BEGIN
        shown: dict[str, Any] | None = None
        turns = _Turns(self._watches, watch, viewer)
        while (has_changed := await turns.wait_for_change()) is not None:
            if not has_changed:
                yield _COMMENT
                continue
            state = watch.state
            if state is None:
                return
            if (status := shown_status(state)) != shown:
                shown = status
                yield _event("status", status)
            if output and (state.attempt, state.output_end) > (after.attempt, after.offset):
                new = await self._output(job_id, after, ended=state.complete)
                if new is None:
                    self._watches.look_again(watch, job_id)
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

    async def _events_of_user(
        self, watch: UserWatch, viewer: Viewer, since: float | None
    ) -> AsyncGenerator[bytes, None]:
        """Yield an event `begin` for a new client, and then `status` for each change of one of the user's tasks.

        A client that reconnects continues after the last id that it has received. So the id comes with the last of
        several events: those before it would be lost otherwise.
        """
        yield _BEGIN
        try:
            clock = await run_in_threadpool(self._store.clock)
            if since is not None:
                await self._watches.catch_up(watch, viewer.user_id, since)
        except CallbackSDKError:
            # The client reconnects, with the id that it has.
            return
        elapsed = asyncio.get_running_loop().time
        offset = clock - elapsed()
        if since is None:
            # Also a client that reconnects before the first change misses nothing.
            yield _event("begin", {}, f"{clock:.3f}")
        turns = _Turns(self._watches, watch, viewer)
        while (has_changed := await turns.wait_for_change()) is not None:
            if not has_changed:
                yield _COMMENT
            new, moment = watch.take(), offset + elapsed()
            for left, (job_id, status) in zip(reversed(range(len(new))), new.items(), strict=True):
                yield _event("status", {"job_id": job_id, **status}, None if left else f"{moment:.3f}")


def _parse_moment(event_id: str) -> float:
    """Parse the id of an event of a user's stream: a time of the database's clock.

    Raises:
        HTTPException: 422 if it is invalid.
    """
    if re.fullmatch(r"[0-9]{1,12}\.[0-9]{3}", event_id, re.ASCII) is None:
        raise HTTPException(422, "Invalid Last-Event-ID. Send the id of the last event unchanged.")
    return float(event_id)


def _event(name: str, data: dict[str, Any], event_id: str | None = None) -> bytes:
    head = b"" if event_id is None else b"id: %b\n" % event_id.encode()
    # JSON has no line breaks, so data can't end an event or add a field. But some clients split lines as Python's
    # `str.splitlines` does (httpx-sse before 0.4.2), also at these characters.
    encoded = orjson.dumps(data)
    for character, escape in _SEPARATORS:
        encoded = encoded.replace(character, escape)
    return b"event: %b\n%bdata: %b\n\n" % (name.encode(), head, encoded)
