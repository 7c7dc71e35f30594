"""Runs a function in a child process created by `os.fork()`, and returns its result."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import Any

TIME_LIMIT = 60
"""Seconds after which a child that hangs is killed, which fails its test."""


class Child:
    """A child process.

    Args:
        call: Function to call in the child. Its result must be picklable.

    Attributes:
        pid: The child's process id.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self._pipe, write = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of a fork in a process with threads, which is intended here.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid:
            os.close(write)
            return
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(TIME_LIMIT)
        try:
            answer = (True, call())
        except BaseException:  # noqa: BLE001 - the parent raises it
            answer = (False, traceback.format_exc())
        try:
            with os.fdopen(write, "wb") as file:
                pickle.dump(answer, file)
        finally:
            os._exit(0)

    def result(self) -> Any:
        """Wait for the child's end, and return the result of its function; fail if it raised or hung."""
        with os.fdopen(self._pipe, "rb") as file:
            data = file.read()
        _, status = os.waitpid(self.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0, "the child process hung"
        succeeded, value = pickle.loads(data)
        assert succeeded, value
        return value


def in_child(call: Callable[[], Any]) -> Any:
    """Call a function in a child process, and return its result."""
    return Child(call).result()
