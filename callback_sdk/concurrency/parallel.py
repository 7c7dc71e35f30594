"""Parallel calls on pooled threads: starting a thread takes as long as a delivery.

The pool doesn't use `concurrent.futures`: its executor rejects work during interpreter shutdown, and a signal handler
would deadlock on its non-reentrant locks.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from callback_sdk.concurrency.forking import PerProcess
from callback_sdk.concurrency.interrupts import is_interrupt

T = TypeVar("T")
R = TypeVar("R")

_MAX_IDLE = 32
"""Maximum number of idle threads in the pool."""


class Parallel:
    """A pool of threads for parallel calls. Rounds are independent: slow calls of one don't delay another.

    Args:
        max_concurrent: Maximum number of concurrent calls of one round.
    """

    def __init__(self, max_concurrent: int) -> None:
        self._max_concurrent = max_concurrent
        # No thread survives a fork.
        self._idle: PerProcess[deque[_Helper]] = PerProcess(deque)

    def map(self, call: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Call a function with each item in parallel, and return the results in the order of the items.

        All calls have ended when it returns or raises. The calling thread makes calls too, so that all of them are made
        even if no thread can be started: at the thread limit, or during interpreter shutdown.
        """
        round_ = _Round(call, list(items))
        helpers = 0
        try:
            while helpers < min(self._max_concurrent, round_.size) - 1 and self._start(round_):
                helpers += 1
            return round_.finish(helpers)
        except BaseException as error:
            # Ctrl-C: start no more calls, and wait for the running ones, which use values of the caller.
            round_.stop(error)
            round_.wait()
            raise

    def close(self) -> None:
        """Stop the idle threads."""
        idle = self._idle.get()
        ended = []
        while idle:
            helper = idle.pop()
            helper.end()
            ended.append(helper)
        for helper in ended:
            helper.join()

    def _start(self, round_: _Round[Any, Any]) -> bool:
        idle = self._idle.get()
        try:
            helper = idle.pop()
        except IndexError:
            helper = _Helper(idle)
            try:
                helper.start()
            except RuntimeError:
                # "can't start new thread", or "can't create new thread at interpreter shutdown".
                return False
        helper.give(round_)
        return True


class _Round(Generic[T, R]):
    """The calls of one round. Each is made once, by the first free thread.

    A signal handler may raise in the calling thread between any two instructions, and a call that the thread has just
    taken is lost then. So the round waits for its helper threads, which receive no signals, and not for a call count.
    """

    def __init__(self, call: Callable[[T], R], items: list[T]) -> None:
        self.size = len(items)
        self._call = call
        self._left = deque(enumerate(items))
        self._outcomes: dict[int, tuple[Any, BaseException | None]] = {}
        self._helpers: set[threading.Thread] = set()
        # Looked up at run time: eventlet and gevent replace the C implementation, which would block their event loop.
        self._helped: queue.SimpleQueue[None] = queue.SimpleQueue()

    def work(self) -> None:
        """Make the remaining calls."""
        while (taken := self._take()) is not None:
            number, item = taken
            try:
                self._outcomes[number] = (self._call(item), None)
            except BaseException as error:  # noqa: BLE001 - it is raised where the round was begun
                self._outcomes[number] = (None, error)
                if is_interrupt(error):
                    self.stop(error)

    def help(self, helper: threading.Thread, return_to_pool: Callable[[], bool]) -> bool:
        """Make calls in a helper thread, then the callback before the round ends; return its result."""
        # Registered before it takes a call: after `stop`, `wait` waits for all helpers that may have one.
        self._helpers.add(helper)
        self.work()
        is_pooled = return_to_pool()
        self._helpers.discard(helper)
        self._helped.put(None)
        return is_pooled

    def finish(self, helpers: int) -> list[R]:
        """Make the remaining calls, wait for the helpers, and return the results."""
        self.work()
        for _ in range(helpers):
            self._helped.get()
        errors = [error for _, error in map(self._outcomes.__getitem__, range(self.size)) if error is not None]
        if errors:
            raise next(filter(is_interrupt, errors), errors[0])
        return [self._outcomes[number][0] for number in range(self.size)]

    def stop(self, error: BaseException) -> None:
        """Start no more calls; the error is the outcome of the remaining ones."""
        while (taken := self._take()) is not None:
            self._outcomes[taken[0]] = (None, error)

    def wait(self) -> None:
        """Wait until no helper is making a call."""
        while self._helpers:
            # Each helper adds an item to the queue when it is done.
            self._helped.get()

    def _take(self) -> tuple[int, T] | None:
        try:
            return self._left.popleft()
        except IndexError:
            return None


class _Helper(threading.Thread):
    """A pooled thread that makes calls of one round after another.

    It is a daemon thread, because idle threads must not keep the process alive. The caller of a round waits for it.

    Args:
        idle: The idle threads of the pool.
    """

    def __init__(self, idle: deque[_Helper]) -> None:
        super().__init__(name="callback-sdk", daemon=True)
        self._inbox: queue.SimpleQueue[_Round[Any, Any] | None] = queue.SimpleQueue()
        self._idle = idle

    def give(self, round_: _Round[Any, Any]) -> None:
        """Assign the thread to a round."""
        self._inbox.put(round_)

    def end(self) -> None:
        """Stop the thread after its current round."""
        self._inbox.put(None)

    def run(self) -> None:
        """Process rounds until `end` is called or the pool is full."""
        while (round_ := self._inbox.get()) is not None:
            is_pooled = round_.help(self, self._return_to_pool)
            del round_
            if not is_pooled:
                return

    def _return_to_pool(self) -> bool:
        if len(self._idle) >= _MAX_IDLE:
            return False
        self._idle.append(self)
        return True
