"""The driver for asyncio: coroutines wait in the running event loop, and calls that block are made in threads.

It waits for sockets by the loop's readers and writers, which the loops of the standard library and uvloop have, and
keeps nothing that belongs to one loop. So an object may be used in several loops, one after another or at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import queue
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from callback_sdk.concurrency.forking import PerProcess
from callback_sdk.transport import polling
from callback_sdk.transport.driver import Driver, Rounds, Size
from callback_sdk.transport.polling import READ, WRITE

T = TypeVar("T")
R = TypeVar("R")

MAX_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Threads for calls, as many as `concurrent.futures.ThreadPoolExecutor` has: they compute, and read files."""

MAX_LOOK_UPS = 64
"""Threads for name servers, which may take seconds to respond."""

SMALL = 256 * 1024
"""Bytes that are encoded or hashed at once: that takes less than a millisecond, and a thread a tenth of one."""


class AsyncioDriver:
    """See `Driver`. Other event loops than the running one are not affected by anything."""

    def __init__(self) -> None:
        self._calls = PerProcess(lambda: _CallThreads(MAX_THREADS))
        self._look_ups = PerProcess(lambda: _CallThreads(MAX_LOOK_UPS))

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

    async def call(self, function: Callable[..., T], *args: Any, size: Size = None) -> T:
        known = size() if callable(size) else size
        if known is not None and known <= SMALL:
            return function(*args)
        return await _finish(self._calls.get().submit(function, args))

    async def look_up(self, function: Callable[..., T], *args: Any) -> T:
        return _value(await self._look_ups.get().submit(function, args))

    def rounds(self, max_concurrent: int) -> Rounds:
        return _TaskRounds(max_concurrent)

    def lock(self) -> Any:
        return asyncio.Lock()

    async def exclusively(self, lock: Any, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with lock:
            return await call()


Outcome = tuple[T, None] | tuple[None, BaseException]
"""What a call returned, or raised. Not the exception of a future, which can't be a StopIteration."""


async def _finish(future: asyncio.Future[Outcome[T]]) -> T:
    """Wait for a call, even if the task is canceled meanwhile: the call uses files that the task closes next."""
    await _wait([future])
    return _value(future.result())


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


def _value(outcome: Outcome[T]) -> T:
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


class _TaskRounds:
    """Calls side by side, each in a task."""

    def __init__(self, max_concurrent: int) -> None:
        self._max_concurrent = max_concurrent

    async def map(self, call: Callable[[T], Coroutine[Any, Any, R]], items: Iterable[T]) -> list[R]:
        left = list(enumerate(items))[::-1]
        outcomes: dict[int, Outcome[R]] = {}

        async def work() -> None:
            while left:
                number, item = left.pop()
                try:
                    outcomes[number] = (await call(item), None)
                except Exception as error:  # noqa: BLE001 - it is raised when all calls have ended
                    outcomes[number] = (None, error)

        size = len(left)
        tasks = [asyncio.ensure_future(work()) for _ in range(min(self._max_concurrent, size))]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            # The calls use values of the caller.
            await _wait(tasks)
            raise
        return [_value(outcomes[number]) for number in range(size)]

    def close(self) -> None:
        pass


class _CallThreads:
    """Threads for calls, started when they are needed. They keep neither a loop nor the process from ending.

    The threads of the loop's own executor would: `asyncio.run` waits for them, and so does the interpreter.

    Args:
        limit: Maximum number of threads.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = self._idle = 0
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def submit(self, function: Callable[..., T], args: tuple[Any, ...]) -> asyncio.Future[Outcome[T]]:
        """Call a function in a thread, with the context variables of the task."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome[T]] = loop.create_future()
        context = contextvars.copy_context()

        def job() -> None:
            if future.cancelled():
                return
            try:
                outcome: Outcome[T] = context.run(function, *args), None
            except BaseException as error:  # noqa: BLE001 - it is raised in the task
                outcome = None, error
            # The loop may have been closed: nobody waits for a look-up that was canceled.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, future, outcome)

        self._jobs.put(job)
        if not self._has_thread():
            # "can't start new thread": at the limit of threads, or during interpreter shutdown.
            self._jobs.get()()
        return future

    def _has_thread(self) -> bool:
        """Start a thread if none is idle and the limit isn't reached; return whether there is any."""
        with self._lock:
            if self._idle or self._count == self._limit:
                # One that is idle and wasn't assigned a job yet.
                self._idle = max(0, self._idle - 1)
                return True
            try:
                threading.Thread(target=self._work, name="callback-sdk-asyncio", daemon=True).start()
            except RuntimeError:
                return bool(self._count)
            self._count += 1
            return True

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            with self._lock:
                self._idle += 1


def _settle(future: asyncio.Future[Outcome[T]], outcome: Outcome[T]) -> None:
    if not future.done():
        future.set_result(outcome)


ASYNCIO: Driver = AsyncioDriver()
