"""Read bodies of bounded size: no more than the limit is read, whatever the other side announces."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

from callback_sdk.errors import BodyTooLargeError, CallbackSDKError, DocumentError

_CHUNK = 64 * 1024


def check_length(announced: str | int | None, max_bytes: int) -> None:
    """Reject a body by its announced length.

    Args:
        announced: The `Content-Length`; None or invalid if it is unknown.
        max_bytes: The limit.

    Raises:
        BodyTooLargeError: It exceeds the limit.
    """
    length = _number(announced)
    if length is not None and length > max_bytes:
        raise BodyTooLargeError(max_bytes)


def read_bounded(read: Callable[[int], bytes], announced: str | int | None, max_bytes: int) -> bytes:
    """Read a body to its end.

    Args:
        read: Returns up to so many bytes, none at the end.
        announced: The `Content-Length`; None or invalid if it is unknown.
        max_bytes: The limit.

    Raises:
        BodyTooLargeError: The body, or its announced length, exceeds the limit.
        CallbackSDKError: It is shorter than announced.
    """
    body = BoundedBody(announced, max_bytes)
    while chunk := read(min(_CHUNK, max_bytes - len(body) + 1)):
        body.add(chunk)
    return body.whole()


class BoundedBody:
    """Chunks of a body, up to a limit.

    Args:
        announced: The `Content-Length`; None or invalid if it is unknown.
        max_bytes: The limit.

    Raises:
        BodyTooLargeError: The announced length exceeds the limit.
    """

    def __init__(self, announced: str | int | None, max_bytes: int) -> None:
        check_length(announced, max_bytes)
        self._announced = announced
        self._max_bytes = max_bytes
        self._data = bytearray()

    def __len__(self) -> int:
        return len(self._data)

    def add(self, chunk: bytes) -> None:
        """Add a chunk.

        Raises:
            BodyTooLargeError: The body exceeds the limit.
        """
        if len(self._data) + len(chunk) > self._max_bytes:
            raise BodyTooLargeError(self._max_bytes)
        self._data += chunk

    def whole(self) -> bytes:
        """Return the body after its last chunk.

        Raises:
            CallbackSDKError: It is shorter than announced.
        """
        length = _number(self._announced)
        if length is not None and len(self._data) < length:
            raise CallbackSDKError(
                f"Only {len(self._data)} of {length} bytes of the body could be read.",
                hint="If nothing has ended the connection, a hook or a middleware has read the body before.",
            )
        return bytes(self._data)


def unzip(data: bytes, max_bytes: int) -> bytes:
    """Decompress gzip.

    Args:
        data: The compressed bytes.
        max_bytes: The limit of the decompressed bytes.

    Raises:
        BodyTooLargeError: They exceed the limit.
        DocumentError: The data is not gzip, or is truncated.
    """
    # RFC 1952 in zlib's terms: 15 bits of window, and 16 for gzip's header.
    unzipping = zlib.decompressobj(wbits=31)
    try:
        found = unzipping.decompress(data, max_bytes + 1)
    except zlib.error:
        raise DocumentError("The body is not valid gzip.", hint="Check its Content-Encoding.") from None
    if len(found) > max_bytes:
        raise BodyTooLargeError(max_bytes)
    if not unzipping.eof or unzipping.unused_data:
        raise DocumentError("The body is not one whole gzip stream.", hint="Check how it is compressed.")
    return found


def _number(announced: str | int | None) -> float | None:
    text = str(announced or "")
    if not (text.isascii() and text.isdigit()):
        return None
    # int() raises ValueError for more than 4,300 digits (CVE-2020-10735).
    return int(text) if len(text) <= 20 else math.inf
