"""Capture of an algorithm's output and logs in a file, of which the last part is stored."""

from __future__ import annotations

import ctypes
import faulthandler
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from callback_sdk.redaction import without_credentials

TAIL_BYTES = 64 * 1024
"""Maximum stored bytes: the last ones."""

_MAX_DISK_BYTES = 4 * 1024 * 1024
"""Maximum bytes on disk; above that, all but the file's end is freed."""

_PUNCH_HOLE = 0x01 | 0x02
"""fallocate(2): FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE."""

_LINE_BUFFERED = 1
"""setvbuf(3): _IOLBF of the C libraries of Linux."""

_BLOCK = 4096

_MAX_LINE = 1000
"""Maximum bytes of a line printed outside a run that are logged as one record."""

_LINES = 100
"""Maximum number of such lines of one process that are logged in each period."""

_PERIOD = 60.0
"""Length of the period, in seconds."""

_log = logging.getLogger(__name__)

_LIBC = ctypes.CDLL(None)


def prepare() -> None:
    """Make stdout and stderr line-buffered, as this process may be killed, and log to stderr."""
    for stream in (sys.stdout, sys.stderr):
        # The stream may have been replaced.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    with suppress(ValueError):
        # C libraries buffer whole blocks of what doesn't go to a terminal: a crash would lose them.
        _LIBC.setvbuf(ctypes.c_void_p.in_dll(_LIBC, "stdout"), None, _LINE_BUFFERED, ctypes.c_size_t(0))
    with suppress(Exception):
        faulthandler.enable()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[_CurrentStderr()]
    )


class _CurrentStderr(logging.Handler):
    """Writes records to the current `sys.stderr`, which an algorithm may close or replace."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 - a log record must not fail
            self.handleError(record)


@contextmanager
def capture_output(path: Path) -> Iterator[Callable[[str], None]]:
    """Redirect stdout and stderr of this process to a file while the block runs, including output of C libraries.

    Args:
        path: The file. It contains the output up to that point even if the process is killed.

    Yields:
        A function that appends a text to the file, even if the streams are closed.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.fchmod(file, 0o600)
    before = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in before:
            os.dup2(file, number)
        yield partial(_append, file)
    finally:
        _flush()
        for number, old in before.items():
            os.dup2(old, number)
            os.close(old)
        os.close(file)


def _append(file: int, text: str) -> None:
    _flush()
    with open(file, "wb", closefd=False) as opened:
        opened.write(text.encode(errors="replace"))


def _flush() -> None:
    """Write what Python and C libraries have buffered: it would get into the output of the next run."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        # It may be closed, or be anything.
        with suppress(Exception):
            stream.flush()  # type: ignore[union-attr]
    _LIBC.fflush(None)


def log_lines(pipe: int) -> None:
    """Log what a process prints outside a run, until all writers of its pipe have closed it.

    The text is untrusted: a leftover thread of an algorithm may print anything, at any rate. The log's formatter
    escapes it, and the pipe is read to its end even if lines are dropped, as a full pipe would block the process.

    Args:
        pipe: Descriptor of the pipe's read end, which is closed at the end.
    """
    began, count = time.monotonic(), 0
    with os.fdopen(pipe, "rb") as file:
        while line := file.readline(_MAX_LINE):
            if time.monotonic() - began >= _PERIOD:
                began, count = time.monotonic(), 0
            count += 1
            if count <= _LINES:
                text = _escape_line(line, is_cut=_skip_rest(file, line))
                _log.info("The process of the algorithms printed outside a run: %s", text)
            elif count == _LINES + 1:
                _log.warning("The process of the algorithms prints more outside a run. It is dropped for a minute.")


def _skip_rest(file: BinaryIO, line: bytes) -> bool:
    """Read the rest of a line that is longer than those shown, and return whether there was one.

    A part of it that is shown alone may be that of a URL with its credentials, without anything that tells so.
    """
    is_cut = False
    while len(line) == _MAX_LINE and not line.endswith(b"\n"):
        is_cut = True
        line = file.readline(_MAX_LINE)
    return is_cut


def _escape_line(line: bytes, *, is_cut: bool) -> str:
    text = line.decode(errors="replace").rstrip("\r\n")
    return (
        f"{without_credentials(text, show_plain_queries=True)} [the rest of the line is dropped]"
        if is_cut
        else without_credentials(text, show_plain_queries=True)
    )


def read_tail(path: Path) -> bytes:
    """Return the last part of the output, from the start of a line; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            end = file.read(TAIL_BYTES)
    except FileNotFoundError:
        return b""
    return end if size <= TAIL_BYTES else end.partition(b"\n")[2] or end


def bound_size(path: Path) -> None:
    """Free the disk space of all but the end of the output, if it is too long. Call it repeatedly during the run.

    This is the parent's part: a thread for it in the child would make each fork of the algorithm one of a process with
    threads, of which Python warns since version 3.12.
    """
    with suppress(OSError):
        if path.stat().st_blocks * 512 > _MAX_DISK_BYTES:
            _free_start(path)


def _free_start(path: Path) -> None:
    """Free the disk space of all but a file's end.

    The start is replaced by a hole, so concurrent writes are not lost. If the file system doesn't support holes, the
    file is truncated, and concurrent writes are lost.
    """
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        length = max(0, size - TAIL_BYTES) // _BLOCK * _BLOCK
        if _LIBC.fallocate(file.fileno(), _PUNCH_HOLE, ctypes.c_int64(0), ctypes.c_int64(length)) == 0:
            return
    end = read_tail(path)
    # Truncated, not replaced, as the algorithm has it open.
    os.truncate(path, 0)
    with path.open("ab") as file:
        file.write(end)
