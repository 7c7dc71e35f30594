"""LiveOutput: stores the output of a run while it runs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

from callback_sdk.redaction import without_credentials
from callback_sdk.service.store.output import MAX_OUTPUT

_PIECE = 8 * 1024
"""Bytes up to which new output is joined with the last piece, so that a run has few pieces."""

_SPACES = (b"\n", b"\r", b" ", b"\t")

_FIRST_TOKEN = re.compile(rb"\S*")


class LiveOutput:
    """Stores what is new in the captured output of one run. Thread-safe.

    Args:
        path: The file with the output; see `output_capture`.
        write: Stores a piece, with its position in the stored output.
    """

    def __init__(self, path: Path, write: Callable[[int, bytes], None]) -> None:
        self._path = path
        self._write = write
        self._lock = threading.Lock()
        self._read = 0
        self._end = 0
        self._last = b""

    def update(self, *, final: bool = False) -> None:
        """Store new output.

        Args:
            final: Whether the run has ended. Until then, a URL at the end waits for the rest: its second half would not
                be recognized.

        Raises:
            StoreUnavailableError: The output can't be stored; the next call tries again.
        """
        with self._lock:
            skipped, data = self._read_new(final=final)
            if data:
                self._store(skipped, data)

    def _store(self, skipped: int, data: bytes) -> None:
        text = without_credentials(data.decode(errors="surrogateescape"), show_plain_queries=True).encode(
            errors="surrogateescape"
        )
        joined = not skipped and len(self._last) + len(text) <= _PIECE
        piece = self._last + text if joined else text
        start = self._end - len(self._last) if joined else self._end + skipped
        self._write(start, piece)
        self._read += skipped + len(data)
        self._end, self._last = start + len(piece), piece

    def _read_new(self, *, final: bool) -> tuple[int, bytes]:
        """Return the number of bytes that are skipped, and the bytes after them."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                if size < self._read:
                    # The file was truncated, as its file system has no holes.
                    self._read = 0
                skipped = max(0, size - self._read - MAX_OUTPUT)
                file.seek(self._read + skipped)
                data = file.read(MAX_OUTPUT)
        except FileNotFoundError:
            return 0, b""
        # The start of the file may have been freed in the meantime; a hole reads as zeros.
        kept = data.lstrip(b"\0")
        if skipped or len(kept) < len(data):
            kept = kept[_first_token(kept) :]
        return skipped + len(data) - len(kept), kept if final else kept[: _find_unfinished(kept)]


def _first_token(data: bytes) -> int:
    """Return the length of a token at the start, which may be the end of a signed URL."""
    match = _FIRST_TOKEN.match(data)
    return 0 if match is None else match.end()


def _find_unfinished(data: bytes) -> int:
    """Return the position of the last token if it may be the beginning of a URL with credentials, or the end."""
    position = 1 + max(data.rfind(space) for space in _SPACES)
    token = data[position:]
    # The separator itself must not be cut: a URL is recognized by it, with or without the scheme before it.
    return position if b"://" in token or token.endswith((b":", b":/")) else len(data)
