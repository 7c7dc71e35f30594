"""Signals that ask `callback-sdk exec` to end after its program has ended: the second one does."""

from __future__ import annotations

import contextlib
import os
import signal
import time

_MESSAGE = "callback-sdk exec: {} received. The document is still being sent; a second signal ends this.\n"

_ONE_REQUEST = 1.0
"""Seconds within which several signals are one request: Slurm repeats SIGTERM at a time limit."""


class Interruption:
    """A signal handler that raises `KeyboardInterrupt` at the second request, or at Ctrl-C while the document is sent.

    A scheduler sends a signal, and kills everything some time later. That time is best used for sending. Before that,
    nobody else has the document: a single Ctrl-C must not lose it.

    Attributes:
        number: The signal that has ended the delivery; None if none has.
        is_sending: Whether the document is being sent.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.is_sending = False
        self._first: float | None = None

    @property
    def is_requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._first is not None

    def __call__(self, number: int, frame: object) -> None:
        now = time.monotonic()
        first, self._first = self._first, self._first or now
        if (self.is_sending and number == signal.SIGINT) or (first is not None and now - first >= _ONE_REQUEST):
            self.number = number
            raise KeyboardInterrupt
        if first is None:
            # Not by `sys.stderr`, which may be writing at this moment.
            with contextlib.suppress(OSError):
                os.write(2, _MESSAGE.format(signal.Signals(number).name).encode())
