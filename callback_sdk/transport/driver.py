"""Drivers: how coroutines wait for sockets and time, make calls that block, and run side by side.

What sends a result is written once, as coroutines. They reach the system only through a driver:

- `BLOCKING` does everything at once. Its coroutines are never suspended, so `run` executes one like a function, without
  an event loop.
- `callback_sdk.transport.multiplexing` suspends them where they wait, and runs many of them in the calling thread.
- `callback_sdk.transport.asyncio_driver` suspends them where they wait, for the event loop of asyncio.

Any other scheduler is one more class: all waiting for the network is `ready`.
"""

from __future__ import annotations

import functools
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from callback_sdk.concurrency.forking import RLock
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.concurrency.parallel import Parallel
from callback_sdk.redaction import without_locals
from callback_sdk.transport import polling

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

Size = int | Callable[[], int | None] | None


class Rounds(Protocol):
    """Makes calls side by side, a limited number at a time."""

    async def map(self, call: Callable[[T], Coroutine[Any, Any, R]], items: Iterable[T]) -> list[R]:
        """Call a coroutine function with each item, and return the results in the order of the items.

        All calls have ended when it returns or raises. All are made, even if one of them raises an error.
        """
        ...

    def close(self) -> None:
        """Release what is kept for the next round."""
        ...


