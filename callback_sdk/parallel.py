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

from callback_sdk.forking import PerProcess

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
        while helpers < min(self._most, round_.size) - 1 and self._start(round_):
            helpers += 1
        return round_.finish(helpers)

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
    """The calls of one round. Each is made once, by whichever thread takes it first."""

    def __init__(self, call: Callable[[T], R], items: list[T]) -> None:
        self.size = len(items)
        self._call = call
        self._left = deque(enumerate(items))
        # Looked up here: eventlet and gevent replace it, as the one in C would block all of their threads.
        self._ended: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
        self._helped: queue.SimpleQueue[None] = queue.SimpleQueue()

    def work(self) -> None:
        """Make calls until none is left."""
        while (taken := self._take()) is not None:
            number, item = taken
            try:
                self._ended.put((number, self._call(item), None))
            except BaseException as error:  # noqa: BLE001 - it is raised where the round was begun
                self._ended.put((number, None, error))
                if not isinstance(error, Exception):
                    self._stop(error)

    def helped(self) -> None:
        """Tell that a helper is free again."""
        self._helped.put(None)

    def finish(self, helpers: int) -> list[R]:
        """Take part, wait for the helpers, and return the results."""
        outcomes: dict[int, tuple[Any, BaseException | None]] = {}
        try:
            self.work()
            self._collect(outcomes)
        except BaseException as error:
            # Ctrl-C: nothing more begins, and what runs must not outlive the values that it works with.
            self._stop(error)
            self._collect(outcomes)
            raise
        for _ in range(helpers):
            self._helped.get()
        errors = [error for _, error in map(outcomes.__getitem__, range(self.size)) if error is not None]
        if errors:
            raise next((error for error in errors if not isinstance(error, Exception)), errors[0])
        return [outcomes[number][0] for number in range(self.size)]

    def _take(self) -> tuple[int, T] | None:
        try:
            return self._left.popleft()
        except IndexError:
            return None

    def _stop(self, error: BaseException) -> None:
        while (taken := self._take()) is not None:
            self._ended.put((taken[0], None, error))

    def _collect(self, outcomes: dict[int, tuple[Any, BaseException | None]]) -> None:
        while len(outcomes) < self.size:
            number, *outcome = self._ended.get()
            outcomes[number] = (outcome[0], outcome[1])


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
            round_.work()
            stays = len(self._resting) < _RESTING
            if stays:
                self._resting.append(self)
            round_.helped()
            del round_
            if not stays:
                return
