"""Bodies of uploads that go back to where they began, as a redirect needs them."""

from __future__ import annotations

import os
from typing import Any

from callback_sdk.errors import BodyNotRewindableError


class FromHere:
    """A file as botocore sends it, counted from where it stood when it was handed over.

    To send a file again botocore goes back to the file's first byte, which may be another place. All else is the
    file's own.

    Args:
        body: What has `read`, `seek` and `tell`.
    """

    def __init__(self, body: Any) -> None:
        self._body = body
        self._start = int(body.tell())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def tell(self) -> int:
        """Return how many bytes from the start it is."""
        return int(self._body.tell()) - self._start

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go elsewhere, and return how many bytes from the start that is."""
        self._body.seek(offset + self._start if whence == os.SEEK_SET else offset, whence)
        return self.tell()


def rewindable(body: Any) -> Any:
    """Return a body that botocore sends from where it stands now, also when it sends it again."""
    return FromHere(body) if hasattr(body, "read") and _position(body) > 0 else body


def rewind(body: Any) -> None:
    """Go back to where a body began.

    Raises:
        BodyNotRewindableError: It can't.
    """
    if body is None or isinstance(body, (bytes, bytearray, str)):
        return
    try:
        body.seek(0)
    except Exception as error:
        raise BodyNotRewindableError(
            f"The upload must be sent again, and its body, a {type(body).__name__}, can't go back to its beginning.",
            hint="Give bytes, an open file, or io.BytesIO.",
        ) from error


def _position(body: Any) -> int:
    try:
        return int(body.tell())
    except Exception:  # noqa: BLE001 - it is anybody's object
        return 0
