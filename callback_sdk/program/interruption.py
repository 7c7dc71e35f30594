"""Signals that ask `callback-sdk exec` to end while it delivers: the second one does."""

from __future__ import annotations

import contextlib
import os
import signal
import time

_MESSAGE = "callback-sdk exec: {} received. The document is still being sent; a second signal ends this.\n"

_ONE_REQUEST = 1.0
"""Seconds within which several signals are one request: Slurm repeats SIGTERM at a time limit."""


class Interruption:
    """A signal handler that raises `KeyboardInterrupt` at the second request.

    A scheduler sends a signal, and kills everything some time later. That time is best used for sending.

    Attributes:
        number: The signal that has ended the delivery; None if none has.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._first: float | None = None

    def __call__(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            # Not by `sys.stderr`, which may be writing at this moment.
            with contextlib.suppress(OSError):
                os.write(2, _MESSAGE.format(signal.Signals(number).name).encode())
        elif now - self._first >= _ONE_REQUEST:
            self.number = number
            raise KeyboardInterrupt
