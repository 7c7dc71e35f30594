"""ChildPair: the child process that runs tasks, and a spare one that is prepared before it has to be replaced."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import timedelta
from typing import Any

from callback_sdk.service.supervision.memory import has_room
from callback_sdk.service.work.child import RunSpec
from callback_sdk.service.work.outcome import Outcome, StopSignal
from callback_sdk.service.work.process import ChildProcess
from callback_sdk.service.work.startup import ImportedRegistry

_log = logging.getLogger(__name__)


class ChildPair:
    """Runs tasks like `ChildProcess`, without the pauses in which a replacement would import the registry.

    The replacement is prepared during a run after which the process will be replaced, as it has had its maximum number
    of runs, or probably, as it retains more than half of the memory that it may, or this algorithm has left something
    the last time. That takes memory, so it happens only if the machine has enough.

    Args:
        new_child: Returns a child process.
        may_start: Returns whether there is memory for a spare process, given the bytes that the current one uses after
            its setups.
        current: The first child process; a new one if None.
    """

    def __init__(
        self,
        new_child: Callable[[], ChildProcess],
        *,
        may_start: Callable[[int], bool] = has_room,
        current: ChildProcess | None = None,
    ) -> None:
        self._new_child = new_child
        self._may_start = may_start
        self._current = current or new_child()
        self._starter: _Spare | None = None
        self._spare: _Spare | None = None
        self._leaving: set[str] = set()

    def describe(self) -> ImportedRegistry:
        """Let the process import the registry; see `ChildProcess.describe`."""
        return self._current.describe()

    @property
    def is_prepared(self) -> bool:
        """Whether a process can run a task at once."""
        return self._current.is_prepared or self._use_spare()

    def prepare(self, stop: StopSignal) -> bool:
        """Prepare a process for a task, or wait for the spare one; see `ChildProcess.prepare`."""
        if self.is_prepared:
            return True
        if self._spare is not None:
            futures: list[Future[Any]] = [self._spare.prepared, stop]
            wait(futures, return_when=FIRST_COMPLETED)
            if stop.done():
                return False
            if self._use_spare():
                return True
        return self._current.prepare(stop)

    def run(
        self, task: RunSpec, *, timeout: timedelta, stop: StopSignal, max_runs: int | None = None
    ) -> Outcome:  # fmt: skip
        """Run one task, and return its outcome; see `ChildProcess.run`."""
        if self._current.is_used_up(max_runs):
            self._current.close()
        if not self.prepare(stop):
            return Outcome(stop_reason=stop.result())
        if self._current.is_ending(max_runs) or task.algorithm in self._leaving:
            self._start_spare()
        outcome = self._current.run(task, timeout=timeout, stop=stop, max_runs=max_runs)
        if outcome.result is not None:
            (self._leaving.discard if self._current.is_prepared else self._leaving.add)(task.algorithm)
        return outcome

    def close(self) -> None:
        """Kill the processes and their descendants."""
        self._current.close()
        for spare in (self._starter, self._spare):
            if spare is not None:
                spare.close()
        self._starter = self._spare = None

    def _start_spare(self) -> None:
        if self._spare is None and self._may_start(self._current.prepared_memory):
            self._spare = _Spare(self._new_child())

    def _use_spare(self) -> bool:
        """Replace the process by the spare one, if that is prepared."""
        if self._spare is None or not self._spare.prepared.done():
            return False
        spare, self._spare = self._spare, None
        if not spare.is_prepared:
            spare.close()
            return False
        self._current.close()
        if self._starter is not None:
            self._starter.close()
        self._current, self._starter = spare.child, spare
        return True


class _Spare:
    """A child process and the thread that starts it, which must not end before it.

    Args:
        child: The process.

    Attributes:
        prepared: Done when it has been prepared; see `ChildProcess.prepare`.
    """

    def __init__(self, child: ChildProcess) -> None:
        self.child = child
        self.prepared: Future[bool] = Future()
        self._stop = StopSignal()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spare", daemon=True)
        self._thread.start()

    @property
    def is_prepared(self) -> bool:
        """Whether it can run a task at once."""
        return self.prepared.exception() is None and self.child.is_prepared

    def close(self) -> None:
        """Stop the preparation, and kill the process."""
        self._stop.request("")
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self.prepared.set_result(self.child.prepare(self._stop))
        except Exception as error:  # noqa: BLE001 - the preparation of the next process raises it again
            _log.debug("A spare process can't be prepared: %s", error)
            self.prepared.set_exception(error)
        self._end.wait()
        self.child.close()
