"""The driver that runs many coroutines in the calling thread: while one waits, the others go on.

It is not an event loop of asyncio. A program may call it from a coroutine of its own, where `asyncio.run` raises
RuntimeError; it has no descriptor, signal handler or policy that a program could replace; and a wait takes less CPU
time, without futures, handles, and calls of epoll_ctl(2).

A coroutine that waits yields a request to the scheduler that runs it. So the driver has no state, and each thread may
have schedulers of its own, also one within another.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import socket
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from callback_sdk.concurrency.forking import PerProcess
from callback_sdk.concurrency.interrupts import is_interrupt, uninterrupted
from callback_sdk.transport.call_threads import MAX_LOOK_UPS, MAX_THREADS, SMALL, CallThreads
from callback_sdk.transport.driver import Driver, Outcome, Round, Rounds, Size, outcome_of, value_of
from callback_sdk.transport.polling import READ, Poller

T = TypeVar("T")
R = TypeVar("R")


def multiplexed(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of this driver, with those that it starts, until all have ended, and return its result.

    An interrupt, such as KeyboardInterrupt or what a signal handler raises, ends all of them where they wait, and is
    raised. The calls in threads have ended then, but for look-ups.
    """
    return CoroutineScheduler().run(coroutine)


class MultiplexingDriver:
    """See `Driver`. Its coroutines run in `multiplexed` only."""

    async def ready(self, sockets: Sequence[socket.socket], events: int, seconds: float) -> dict[socket.socket, int]:
        found: dict[socket.socket, int] = await _request(_Wait(sockets, events, seconds))
        return found

    async def sleep(self, seconds: float) -> None:
        await _request(_Wait((), 0, seconds))

    async def call(self, function: Callable[..., T], *args: Any, size: Size = None) -> T:
        known = size() if callable(size) else size
        if known is not None and known <= SMALL:
            return function(*args)
        outcome: Outcome[T] = await _request(_Call(partial(function, *args), _calls, is_awaited=True))
        return value_of(outcome)

    async def look_up(self, function: Callable[..., T], *args: Any) -> T:
        outcome: Outcome[T] = await _request(_Call(partial(function, *args), _look_ups, is_awaited=False))
        return value_of(outcome)

    def rounds(self, max_concurrent: int) -> Rounds:
        return _MultiplexedRounds(max_concurrent)

    def lock(self) -> Any:
        return _Lock()

    async def exclusively(self, lock: Any, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        await _request(lock)
        try:
            return await call()
        finally:
            lock.release()


class _SchedulerRequest(Protocol):
    """What a coroutine asks of its scheduler."""

    def begin(self, scheduler: CoroutineScheduler, task: _Task) -> None:
        """Do it, and have the task resumed when it is done."""
        ...


@types.coroutine
def _request(request: _SchedulerRequest) -> Generator[_SchedulerRequest, Any, Any]:
    return (yield request)


class _Task:
    """A coroutine of a scheduler.

    Attributes:
        coroutine: The coroutine.
        context: Its context variables: the span of one delivery isn't that of another.
        on_end: Called with its outcome.
        value: What it is resumed with.
        failure: What it is resumed with instead: its request couldn't be done.
        sockets: What it waits for, or nothing.
        deadline: When its wait ends, by the monotonic clock.
    """

    __slots__ = ("context", "coroutine", "deadline", "failure", "on_end", "sockets", "value")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        on_end: Callable[[Outcome[Any]], None],
        context: contextvars.Context,
    ) -> None:
        self.coroutine = coroutine
        self.context = context
        self.on_end = on_end
        self.value: Any = None
        self.failure: Exception | None = None
        self.sockets: tuple[socket.socket, ...] = ()
        self.deadline = math.inf