class Driver(Protocol):
    """How coroutines reach the system. Thread-safe, and usable before and after a fork."""

    async def ready(self, sockets: Sequence[socket.socket], events: int, seconds: float) -> dict[socket.socket, int]:
        """Wait until the first sockets are ready; see `polling.ready`."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for a time."""
        ...

    async def call(self, function: Callable[..., T], *args: Any, size: Size = None) -> T:
        """Make a call that may block or compute for long. It has ended when this returns or raises.

        It is made even if the coroutine is being canceled. What it returns is lost then.

        Args:
            function: The function.
            *args: Its arguments.
            size: Bytes that it computes on, or what returns them, if it does nothing else; None if it isn't known. Few
                take no time.
        """
        ...

    async def look_up(self, function: Callable[..., T], *args: Any) -> T:
        """Make a call that may block and only reads, such as that of a name server. Nobody waits for it in vain."""
        ...

    def rounds(self, max_concurrent: int) -> Rounds:
        """Return what makes calls side by side.

        Args:
            max_concurrent: Maximum number of concurrent calls of one round.
        """
        ...

    def lock(self) -> Any:
        """Return a lock for `exclusively`."""
        ...

    async def exclusively(self, lock: Any, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Call a coroutine function while no other one is running with the same lock."""
        ...


class Background(Protocol):
    """Calls that go on while the coroutine that has started them does something else."""

    @property
    def skipped(self) -> Sequence[Any]:
        """The items whose calls were canceled before they began."""
        ...

    def start(self, call: Callable[[T], Coroutine[Any, Any, object]], item: T) -> None:
        """Call a coroutine function with an item, without waiting for it.

        Raises:
            RuntimeError: It can't be called, because no thread can be started.
        """
        ...

    async def cancel(self) -> None:
        """Cancel the calls that haven't ended, and wait for their end. Threads go on, and aren't waited for."""
        ...


class Changes(Protocol):
    """What changes in any thread, such as `RunningAttempts`."""

    def wait_for(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Block until a condition holds after a change, up to `timeout` seconds; return whether it holds."""
        ...

    def listening(self, call: Callable[[], object]) -> AbstractContextManager[None]:
        """Call a function after each change, in any thread, within a `with` statement."""
        ...


class BackgroundDriver(Driver, Protocol):
    """A driver with which something goes on while other coroutines run, as an outbox needs it.

    Attributes:
        cancellations: What is raised in a coroutine that has to end without waiting for anything else.
    """

    cancellations: tuple[type[BaseException], ...]

    async def wait(self, changes: Changes, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition holds or the time is over, and return whether it holds.

        Args:
            changes: After its changes the condition is checked.
            holds: Returns whether the condition holds, without blocking, in any thread.
            seconds: The longest time.
        """
        ...

    def background(self) -> Background:
        """Return what makes calls in the background."""
        ...


Outcome = tuple[T, None] | tuple[None, BaseException]
"""What a call returned, or raised. Not the exception of a future, which can't be a StopIteration."""


def outcome_of(function: Callable[[], T]) -> Outcome[T]:
    """Make a call for another thread, or another coroutine, and return its outcome."""
    try:
        return function(), None
    except BaseException as error:  # noqa: BLE001 - it is raised where the outcome is awaited
        return None, error


def value_of(outcome: Outcome[T]) -> T:
    """Return what a call returned, or raise what it raised."""
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


class Round(Generic[T, R]):
    """The calls of one round, made by coroutines of which each takes the next item when it is done with one.

    Args:
        call: The coroutine function.
        items: Its arguments.

    Attributes:
        size: Number of items.
    """

    def __init__(self, call: Callable[[T], Coroutine[Any, Any, R]], items: Iterable[T]) -> None:
        self._call = call
        self._left = deque(enumerate(items))
        self._outcomes: dict[int, Outcome[R]] = {}
        self.size = len(self._left)

    async def work(self) -> None:
        """Make calls until none is left."""
        while self._left:
            number, item = self._left.popleft()
            try:
                self._outcomes[number] = (await self._call(item), None)
            except uninterrupted(Exception) as error:  # it is raised when all calls have ended
                self._outcomes[number] = (None, error)

    def results(self) -> list[R]:
        """Return the results in the order of the items, or raise the first error."""
        return [value_of(self._outcomes[number]) for number in range(self.size)]


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Execute a coroutine of the blocking driver, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("A coroutine of another driver was called without its event loop.")


def blocking(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Decorate a coroutine function of the blocking driver, so that it is called like any other function."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(function(*args, **kwargs))

    return call


def clearing_locals_of_coroutine(call: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate a coroutine function; see `redaction.clearing_locals`."""

    @functools.wraps(call)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        outer = sys.exc_info()[1]
        try:
            return await call(*args, **kwargs)
        except BaseException as error:
            without_locals(error, outer)
            raise
        finally:
            del args, kwargs, outer

    return wrapper


def awaiting(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return the coroutine function of a method that was decorated with `blocking`, for a class with another driver."""
    function: Any = method
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return clearing_locals_of_coroutine(function)


class BlockingDriver:
    """The driver without an event loop: each wait blocks the thread, and rounds have threads."""

    # A signal handler raises whatever it wants to, and running calls are waited for.
    cancellations: tuple[type[BaseException], ...] = ()

    async def ready(self, sockets: Sequence[socket.socket], events: int, seconds: float) -> dict[socket.socket, int]:
        return polling.ready(sockets, events, seconds)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def wait(self, changes: Changes, holds: Callable[[], bool], seconds: float) -> bool:
        return changes.wait_for(holds, seconds)

    async def call(self, function: Callable[..., T], *args: Any, size: Size = None) -> T:
        return function(*args)

    async def look_up(self, function: Callable[..., T], *args: Any) -> T:
        return function(*args)

    def rounds(self, max_concurrent: int) -> Rounds:
        return _ThreadRounds(max_concurrent)

    def background(self) -> Background:
        return _Threads()

    def lock(self) -> Any:
        return RLock()

    async def exclusively(self, lock: Any, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with lock:
            return await call()


class _ThreadRounds:
    """Calls side by side, each in a thread."""

    def __init__(self, max_concurrent: int) -> None:
        self._parallel = Parallel(max_concurrent)

    async def map(self, call: Callable[[T], Coroutine[Any, Any, R]], items: Iterable[T]) -> list[R]:
        return self._parallel.map(lambda item: run(call(item)), items)

    def close(self) -> None:
        self._parallel.close()


class _Threads:
    """Calls in the background, each in a thread."""

    skipped: Sequence[Any] = ()

    def start(self, call: Callable[[T], Coroutine[Any, Any, object]], item: T) -> None:
        # A daemon thread, because a request to a slow server must not keep the process from ending.
        threading.Thread(target=lambda: run(call(item)), name="callback-sdk", daemon=True).start()

    async def cancel(self) -> None:
        pass


BLOCKING: BackgroundDriver = BlockingDriver()
