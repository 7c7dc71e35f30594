"""The driver for asyncio: coroutines wait in the running event loop, and calls that block are made in threads.

It waits for sockets by the loop's readers and writers, which the loops of the standard library and uvloop have, and
keeps nothing that belongs to one loop. So an object may be used in several loops, one after another or at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import socket
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from callback_sdk.concurrency.forking import PerProcess
from callback_sdk.transport import polling
from callback_sdk.transport.call_threads import MAX_LOOK_UPS, MAX_THREADS, SMALL, CallThreads
from callback_sdk.transport.driver import (
    Background,
    Changes,
    Outcome,
    Round,
    Rounds,
    Size,
    outcome_of,
    value_of,
)
from callback_sdk.transport.polling import READ, WRITE

T = TypeVar("T")
R = TypeVar("R")


class AsyncioDriver:
    """See `Driver`. Other event loops than the running one are not affected by anything."""

    cancellations: tuple[type[BaseException], ...] = (asyncio.CancelledError, GeneratorExit)

    def __init__(self) -> None:
        self._calls = PerProcess(lambda: CallThreads(MAX_THREADS, "callback-sdk-asyncio"))
        self._look_ups = PerProcess(lambda: CallThreads(MAX_LOOK_UPS, "callback-sdk-asyncio"))
        self._detached = PerProcess(lambda: CallThreads(MAX_LOOK_UPS, "callback-sdk-asyncio"))

    async def ready(self, sockets: Sequence[socket.socket], events: int, seconds: float) -> dict[socket.socket, int]:
        loop = asyncio.get_running_loop()
        found: dict[socket.socket, int] = {}
        first = loop.create_future()

        def add(sock: socket.socket, event: int) -> None:
            found[sock] = found.get(sock, 0) | event
            end()

        def end() -> None:
            if not first.done():
                first.set_result(None)

        timer = loop.call_later(seconds, end)
        try:
            for sock in sockets:
                if events & READ:
                    loop.add_reader(sock, add, sock, READ)
                if events & WRITE:
                    loop.add_writer(sock, add, sock, WRITE)
            await first
        except NotImplementedError:
            # The loop of Windows, without readers and writers.
            return await self.look_up(polling.ready, sockets, events, seconds)
        finally:
            timer.cancel()
            # Also after a cancellation, and before the socket is closed: its number may soon be that of another one.
            with contextlib.suppress(NotImplementedError):
                for sock in sockets:
                    loop.remove_reader(sock)
                    loop.remove_writer(sock)
        return found

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, changes: Changes, holds: Callable[[], bool], seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[bool] = loop.create_future()

        def check() -> None:
            if not found.done() and holds():
                found.set_result(True)

        def end() -> None:
            if not found.done():
                found.set_result(holds())

        def changed() -> None:
            # The loop may have been closed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(check)

        timer = loop.call_later(seconds, end)
        try:
            with changes.listening(changed):
                check()
                return await found
        finally:
            timer.cancel()

    async def call(self, function: Callable[..., T], *args: Any, size: Size = None) -> T:
        known = size() if callable(size) else size
        if (known is not None and known <= SMALL) or _is_abandoned():
            return function(*args)
        return await _finish(_submit(self._calls.get(), function, args))

    async def look_up(self, function: Callable[..., T], *args: Any) -> T:
        return value_of(await _submit(self._look_ups.get(), function, args))

    async def detached(self, function: Callable[..., T], *args: Any) -> T:
        """Make a call that blocks, and that goes on in its thread if the task is canceled or the loop is closed."""
        return value_of(await asyncio.shield(_submit(self._detached.get(), function, args)))

    def rounds(self, max_concurrent: int) -> Rounds:
        return _TaskRounds(max_concurrent)

    def background(self) -> Background:
        return _Tasks()

    def lock(self) -> Any:
        return asyncio.Lock()

    async def exclusively(self, lock: Any, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with lock:
            return await call()


async def _finish(future: asyncio.Future[Outcome[T]]) -> T:
    """Wait for a call, even if the task is canceled meanwhile: the call uses files that the task closes next."""
    await _wait([future])
    return value_of(future.result())


async def _wait(futures: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for all futures, however often this task is canceled meanwhile."""
    canceled: asyncio.CancelledError | None = None
    while not all(future.done() for future in futures):
        try:
            await asyncio.wait(futures)
        except asyncio.CancelledError as error:  # noqa: PERF203 - once for each cancellation
            canceled = error
    if canceled is not None:
        raise canceled


async def _cancel(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        # Nothing can be scheduled in a loop that was closed.
        with contextlib.suppress(RuntimeError):
            task.cancel()
    if not _is_abandoned():
        await _wait(tasks)


def _is_abandoned() -> bool:
    """Return whether the coroutine is being closed because its loop has ended, so that it can't wait any more."""
    error = sys.exc_info()[1]
    if not isinstance(error, GeneratorExit):
        return False
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    # An async generator that is closed may wait: it is closed within a loop (PEP 525).
    return not innermost.f_code.co_flags & inspect.CO_ASYNC_GENERATOR


class _TaskRounds:
    """Calls side by side, each in a task."""

    def __init__(self, max_concurrent: int) -> None:
        self._max_concurrent = max_concurrent

    async def map(self, call: Callable[[T], Coroutine[Any, Any, R]], items: Iterable[T]) -> list[R]:
        round_ = Round(call, items)
        tasks = [asyncio.ensure_future(round_.work()) for _ in range(min(self._max_concurrent, round_.size))]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            # The calls use values of the caller.
            await _cancel(tasks)
            raise
        return round_.results()

    def close(self) -> None:
        pass


class _Tasks:
    """Calls in the background, each in a task."""

    def __init__(self) -> None:
        # The loop itself keeps no task from being collected.
        self._tasks: set[asyncio.Task[None]] = set()
        self.skipped: list[Any] = []

    def start(self, call: Callable[[T], Coroutine[Any, Any, object]], item: T) -> None:
        # A task that is canceled before its first step never begins.
        self.skipped.append(item)

        async def begin() -> None:
            self.skipped.remove(item)
            await call(item)

        task = asyncio.get_running_loop().create_task(begin())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def cancel(self) -> None:
        await _cancel(list(self._tasks))


def _submit(threads: CallThreads, function: Callable[..., T], args: tuple[Any, ...]) -> asyncio.Future[Outcome[T]]:
    """Call a function in a thread, with the context variables of the task."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Outcome[T]] = loop.create_future()
    context = contextvars.copy_context()

    def job() -> None:
        if future.cancelled():
            return
        outcome = outcome_of(lambda: context.run(function, *args))
        # The loop may have been closed: nobody waits for a look-up that was canceled.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, future, outcome)

    threads.submit(job)
    return future


def _settle(future: asyncio.Future[Outcome[T]], outcome: Outcome[T]) -> None:
    if not future.done():
        future.set_result(outcome)


ASYNCIO = AsyncioDriver()
