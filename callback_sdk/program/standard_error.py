"""The program's standard error: passed on unchanged, while the end of it is kept for the error of the document."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
import time
from collections import deque

_CHUNK = 64 * 1024
_DRAIN_TIMEOUT = 1.0
"""Seconds to wait for the rest: background processes of the program may have its standard error open for ever."""
_FLUSH_TIMEOUT = 10.0
"""Seconds to wait for a reader that is slower than the program."""


class StandardError:
    """Standard error of a program, as a pipe that is read by a thread.

    A program that writes to a terminal keeps it, with its colours and progress bars, and nothing is kept of its output.

    Args:
        descriptor: Where the output goes.
        tail: Maximum number of bytes to keep; 0 for no pipe at all.
    """

    def __init__(self, descriptor: int, tail: int) -> None:
        self._descriptor, self._size = descriptor, tail
        self._chunks: deque[bytes] = deque()
        self._kept = 0
        self._read = self._passed = 0
        self._reader, self._writer = os.pipe() if tail and not os.isatty(descriptor) else (-1, -1)
        self._thread = threading.Thread(target=self._pass_on, name="standard error", daemon=True)

    @property
    def writer(self) -> int | None:
        """The descriptor that the program gets as its standard error; None if it inherits that of this process."""
        return None if self._writer < 0 else self._writer

    def start(self) -> None:
        """Pass the output on from now on. The program has been started, and has its end of the pipe."""
        if self._writer >= 0:
            os.close(self._writer)
            self._thread.start()

    def close(self) -> None:
        """Close both ends of the pipe: the program couldn't be started."""
        if self._writer >= 0:
            os.close(self._writer)
            os.close(self._reader)

    def tail(self) -> bytes:
        """Return the end of the output. The program has ended."""
        if self._writer >= 0:
            self._thread.join(_DRAIN_TIMEOUT)
        return b"".join(tuple(self._chunks))[-self._size :] if self._size else b""

    def flush(self) -> None:
        """Wait until what was written is passed on. The program has ended; background processes may not have."""
        if self._writer < 0:
            return
        limit = time.monotonic() + _FLUSH_TIMEOUT
        while self._thread.is_alive() and time.monotonic() < limit:
            # The thread may be between reading and counting.
            self._thread.join(0.02)
            if not self._unread() and self._passed == self._read:
                return

    def _unread(self) -> int:
        try:
            return int(struct.unpack("i", fcntl.ioctl(self._reader, termios.FIONREAD, bytes(4)))[0])
        except OSError:
            return 0

    def _pass_on(self) -> None:
        try:
            while chunk := os.read(self._reader, _CHUNK):
                self._read += len(chunk)
                self._keep(chunk)
                self._write(chunk)
                self._passed += len(chunk)
        except BrokenPipeError:
            # Nobody reads it any more. Closing the pipe gives the program the signal that it would get without us.
            pass
        finally:
            os.close(self._reader)

    def _keep(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._kept += len(chunk)
        while self._kept - len(self._chunks[0]) >= self._size:
            self._kept -= len(self._chunks.popleft())

    def _write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._write_some(rest) :]

    def _write_some(self, rest: memoryview) -> int:
        """Write some bytes, or drop them, and return their number."""
        try:
            return os.write(self._descriptor, rest)
        except BlockingIOError:
            # Another process that has the same pipe or terminal has set O_NONBLOCK.
            select.select([], [self._descriptor], [])
            return 0
        except BrokenPipeError:
            raise
        except OSError:
            # A full disk, for example. The program itself would get an error that it may ignore, and no signal.
            return len(rest)
