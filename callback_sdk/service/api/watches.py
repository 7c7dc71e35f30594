"""Watches: tells coroutines which of the tasks that they wait for have changed.

A watch costs no thread and no query of its own. One query reads all tasks whose changes were announced meanwhile, and
another one checks all watched tasks from time to time, as announcements of other processes may be lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from attrs import define, field
from starlette.concurrency import run_in_threadpool

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.store import Store
from callback_sdk.service.store.live import LiveTask

CHECK_INTERVAL = 15.0
"""Seconds between two checks of all watched tasks."""

_PAUSE = 0.01
"""Seconds for which announcements are collected, so that many of them share one query."""

_RETRY = 1.0
"""Seconds until tasks that could not be read are read again."""

_SHARE = 20.0
"""A check of all watched tasks is followed by this many times its duration before the next one, however often any task
may have changed."""

_OVERLAP = 60.0
"""Seconds before the previous check of a user's tasks from which on changes are looked for: a transaction that changed
a task may have been committed that much later."""

_MAX_SEEN = 10_000
"""Maximum number of tasks whose last states are remembered, so that they aren't sent again."""

_MAX_MISSED = 10_000
"""Maximum number of tasks that a client is told of which have changed while it was away."""

W = TypeVar("W", "TaskWatch", "UserWatch")

_log = logging.getLogger(__name__)


def shown_status(state: LiveTask) -> dict[str, Any]:
    """Return the JSON of a task's state, as events have it."""
    return {
        "status": state.status,
        "success": state.success,
        "error_code": state.error_code,
        "progress": state.progress or {"fraction": None, "message": ""},
    }


@define(eq=False)
class TaskWatch:
    """Waits for changes of one task.

    Attributes:
        state: The task's latest state; None before the first look, and when the task was purged.
        changed: Set when there is a new state, and when the server is stopping.
    """

    state: LiveTask | None = None
    changed: asyncio.Event = field(factory=asyncio.Event)

    def update(self, job_id: str, state: LiveTask | None) -> None:
        """Note the present state of the task."""
        if state is None or state != self.state:
            self.state = state
            self.changed.set()


@define(eq=False)
class UserWatch:
    """Waits for changes of any task of a user.

    Attributes:
        changed: Set when there are new states, and when the server is stopping.
    """

    changed: asyncio.Event = field(factory=asyncio.Event)
    _new: dict[str, dict[str, Any]] = field(factory=dict)
    _seen: OrderedDict[str, dict[str, Any]] = field(factory=OrderedDict)

    def update(self, job_id: str, state: LiveTask) -> None:
        """Note the present state of a task. Of several states between two calls of `take`, the last one is kept."""
        shown = shown_status(state)
        if self._seen.get(job_id) == shown:
            return
        self._seen[job_id] = self._new[job_id] = shown
        self._seen.move_to_end(job_id)
        if len(self._seen) > _MAX_SEEN:
            self._seen.popitem(last=False)
        self.changed.set()

    def take(self) -> dict[str, dict[str, Any]]:
        """Return the new states by task, as events have them, and forget them."""
        taken, self._new = self._new, {}
        return taken


