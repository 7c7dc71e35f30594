"""Bytes to send."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from callback_sdk.documents.body import CHUNK_SIZE, Body, FilePart, FileRange, PathPart
from callback_sdk.errors import EncodingError
from tests.forks import in_child


class _Slow(io.BytesIO):
    """A file with a first read that waits until it is released."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.begun = threading.Event()
        self.release = threading.Event()

    def read(self, size: int | None = -1, /) -> bytes:
        """Wait, and read."""
        self.begun.set()
        assert self.release.wait(120)
        return super().read(size)


def test_body_is_read_in_a_child_that_was_forked_while_another_thread_read_one() -> None:
    """Neither a lock of all bodies nor that of a file is inherited held, so that the child would hang."""
    file = _Slow(b"slow")
    slow = Body(FilePart(file))
    thread = threading.Thread(target=lambda: slow.sha256)
    thread.start()
    assert file.begun.wait(120)

    def read() -> tuple[bytes, bytes]:
        file.release.set()
        return Body(b"fast").sha256, slow.sha256

    try:
        assert in_child(read) == (hashlib.sha256(b"fast").digest(), hashlib.sha256(b"slow").digest())
    finally:
        file.release.set()
        thread.join()
    assert slow.sha256 == hashlib.sha256(b"slow").digest()


def test_a_file_that_reports_less_than_it_has_is_not_sent() -> None:
    """Those of /proc report 0: an empty body would be delivered, with a receipt."""
    body = Body(PathPart("/proc/self/status"))
    assert body.size == 0
    with pytest.raises(EncodingError, match="more bytes than its size"):
        body.read()


def test_a_file_object_that_grows_is_not_sent() -> None:
    """Not even one in memory, which has no times."""
    file = io.BytesIO(b"12")
    body = Body(FilePart(file))
    file.seek(0, os.SEEK_END)
    file.write(b"3")
    with pytest.raises(EncodingError, match="more bytes than its size"):
        body.read()


def test_a_file_object_that_shrinks_is_not_sent() -> None:
    """Nothing of the missing bytes is made up."""
    file = io.BytesIO(b"12")
    body = Body(FilePart(file))
    file.truncate(1)
    with pytest.raises(EncodingError, match="was changed"):
        body.read()


@pytest.mark.parametrize("kind", ["path", "file"])
def test_a_change_is_noticed_though_the_modification_time_is_put_back(kind: str, tmp_path: Path) -> None:
    """Before the last chunk, so that no receiver has a whole body of two contents."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"1" * 2 * CHUNK_SIZE)
    with path.open("rb") as file:
        body = Body(PathPart(path) if kind == "path" else FilePart(file))
        before = path.stat()
        chunks = body.chunks()
        assert next(chunks) == b"1" * CHUNK_SIZE
        with path.open("r+b") as other:
            other.seek(CHUNK_SIZE)
            other.write(b"2")
        # File systems have coarse clocks.
        while path.stat().st_ctime_ns == before.st_ctime_ns:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        with pytest.raises(EncodingError, match="was changed"):
            list(chunks)


def sent(body: Body, *, between: Callable[[], object] = lambda: None) -> bytes:
    """Send a body through a socket as the transport does, and return what arrives."""
    received: list[bytes] = []
    near, far = socket.socketpair()
    reader = threading.Thread(target=lambda: received.append(far.makefile("rb").read()))
    reader.start()
    with far:
        with near:
            for piece in body.pieces():
                if isinstance(piece, bytes):
                    near.sendall(piece)
                    continue
                done = 0
                while done < piece.size:
                    done += piece.send(near.fileno(), done)
                between()
        reader.join()
    return received[0]


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 5 * CHUNK_SIZE + 7])
def test_the_system_sends_files(tmp_path: Path, size: int) -> None:
    """A whole one, and ranges that begin and end anywhere."""
    path = tmp_path / "results.json"
    path.write_bytes(os.urandom(size))
    body = Body(b"first", PathPart(path), b"last")
    assert sent(body) == body.read() == b"first" + path.read_bytes() + b"last"
    for start in (0, 3, 5, 8, CHUNK_SIZE):
        part = body.cut(start, 2 * CHUNK_SIZE)
        assert sent(part) == part.read() == body.read()[start:][: 2 * CHUNK_SIZE]


def test_a_file_that_changes_while_the_system_sends_it_is_not_sent_whole(tmp_path: Path) -> None:
    """Its last bytes are sent only if it is unchanged by then; a truncated one ends at once."""
    path = tmp_path / "results.json"
    path.write_bytes(b"x" * 4 * CHUNK_SIZE)
    with pytest.raises(EncodingError, match="was changed"):
        sent(Body(PathPart(path)), between=lambda: os.utime(path, (1, 1)))
    pieces = Body(PathPart(path)).pieces()
    piece = next(pieces)
    assert isinstance(piece, FileRange)
    os.truncate(path, 0)
    near, far = socket.socketpair()
    with near, far, pytest.raises(EncodingError, match="was changed"):
        piece.send(near.fileno(), 0)
