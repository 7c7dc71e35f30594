"""Supervised threads: a thread that ends is reported as not ready, and restarted."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.supervision.outages import retry_pause

_log = logging.getLogger(__name__)

_STABLE_AFTER = 60.0
"""Seconds of running after which the count of consecutive failures is reset."""


class ThreadError(CallbackSDKError):
    """A thread that the process depends on has ended, or makes no progress."""


class SupervisedThread:
    """A daemon thread that runs until it is stopped. If its function ends before that, it is restarted.

    Restarts are delayed by 0.5 s to 1 min (exponential backoff with jitter). `check` fails from the end of the function
    until it runs again, and, if `round_timeout` is set, has completed a round.

    Args:
        run: The function. It must return soon after `stopping` is set, or never.
        name: Name of the thread, for logs and errors.
        stopping: Set to end the thread.
        round_timeout: Seconds after which a round counts as hanging; None if rounds may take any time.
    """

    def __init__(
        self,
        run: Callable[[], None],
        *,
        name: str,
        stopping: threading.Event,
        round_timeout: float | None = None,
    ) -> None:
        self.name = name
        self._run = run
        self._stopping = stopping
        self._round_timeout = round_timeout
        self._round_at = 0.0
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._keep_running, name=name, daemon=True)

    @property
    def started(self) -> bool:
        """Whether `start` was called."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Start the thread."""
        self._round_at = time.monotonic()
        self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of a stopped thread; do nothing if it was never started."""
        if self.started:
            self._thread.join(timeout)

    def complete_round(self) -> None:
        """Record progress. The function calls this after each round."""
        self._round_at, self._failure = time.monotonic(), None

    def check(self) -> None:
        """Check that the thread runs.

        Raises:
            ThreadError: The thread has ended, or hangs.
        """
        if not self.started or self._stopping.is_set():
            return
        failure = self._failure
        if failure is not None:
            raise ThreadError(
                f"The thread {self.name} ended: {failure}.", hint="The thread is restarted; the log has the traceback."
            )
        if not self._thread.is_alive():
            raise ThreadError(f"The thread {self.name} has ended.", hint="Restart this process.")
        silent = time.monotonic() - self._round_at
        if self._round_timeout is not None and silent > self._round_timeout:
            raise ThreadError(
                f"The thread {self.name} has completed no round for {silent:.0f} s.",
                hint="Check the log for outages that the thread waits for. If this continues, restart the process.",
            )

    def _keep_running(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            failure: BaseException | None = None
            try:
                self._run()
            except BaseException as error:  # noqa: BLE001 - SystemExit would end the thread just as silently
                failure = error
            if self._stopping.is_set():
                return
            # Only the error's type, because /readyz is public, and the message of the error may contain credentials.
            self._failure = "its function returned" if failure is None else type(failure).__name__
            failures = 1 if time.monotonic() - started > _STABLE_AFTER else failures + 1
            self._wait_for_restart(failure, retry_pause(failures))

    def _wait_for_restart(self, error: BaseException | None, pause: float) -> None:
        _log.critical("Thread %s ended: %s. Restarting in %.1f s.", self.name, self._failure, pause, exc_info=error)
        self._stopping.wait(pause)
        self._round_at = time.monotonic()
        if self._round_timeout is None:
            self._failure = None


class BackgroundThread(ABC):
    """A supervised thread that works until it is closed. No work counts as hanging.

    Args:
        name: Name of the thread, for logs and errors.
    """

    def __init__(self, *, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = SupervisedThread(self._loop, name=name, stopping=self._stopping)

    @abstractmethod
    def _loop(self) -> None:
        """Work until `_stopping` is set."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread after its current work, and don't wait for it: it may wait for another machine."""
        self._stopping.set()

    def check(self) -> None:
        """Check that the thread runs.

        Raises:
            ThreadError: The thread has ended.
        """
        self._thread.check()


class PeriodicThread(BackgroundThread):
    """A background thread that repeats a round.

    Args:
        name: Name of the thread, for logs and errors.
        interval: Seconds between two rounds.
    """

    def __init__(self, *, name: str, interval: float) -> None:
        self._interval = interval
        super().__init__(name=name)

    @abstractmethod
    def run_round(self) -> None:
        """Do what there is to do."""

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self.run_round()
            self._thread.complete_round()
            self._stopping.wait(self._interval)
