"""Bytes to send."""

from __future__ import annotations

import hashlib
import io
import threading

from callback_sdk.documents.body import Body, FilePart
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
        assert self.release.wait(30)
        return super().read(size)


def test_body_is_read_in_a_child_that_was_forked_while_another_thread_read_one() -> None:
    """Neither a lock of all bodies nor that of a file is inherited held, so that the child would hang."""
    file = _Slow(b"slow")
    slow = Body(FilePart(file))
    thread = threading.Thread(target=lambda: slow.sha256)
    thread.start()
    assert file.begun.wait(30)

    def read() -> tuple[bytes, bytes]:
        file.release.set()
        return Body(b"fast").sha256, slow.sha256

    try:
        assert in_child(read) == (hashlib.sha256(b"fast").digest(), hashlib.sha256(b"slow").digest())
    finally:
        file.release.set()
        thread.join()
    assert slow.sha256 == hashlib.sha256(b"slow").digest()
