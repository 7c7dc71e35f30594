"""Rewindable request bodies of known length and digest, from memory and files; each attempt reads them again."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from callback_sdk.concurrency.forking import RLock
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.errors import EncodingError
from callback_sdk.filesystem.files import NONBLOCK, PRIVATE

CHUNK_SIZE = 256 * 1024
"""Bytes per read from a file."""


class FileRange:
    """A range of an open file, which the system can copy to a socket by itself: sendfile(2).

    Args:
        file: The file.
        start: Where the range begins.
        size: Bytes of the range.
        name: What it is, for errors.
    """

    def __init__(self, file: BinaryIO, start: int, size: int, name: str) -> None:
        self.size = size
        self._file = file
        self._start = start
        self._name = name

    def send(self, descriptor: int, done: int) -> int:
        """Send as much as a socket takes, and return how many bytes that was.

        Args:
            descriptor: A socket that doesn't block.
            done: Bytes of the range that were sent before.

        Raises:
            EncodingError: The file was truncated.
            OSError: The socket can't send; a `BlockingIOError` if it takes nothing now.
        """
        sent = os.sendfile(descriptor, self._file.fileno(), self._start + done, self.size - done)
        if not sent:
            raise _changed_file(self._name)
        return sent


class PathPart:
    """A file given by its path. Each reader opens it separately, so that several can read it concurrently.

    Args:
        path: A regular file, which must not change until the last read.
        name: What it is, for errors; a file of results by default.

    Raises:
        EncodingError: The file is not a regular file, or can't be read.
    """

    def __init__(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        self.path = Path(path)
        self._name = name or f"the file of results {self.path}"
        with self._open() as file:
            self._identity = _identity(file)
            self.size = self._identity[2]

    def chunks(self, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the file's bytes, or a range of them.

        Args:
            start: Where the range begins.
            size: Bytes of the range; None for all up to the end.

        Raises:
            EncodingError: The file was removed or changed since its size was determined.
        """
        wanted = self.size - start if size is None else size
        with self._open() as file:

            def check() -> None:
                _check_identity(file, self._identity, self._name)
                _check_end(file, self.size, self._name)

            yield from _check_unchanged(_read(file, start, wanted, self._name), check)

    def pieces(self, start: int = 0, size: int | None = None) -> Iterator[bytes | FileRange]:
        """Yield the file, or a range of it, as what the system can send by itself, and the last bytes.

        Each has to be sent before the next one is taken.

        Args:
            start: Where the range begins.
            size: Bytes of the range; None for all up to the end.

        Raises:
            EncodingError: The file was removed or changed since its size was determined.
        """
        wanted = self.size - start if size is None else size
        last = min(wanted, CHUNK_SIZE)
        with self._open() as file:
            _check_identity(file, self._identity, self._name)
            if wanted > last:
                yield FileRange(file, start, wanted - last, self._name)
            # The last bytes only after a second check; see `_unchanged`.
            chunk = b"".join(_read(file, start + wanted - last, last, self._name))
            _check_identity(file, self._identity, self._name)
            _check_end(file, self.size, self._name)
            yield chunk

    def _open(self) -> BinaryIO:
        try:
            # Without O_NONBLOCK, opening a named pipe blocks until it has a writer.
            descriptor = os.open(self.path, os.O_RDONLY | NONBLOCK | PRIVATE)
            file = os.fdopen(descriptor, "rb") if _is_regular(descriptor) else None
        except uninterrupted(OSError, ValueError) as error:
            raise EncodingError(
                f"{_capital(self._name)} can't be read: {reason(error)}.",
                hint="Give the path of a file, and keep the file until the result is delivered.",
            ) from error
        if file is None:
            os.close(descriptor)
            raise EncodingError(
                f"{_capital(self._name)} is not a regular file.",
                hint="Give the path of a file. To send data of a pipe, open the pipe and give the file object.",
            )
        return file


