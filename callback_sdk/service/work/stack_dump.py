"""StackDump: tells where a process is that doesn't return, although its main thread may hold the interpreter's lock."""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
import time
from contextlib import suppress

from callback_sdk.text.tracebacks import user_frames

_SIGNAL = signal.SIGUSR2

_TIMEOUT = 1.0
"""Maximum seconds until the process has written its stack."""

_TICK = 0.05

_MAX_BYTES = 64 * 1024

_MAX_FRAMES = 5


class StackDump:
    """The parent's end: a file to which the process writes the stack of its main thread at a signal."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open until `close`

    @property
    def descriptor(self) -> int:
        """Descriptor that the process has to inherit."""
        return self._file.fileno()

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def describe(self, pid: int) -> str:
        """Return a sentence that says where a process is, in the frames of users' code; empty if that is unknown.

        Args:
            pid: The process, which has called `enable`.
        """
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, _SIGNAL)
        end, text = time.monotonic() + _TIMEOUT, b""
        while time.monotonic() < end:
            time.sleep(_TICK)
            # It is written in several pieces.
            before, text = text, os.pread(self.descriptor, _MAX_BYTES, 0)
            if text and text == before:
                break
        frames = user_frames(text.decode(errors="replace"))[:_MAX_FRAMES]
        return f"It was in {', called by '.join(frames)}." if frames else ""


def enable(descriptor: int) -> None:
    """Let this process write its stack at the signal, until `disable` is called."""
    os.set_inheritable(descriptor, False)
    faulthandler.register(_SIGNAL, file=descriptor, all_threads=False)


def disable() -> None:
    """Give the signal its action again."""
    faulthandler.unregister(_SIGNAL)
