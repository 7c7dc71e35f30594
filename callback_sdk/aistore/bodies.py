"""Rewindable bodies: a redirect or a retry sends the body again from its start position."""

from __future__ import annotations

import io
import os
from typing import Any

from botocore.httpchecksum import AwsChunkedWrapper

from callback_sdk.errors import BodyNotRewindableError


class FromHere(io.IOBase):
    """A file in which position 0 is the current position of another file.

    To send a body again botocore seeks to 0, although the first attempt started at the file's current position. Other
    attributes are delegated. It is derived from `io.IOBase` for aiohttp, which takes no other files.

    Args:
        body: An object with `read`, `seek` and `tell`.
    """

    def __init__(self, body: Any) -> None:
        self._body = body
        self._start = int(body.tell())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, relative to the start."""
        return int(self._body.tell()) - self._start

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Change the position, and return it relative to the start."""
        self._body.seek(offset + self._start if whence == os.SEEK_SET else offset, whence)
        return self.tell()


def rewindable(body: Any) -> Any:
    """Return a body that botocore sends from its current position, at every attempt."""
    if isinstance(body, AwsChunkedWrapper):
        # It has the file already, and no position.
        body._raw = rewindable(body._raw)
        return body
    return FromHere(body) if hasattr(body, "read") and _position(body) > 0 else body


def rewind(body: Any) -> None:
    """Return a body to its start.

    Raises:
        BodyNotRewindableError: The body is not seekable.
    """
    if body is None or isinstance(body, (bytes, bytearray, str)):
        return
    try:
        body.seek(0)
    except Exception as error:
        raise BodyNotRewindableError(
            f"The upload must be sent again, but its body, a {type(body).__name__}, is not seekable.",
            hint="Give bytes, an open file, or io.BytesIO.",
        ) from error


def _position(body: Any) -> int:
    try:
        return int(body.tell())
    except Exception:  # noqa: BLE001 - a foreign object may raise anything
        return 0