class FilePart:
    """An open, seekable binary file from its current position. Concurrent readers alternate chunk by chunk.

    Args:
        file: A seekable file; the part begins at its current position.

    Raises:
        EncodingError: The file can't be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        # Reentrant, because a signal handler may read the same file as the frame that it interrupted.
        self._lock = RLock()
        self._name = file_name(file)
        with _translate_errors(self._name):
            self._start = file.tell()
            self.size = file.seek(0, os.SEEK_END) - self._start
            file.seek(self._start)
        self._identity = _identity(file)

    def chunks(self, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the file's bytes, or a range of them.

        Args:
            start: Where the range begins, from the beginning of the part.
            size: Bytes of the range; None for all up to the end.

        Raises:
            EncodingError: The file can't be read, or was changed since its size was determined.
        """
        end = self.size if size is None else start + size
        yield from _check_unchanged(self._chunks(start, end), self._check)

    def _check(self) -> None:
        _check_identity(self._file, self._identity, self._name)
        with self._lock:
            _check_end(self._file, self._start + self.size, self._name)

    def _chunks(self, done: int, end: int) -> Iterator[bytes]:
        while done < end:
            with self._lock, _translate_errors(self._name):
                self._file.seek(self._start + done)
                chunk = self._file.read(min(CHUNK_SIZE, end - done))
            if not chunk:
                raise _changed_file(self._name)
            done += len(chunk)
            yield chunk


class RangePart:
    """A range of bytes or of a file, which is not copied.

    Args:
        whole: The bytes or the file.
        start: Where the range begins.
        size: Bytes of the range.
    """

    def __init__(self, whole: bytes | PathPart | FilePart, start: int, size: int) -> None:
        self._whole = whole
        self._start = start
        self.size = size

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the range.

        Raises:
            EncodingError: The file can't be read, or was changed since its size was determined.
        """
        if not isinstance(self._whole, bytes):
            yield from self._whole.chunks(self._start, self.size)
            return
        end = self._start + self.size
        for start in range(self._start, end, CHUNK_SIZE):
            yield self._whole[start : min(start + CHUNK_SIZE, end)]

    def pieces(self) -> Iterator[bytes | FileRange]:
        """Yield the range; see `PathPart.pieces`."""
        return self._whole.pieces(self._start, self.size) if isinstance(self._whole, PathPart) else self.chunks()

    def cut(self, start: int, size: int) -> RangePart:
        """Return a range of the range."""
        return RangePart(self._whole, self._start + start, size)


Part = bytes | PathPart | FilePart | RangePart


class Body:
    """A request body: the concatenation of its parts.

    Args:
        parts: Bytes, files, or ranges of them.

    Attributes:
        size: Total length in bytes.
    """

    def __init__(self, *parts: Part) -> None:
        # Lists, because each step of a generator is a call, and most bodies have few parts.
        self.parts = tuple([part for part in parts if not isinstance(part, bytes) or part])
        self.size = sum([len(part) if isinstance(part, bytes) else part.size for part in self.parts])
        self._sha256: bytes | None = None
        self._md5: bytes | None = None

    def __repr__(self) -> str:
        return f"Body({self.size} bytes)"

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; each call starts from the beginning."""
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from part.chunks()

    def pieces(self) -> Iterator[bytes | FileRange]:
        """Yield the bytes, and ranges of files that the system can send by itself; see `PathPart.pieces`."""
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from part.chunks() if isinstance(part, FilePart) else part.pieces()

    def read(self) -> bytes:
        """Return all bytes at once; only for small bodies."""
        return b"".join(self.chunks())

    def cut(self, start: int, size: int) -> Body:
        """Return a range of the body, which reads its bytes from the same memory and files.

        Args:
            start: Where the range begins.
            size: Bytes of the range; fewer at the end of the body.
        """
        found, end, first = [], start + size, 0
        for part in self.parts:
            last = first + (len(part) if isinstance(part, bytes) else part.size)
            begin, finish = max(start, first), min(end, last)
            if begin < finish:
                found.append(_range(part, begin - first, finish - begin))
            first = last
        return Body(*found)

    # Each alone, and not both while the bytes are read once: MD5 takes three times as long as SHA-256, and few targets
    # need it. No cached_property: before Python 3.12 its lock is shared by all instances, and a forked child may
    # inherit it locked.

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the bytes; computed once and cached."""
        known = self._sha256
        if known is None:
            self._sha256 = known = self._digest(hashlib.sha256())
        return known

    @property
    def md5(self) -> bytes:
        """MD5 of the bytes, for `Content-MD5`; computed once and cached."""
        known = self._md5
        if known is None:
            self._md5 = known = self._digest(hashlib.md5(usedforsecurity=False))
        return known

    def _digest(self, computed: hashlib._Hash) -> bytes:
        for chunk in self.chunks():
            computed.update(chunk)
        return computed.digest()

    @property
    def content_md5(self) -> str:
        """Value of the header `Content-MD5` (RFC 1864)."""
        return base64.b64encode(self.md5).decode()


def _range(part: Part, start: int, size: int) -> RangePart:
    if isinstance(part, RangePart):
        return part.cut(start, size)
    return RangePart(part, start, size)


def file_name(file: Any) -> str:
    """Return the name of an open file for errors."""
    name = getattr(file, "name", None)
    return f"the file of results {name}" if isinstance(name, str) and name else "the file of results"


def reason(error: Exception) -> str:
    """Return a safe description of an error of another library, because its message may contain a signed URL."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__


