"""Calls at the same time, on threads that stay for the next time: to begin one takes as long as a delivery.

It is not built on `concurrent.futures`, because its executor rejects work once the interpreter shuts down, and because
its plain locks would make a signal handler wait for the frame that it interrupted.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from callback_sdk.concurrency.forking import PerProcess

T = TypeVar("T")
R = TypeVar("R")

_RESTING = 32
"""Threads that are kept when nobody needs them."""


class Parallel:
    """Threads for calls at the same time. No round waits for the slow calls of another.

    Args:
        most: Calls of one round at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # No thread survives a fork.
        self._resting: PerProcess[deque[_Helper]] = PerProcess(deque)

    def map(self, call: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Return what a call makes of each item, in their order. All have ended when it returns, or raises.

        The calling thread takes part. So every call is made even where no thread can be started: at the limit of
        threads, and while the interpreter shuts down.
        """
        round_ = _Round(call, list(items))
        helpers = 0
        try:
            while helpers < min(self._most, round_.size) - 1 and self._start(round_):
                helpers += 1
            return round_.finish(helpers)
        except BaseException as error:
            # Ctrl-C: nothing more begins, and what runs must not outlive the values that it works with.
            round_.stop(error)
            round_.wait()
            raise

    def close(self) -> None:
        """End the threads that rest."""
        resting = self._resting.get()
        ended = []
        while resting:
            helper = resting.pop()
            helper.end()
            ended.append(helper)
        for helper in ended:
            helper.join()

    def _start(self, round_: _Round[Any, Any]) -> bool:
        resting = self._resting.get()
        try:
            helper = resting.pop()
        except IndexError:
            helper = _Helper(resting)
            try:
                helper.start()
            except RuntimeError:
                # "can't start new thread", or "can't create new thread at interpreter shutdown".
                return False
        helper.give(round_)
        return True


class _Round(Generic[T, R]):
    """The calls of one round. Each is made once, by whichever thread takes it first.

    The calling thread may raise a signal handler's exception between any two steps. So the round never waits for a
    number of calls, of which that thread may have lost one, but for the helpers that take part; they get no signals.
    """

    def __init__(self, call: Callable[[T], R], items: list[T]) -> None:
        self.size = len(items)
        self._call = call
        self._left = deque(enumerate(items))
        self._outcomes: dict[int, tuple[Any, BaseException | None]] = {}
        self._helpers: set[threading.Thread] = set()
        # Looked up here: eventlet and gevent replace it, as the one in C would block all of their threads.
        self._helped: queue.SimpleQueue[None] = queue.SimpleQueue()

    def work(self) -> None:
        """Make calls until none is left."""
        while (taken := self._take()) is not None:
            number, item = taken
            try:
                self._outcomes[number] = (self._call(item), None)
            except BaseException as error:  # noqa: BLE001 - it is raised where the round was begun
                self._outcomes[number] = (None, error)
                if not isinstance(error, Exception):
                    self.stop(error)

    def help(self, helper: threading.Thread, rest: Callable[[], bool]) -> bool:
        """Take part as a helper, and return what `rest` returned, which is called before the round may end."""
        # Before the first call is taken: after `stop`, `wait` looks for who may have one.
        self._helpers.add(helper)
        self.work()
        rests = rest()
        self._helpers.discard(helper)
        self._helped.put(None)
        return rests

    def finish(self, helpers: int) -> list[R]:
        """Take part, wait for the helpers, and return the results."""
        self.work()
        for _ in range(helpers):
            self._helped.get()
        errors = [error for _, error in map(self._outcomes.__getitem__, range(self.size)) if error is not None]
        if errors:
            raise next((error for error in errors if not isinstance(error, Exception)), errors[0])
        return [self._outcomes[number][0] for number in range(self.size)]

    def stop(self, error: BaseException) -> None:
        """Have no more calls begin; the error is the outcome of those."""
        while (taken := self._take()) is not None:
            self._outcomes[taken[0]] = (None, error)

    def wait(self) -> None:
        """Wait until no helper makes a call."""
        while self._helpers:
            # Each helper puts something after it has left.
            self._helped.get()

    def _take(self) -> tuple[int, T] | None:
        try:
            return self._left.popleft()
        except IndexError:
            return None


class _Helper(threading.Thread):
    """A thread that works, rests and works again.

    A daemon: one that rests must not keep the process from ending. Whoever began a round waits for it.

    Args:
        resting: Where it waits for the next round.
    """

    def __init__(self, resting: deque[_Helper]) -> None:
        super().__init__(name="callback-sdk", daemon=True)
        self._inbox: queue.SimpleQueue[_Round[Any, Any] | None] = queue.SimpleQueue()
        self._resting = resting

    def give(self, round_: _Round[Any, Any]) -> None:
        """Have it take part in a round."""
        self._inbox.put(round_)

    def end(self) -> None:
        """Have it end."""
        self._inbox.put(None)

    def run(self) -> None:
        """Work until there is no room to rest."""
        while (round_ := self._inbox.get()) is not None:
            rests = round_.help(self, self._rest)
            del round_
            if not rests:
                return

    def _rest(self) -> bool:
        if len(self._resting) >= _RESTING:
            return False
        self._resting.append(self)
        return True