class CoroutineScheduler:
    """Runs coroutines in one thread, each until it waits."""

    def __init__(self) -> None:
        # In the order of their start.
        self._tasks: dict[_Task, None] = {}
        self._ready: deque[_Task] = deque()
        self._poller = Poller()
        self._waiting: dict[socket.socket, _Task] = {}
        self._timed: set[_Task] = set()
        # No wait ends before: not a heap of timers, of which nearly all are removed before their time.
        self._earliest = math.inf
        self._mailbox: _Mailbox | None = None
        self.joining = 0

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine, with those that it starts, and return its result."""
        outcomes: list[Outcome[T]] = []
        self.start(coroutine, outcomes.append, contextvars.copy_context())
        try:
            while not outcomes:
                self._step()
        except BaseException:
            self._end_all()
            raise
        finally:
            if self._mailbox is not None:
                self._mailbox.close()
        return value_of(outcomes[0])

    def start(
        self,
        coroutine: Coroutine[Any, Any, Any],
        on_end: Callable[[Outcome[Any]], None],
        context: contextvars.Context,
    ) -> None:
        """Start a coroutine with context variables of its own, and call a function with its outcome."""
        task = _Task(coroutine, on_end, context)
        self._tasks[task] = None
        self._ready.append(task)

    def resume(self, task: _Task, value: Any = None) -> None:
        """Continue a task that waits, with the result of its request."""
        task.value = value
        self._ready.append(task)

    def wait(self, task: _Task, sockets: Sequence[socket.socket], events: int, seconds: float) -> None:
        """Continue a task when a socket is ready, or the time is over."""
        for sock in sockets:
            self._poller.add(sock, events)
            self._waiting[sock] = task
            task.sockets += (sock,)
        task.deadline = time.monotonic() + seconds
        self._earliest = min(self._earliest, task.deadline)
        self._timed.add(task)

    def mailbox(self) -> _Mailbox:
        """Return where threads put the outcomes of calls."""
        if self._mailbox is None:
            self._mailbox = _Mailbox()
            self._poller.add(self._mailbox.receiver, READ)
        return self._mailbox

    @property
    def has_one_task(self) -> bool:
        """Whether nothing else could go on during a call."""
        return len(self._tasks) - self.joining == 1

    def _step(self) -> None:
        """Continue all tasks that can go on, then wait for others."""
        for _ in range(len(self._ready)):
            self._continue(self._ready.popleft())
        if self._tasks:
            self._poll()

    def _continue(self, task: _Task) -> None:
        value, failure, task.value, task.failure = task.value, task.failure, None, None
        try:
            if failure is None:
                request = task.context.run(task.coroutine.send, value)
            else:
                request = task.context.run(task.coroutine.throw, failure)
        except StopIteration as end:
            self._end(task, (end.value, None))
        except uninterrupted(Exception) as error:  # it is raised where the task is awaited
            self._end(task, (None, error))
        else:
            self._begin(task, request)

    def _begin(self, task: _Task, request: Any) -> None:
        try:
            if not hasattr(request, "begin"):
                raise RuntimeError("A coroutine of another driver was called without its event loop.")
            request.begin(self, task)
        except uninterrupted(Exception) as error:  # it is raised where the task waits
            self._stop_waiting(task)
            task.failure = error
            self._ready.append(task)

    def _end(self, task: _Task, outcome: Outcome[Any]) -> None:
        self._tasks.pop(task, None)
        task.on_end(outcome)

    def _poll(self) -> None:
        found = self._poller.wait(0 if self._ready else self._earliest - time.monotonic())
        for sock, events in found.items():
            task = self._waiting.get(sock)
            if task is None:
                self._receive()
            # A task that waits has no value until its first socket is found; the others are added to that value.
            elif task.value is None:
                self._ready.append(task)
                task.value = {sock: events}
            else:
                task.value[sock] = events
        for task in self._ready:
            self._stop_waiting(task)
        if self._earliest <= time.monotonic():
            self._end_waits(time.monotonic())

    def _stop_waiting(self, task: _Task) -> None:
        # Before the task closes a socket, whose number may soon be that of another one.
        for sock in task.sockets:
            self._poller.remove(sock)
            del self._waiting[sock]
        task.sockets = ()
        self._timed.discard(task)

    def _end_waits(self, now: float) -> None:
        over = [task for task in self._timed if task.deadline <= now]
        for task in sorted(over, key=lambda task: task.deadline):
            self._stop_waiting(task)
            self.resume(task, {})
        self._earliest = min((task.deadline for task in self._timed), default=math.inf)

    def _receive(self) -> None:
        if self._mailbox is not None:
            for task, outcome in self._mailbox.receive():
                self.resume(task, outcome)

    def _end_all(self) -> None:
        """End all tasks where they wait, as asyncio does when it cancels them."""
        try:
            if self._mailbox is not None:
                # The calls use files that the tasks close.
                self._mailbox.finish()
        finally:
            self._close_tasks()

    def _close_tasks(self) -> None:
        interrupt: BaseException | None = None
        while self._tasks:
            # Those that a task has started before it: they may use its files.
            task, _ = self._tasks.popitem()
            try:
                task.context.run(task.coroutine.close)
            except BaseException as error:  # noqa: BLE001 - the others' connections are closed too
                interrupt = interrupt or (None if isinstance(error, Exception) else error)
        if interrupt is not None:
            raise interrupt


class _Wait:
    """Waits for sockets, and time."""

    __slots__ = ("_events", "_seconds", "_sockets")

    def __init__(self, sockets: Sequence[socket.socket], events: int, seconds: float) -> None:
        self._sockets = sockets
        self._events = events
        self._seconds = seconds

    def begin(self, scheduler: CoroutineScheduler, task: _Task) -> None:
        scheduler.wait(task, tuple(self._sockets), self._events, self._seconds)


class _Call:
    """Makes a call in a thread; in this one if no other task could go on meanwhile.

    Args:
        function: The call.
        threads: The threads.
        is_awaited: Whether it has ended when the scheduler ends.
    """

    def __init__(self, function: Callable[[], Any], threads: PerProcess[CallThreads], *, is_awaited: bool) -> None:
        self._function = function
        self._threads = threads
        self._is_awaited = is_awaited

    def begin(self, scheduler: CoroutineScheduler, task: _Task) -> None:
        if scheduler.has_one_task:
            outcome = outcome_of(partial(task.context.run, self._function))
            if outcome[1] is not None and is_interrupt(outcome[1]):
                raise outcome[1]
            scheduler.resume(task, outcome)
            return
        call = partial(task.context.copy().run, self._function)
        mailbox = scheduler.mailbox()
        number = mailbox.expect(task, is_awaited=self._is_awaited)
        self._threads.get().submit(lambda: mailbox.put(number, call))


class _Join:
    """Runs coroutines until all have ended."""

    def __init__(self, coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
        self._coroutines = list(coroutines)

    def begin(self, scheduler: CoroutineScheduler, task: _Task) -> None:
        left = [len(self._coroutines)]

        def on_end(outcome: Outcome[None]) -> None:
            left[0] -= 1
            if not left[0]:
                scheduler.joining -= 1
                scheduler.resume(task)

        scheduler.joining += 1
        for coroutine in self._coroutines:
            scheduler.start(coroutine, on_end, task.context.copy())


class _Lock:
    """A lock of one scheduler; as a request, it is acquired."""

    def __init__(self) -> None:
        self._is_held = False
        self._next: deque[tuple[CoroutineScheduler, _Task]] = deque()

    def begin(self, scheduler: CoroutineScheduler, task: _Task) -> None:
        if self._is_held:
            self._next.append((scheduler, task))
        else:
            self._is_held = True
            scheduler.resume(task)

    def release(self) -> None:
        """Give the lock to the next task."""
        if self._next:
            scheduler, task = self._next.popleft()
            scheduler.resume(task)
        else:
            self._is_held = False


class _MultiplexedRounds:
    """Calls side by side, each in a task."""

    def __init__(self, max_concurrent: int) -> None:
        self._max_concurrent = max_concurrent

    async def map(self, call: Callable[[T], Coroutine[Any, Any, R]], items: Iterable[T]) -> list[R]:
        round_ = Round(call, items)
        if round_.size:
            await _request(_Join(round_.work() for _ in range(min(self._max_concurrent, round_.size))))
        return round_.results()

    def close(self) -> None:
        pass


class _Mailbox:
    """Outcomes of calls in threads. An outcome wakes the scheduler."""

    def __init__(self) -> None:
        self.receiver, self._sender = socket.socketpair()
        self.receiver.setblocking(False)
        self._sender.setblocking(False)
        # A thread that has just read the number of a socket must not write to another one with that number.
        self._lock = threading.Lock()
        self._expected: dict[int, tuple[_Task, bool]] = {}
        self._running: set[int] = set()
        self._outcomes: deque[tuple[int, Outcome[Any]]] = deque()
        self._count = 0

    def expect(self, task: _Task, *, is_awaited: bool) -> int:
        """Return the number of a call, for `put`."""
        self._count += 1
        self._expected[self._count] = task, is_awaited
        return self._count

    def put(self, number: int, call: Callable[[], Any]) -> None:
        """Make a call in a thread, unless it isn't expected any more."""
        with self._lock:
            if number not in self._expected:
                return
            self._running.add(number)
        outcome = outcome_of(call)
        with self._lock:
            self._running.discard(number)
            self._outcomes.append((number, outcome))
            # A full buffer wakes the scheduler as well, and nobody waits for a look-up after the end.
            with contextlib.suppress(OSError):
                self._sender.send(b"\0")

    def receive(self) -> list[tuple[_Task, Outcome[Any]]]:
        """Return the outcomes since the last time."""
        with contextlib.suppress(BlockingIOError):
            self.receiver.recv(4096)
        received = []
        while self._outcomes:
            number, outcome = self._outcomes.popleft()
            received.append((self._expected.pop(number)[0], outcome))
        return received

    def finish(self) -> None:
        """Have no call begin, and wait for those that are running and have to be awaited."""
        with self._lock:
            awaited = {number for number, (_, is_awaited) in self._expected.items() if is_awaited} & self._running
            self._expected.clear()
        poller = Poller()
        poller.add(self.receiver, READ)
        while awaited & self._running:
            poller.wait(math.inf)
            with contextlib.suppress(BlockingIOError):
                self.receiver.recv(4096)

    def close(self) -> None:
        """Close the sockets."""
        with self._lock:
            self.receiver.close()
            self._sender.close()


_calls = PerProcess(lambda: CallThreads(MAX_THREADS, "callback-sdk-call"))
_look_ups = PerProcess(lambda: CallThreads(MAX_LOOK_UPS, "callback-sdk-look-up"))

MULTIPLEXING: Driver = MultiplexingDriver()
