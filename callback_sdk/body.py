"""Bytes to send: of known length and digest, from memory or from files, readable again for the next try."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from callback_sdk.errors import EncodingError

CHUNK_SIZE = 256 * 1024
"""Bytes that are read from a file at a time."""


class PathPart:
    """A file by its path. It is opened anew for each reading, so several readers can share it.

    Args:
        path: A file that stays as it is until the last reading.

    Raises:
        OSError: The file can't be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        status = self.path.stat()
        self.size = status.st_size
        self._identity = (status.st_ino, status.st_size, status.st_mtime_ns)

    def chunks(self) -> Iterator[bytes]:
        """Yield the file's bytes.

        Raises:
            EncodingError: The file was changed since its length was taken.
        """
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            if (status.st_ino, status.st_size, status.st_mtime_ns) != self._identity:
                raise _changed(str(self.path))
            yield from _read(file, self.size, str(self.path))


class FilePart:
    """The rest of an open binary file that can seek. Readers take turns, chunk by chunk.

    Args:
        file: A seekable file; where it stands now is where the part begins.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._start = file.tell()
        self.size = file.seek(0, os.SEEK_END) - self._start
        file.seek(self._start)

    def chunks(self) -> Iterator[bytes]:
        """Yield the file's bytes.

        Raises:
            EncodingError: The file has become shorter since its length was taken.
        """
        done = 0
        while done < self.size:
            with self._lock:
                self._file.seek(self._start + done)
                chunk = self._file.read(min(CHUNK_SIZE, self.size - done))
            if not chunk:
                raise _changed("the file of results")
            done += len(chunk)
            yield chunk


Part = bytes | PathPart | FilePart


class Body:
    """A sequence of parts that is sent as one.

    Args:
        parts: Bytes, or files.

    Attributes:
        size: Length in bytes.
    """

    def __init__(self, *parts: Part) -> None:
        self.parts = tuple(part for part in parts if not isinstance(part, bytes) or part)
        self.size = sum(len(part) if isinstance(part, bytes) else part.size for part in self.parts)

    def __repr__(self) -> str:
        return f"Body({self.size} bytes)"

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes from the beginning, each time anew."""
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from part.chunks()

    def read(self) -> bytes:
        """Return all bytes at once; for what is known to be small."""
        return b"".join(self.chunks())

    @cached_property
    def _digests(self) -> tuple[bytes, bytes]:
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        for chunk in self.chunks():
            sha256.update(chunk)
            md5.update(chunk)
        return sha256.digest(), md5.digest()

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the bytes; read once, then kept."""
        return self._digests[0]

    @property
    def md5(self) -> bytes:
        """MD5 of the bytes, for `Content-MD5`; read once, then kept."""
        return self._digests[1]

    @property
    def content_md5(self) -> str:
        """The MD5 as the header `Content-MD5` has it (RFC 1864)."""
        return base64.b64encode(self.md5).decode()


def _read(file: BinaryIO, size: int, name: str) -> Iterator[bytes]:
    left = size
    while left:
        chunk = file.read(min(CHUNK_SIZE, left))
        if not chunk:
            raise _changed(name)
        left -= len(chunk)
        yield chunk


def _changed(name: str) -> EncodingError:
    return EncodingError(
        f"{name} was changed while it was being sent.",
        hint="Write results to a new file and leave it alone until then.",
    )