class Watches:
    """The watches of this process. It runs in the event loop, and listens to announcements of other threads.

    Args:
        store: The store.

    Attributes:
        is_stopping: Whether the server is stopping: nobody waits any longer.
    """

    def __init__(self, store: Store) -> None:
        self.is_stopping = False
        self._store = store
        self._of_task: defaultdict[str, set[TaskWatch]] = defaultdict(set)
        self._of_user: defaultdict[str, set[UserWatch]] = defaultdict(set)
        self._announced: set[str] = set()
        self._all_announced = False
        self._checked_at: float | None = None
        self._wakeup = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def of_task(self, job_id: str) -> Iterator[TaskWatch]:
        """Watch a task during the block; its state is read at once."""
        watch = TaskWatch()
        with self._register(self._of_task, job_id, watch):
            self._announce([job_id])
            yield watch

    @contextmanager
    def of_user(self, user_id: str) -> Iterator[UserWatch]:
        """Watch all tasks of a user during the block, beginning with the next change."""
        watch = UserWatch()
        with self._register(self._of_user, user_id, watch):
            yield watch

    def look_again(self, watch: TaskWatch, job_id: str) -> None:
        """Read the state of a task once more after a while, and tell its watch even if nothing has changed."""
        watch.state = None
        asyncio.get_running_loop().call_later(_RETRY, self._announce, [job_id])

    async def catch_up(self, watch: UserWatch, user_id: str, since: float) -> None:
        """Tell a watch of the user's tasks that may have changed since a time of the database's clock.

        Raises:
            StoreUnavailableError: The database is unavailable.
        """
        found = await run_in_threadpool(self._missed, user_id, since - _OVERLAP)
        for job_id, state in found.items():
            watch.update(job_id, state)

    def _missed(self, user_id: str, since: float) -> dict[str, LiveTask]:
        live = self._store.live
        return live.read(live.changed_since(user_id, since, limit=_MAX_MISSED))

    def stop(self) -> None:
        """Let nobody wait any longer, as the server is stopping."""
        self.is_stopping = True
        groups: list[Collection[TaskWatch | UserWatch]] = [*self._of_task.values(), *self._of_user.values()]
        for group in groups:
            for watch in group:
                watch.changed.set()

    @contextmanager
    def _register(self, watches: defaultdict[str, set[W]], key: str, watch: W) -> Iterator[None]:
        watches[key].add(watch)
        if self.is_stopping:
            watch.changed.set()
        if self._looking is None or self._looking.done():
            self._wakeup = asyncio.Event()
            self._looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            watches[key].discard(watch)
            if not watches[key]:
                del watches[key]
                self._wakeup.set()

    def _announce(self, job_ids: Collection[str] | None) -> None:
        if job_ids is None:
            self._all_announced = True
        else:
            self._announced.update(job_ids)
        self._wakeup.set()

    def _listen(self, loop: asyncio.AbstractEventLoop, job_ids: Collection[str] | None) -> None:
        """Take an announcement, in any thread."""
        if job_ids is not None and not self._of_user:
            job_ids = [job_id for job_id in job_ids if job_id in self._of_task]
            if not job_ids:
                return
        # The loop is closed when the server has stopped.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._announce, job_ids)

    async def _look(self) -> None:
        """Read the tasks that have changed, while there are watches."""
        loop = asyncio.get_running_loop()
        with self._store.database.changes.listening(lambda job_ids: self._listen(loop, job_ids)):
            due, earliest = loop.time() + CHECK_INTERVAL, loop.time()
            while self._of_task or self._of_user:
                await is_set_within(self._wakeup, (earliest if self._all_announced else due) - loop.time())
                await asyncio.sleep(_PAUSE)
                self._wakeup.clear()
                began = loop.time()
                is_check = began >= due or (self._all_announced and began >= earliest)
                if await self._read(everything=is_check):
                    took = loop.time() - began
                    due, earliest = (
                        (loop.time() + CHECK_INTERVAL, loop.time() + _SHARE * took) if is_check else (due, earliest)
                    )
                else:
                    self._all_announced, earliest = True, loop.time() + _RETRY

    async def _read(self, *, everything: bool) -> bool:
        """Read tasks, tell the watches, and return whether the store was available."""
        wanted, self._announced = self._announced, set()
        if not self._of_user:
            wanted &= self._of_task.keys()
            # The next stream of a user begins with changes after its start.
            self._checked_at = None
        if everything:
            self._all_announced = False
            wanted |= self._of_task.keys()
        users = tuple(self._of_user) if everything else ()
        if not wanted and not users:
            return True
        try:
            found = await run_in_threadpool(self._states, wanted, users)
        except CallbackSDKError as error:
            # Nobody's wait ends: the outage is logged elsewhere, and may end soon.
            _log.debug("Watched tasks can't be read: %s", error)
            self._announced |= wanted
            return False
        except Exception:  # noqa: BLE001 - the watches of this process go on, whatever it was
            _log.exception("Watched tasks can't be read, retrying")
            self._announced |= wanted
            return False
        for job_id in wanted:
            for watch in self._of_task.get(job_id, ()):
                watch.update(job_id, found.get(job_id))
        for job_id, state in found.items():
            for of_user in self._of_user.get(state.owner, ()):
                of_user.update(job_id, state)
        return True

    def _states(self, job_ids: set[str], users: Collection[str]) -> dict[str, LiveTask]:
        """Read tasks, and those of users that have changed since the previous check."""
        store = self._store
        if not users:
            return store.live.read(job_ids)
        now = store.clock()
        since = (now if self._checked_at is None else self._checked_at) - _OVERLAP
        found = store.live.read(job_ids.union(*(store.live.changed_since(user, since) for user in users)))
        # After a failure the next check begins where this one did.
        self._checked_at = now
        return found


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, and return whether it was set in time."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), max(0.0, seconds))
    # It may have been set just when the time was over.
    return event.is_set()