def _read(file: BinaryIO, start: int, size: int, name: str) -> Iterator[bytes]:
    with _translate_errors(name):
        file.seek(start)
    left = size
    while left:
        with _translate_errors(name):
            chunk = file.read(min(CHUNK_SIZE, left))
        if not chunk:
            raise _changed_file(name)
        left -= len(chunk)
        yield chunk


Identity = tuple[int, int, int, int, int]
"""Device, inode, size, modification time and change time, to detect changes of a file."""


def _identity(file: BinaryIO) -> Identity:
    """Return a file's identity; zeros for an in-memory file."""
    try:
        status = os.fstat(file.fileno())
    except uninterrupted(Exception):  # BytesIO raises io.UnsupportedOperation, other libraries any exception
        return 0, 0, 0, 0, 0
    # Programs can set the modification time, as rsync and tar do, but not the change time.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _check_identity(file: BinaryIO, identity: Identity, name: str) -> None:
    if _identity(file) != identity:
        raise _changed_file(name)


def _check_end(file: BinaryIO, end: int, name: str) -> None:
    """Check that a file ends where its size says: those of /proc have the size 0, whatever they contain."""
    with _translate_errors(name):
        file.seek(end)
        more = file.read(1)
    if more:
        raise EncodingError(
            f"{_capital(name)} has more bytes than its size of {end} says.",
            hint="Copy a file of /proc or of a device to a regular one, and write nothing to that until it is sent.",
        )


def _check_unchanged(chunks: Iterator[bytes], check: Callable[[], None]) -> Iterator[bytes]:
    """Yield the chunks of a file if it is unchanged; the last one only after a second check at the end.

    Otherwise a receiver could get a complete body that mixes the contents of two files.
    """
    last = b""
    check()
    for chunk in chunks:
        if last:
            yield last
        last = chunk
    check()
    if last:
        yield last


def _is_regular(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


@contextlib.contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Convert read errors to EncodingError: the cause is neither the network nor the target."""
    try:
        yield
    except uninterrupted(Exception) as error:
        raise EncodingError(
            f"{_capital(name)} can't be read: {reason(error)}.",
            hint="Keep the file open until the result is delivered.",
        ) from error


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def _changed_file(name: str) -> EncodingError:
    return EncodingError(
        f"{_capital(name)} was changed while it was being sent.",
        hint="Write a new file for each result, and leave it alone until then.",
    )
