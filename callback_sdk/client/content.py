"""The content of a response, decompressed and read within bounds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import requests

from callback_sdk.client.transport import MAX_REFUSAL, ResponseTooLong
from callback_sdk.errors import ResponseTooLargeError

_CHUNK = 64 * 1024


def content_of(response: requests.Response, url: str, max_bytes: float) -> bytes:
    """Read the content of a response, and no more than its bound.

    What a refusal has beyond its bound is left out: its status says enough.

    Args:
        response: The response, whose head was read.
        url: Which service sent it.
        max_bytes: How many bytes a 2xx may have, decompressed.

    Raises:
        ResponseTooLargeError: A 2xx has more.
    """
    if not 200 <= response.status_code < 300:
        return b"".join(_start_of(response, MAX_REFUSAL))
    chunks, size = [], 0
    with contextlib.closing(response):
        # iter_content() bounds what one piece decompresses to, so a small body that becomes a huge one ends here too.
        for chunk in response.iter_content(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                break
    if size > max_bytes:
        raise too_large(url, max_bytes)
    return b"".join(chunks)


def too_large(url: str, max_bytes: float) -> ResponseTooLargeError:
    """Make the error for a response that exceeds the bound."""
    return ResponseTooLargeError(
        f"The response of {url} has more than {max_bytes:.0f} bytes, and the rest was not read.",
        hint="Set CALLBACK_SDK_MAX_RESPONSE_BYTES to a larger number of bytes, or read the result from its target.",
    )


def _start_of(response: requests.Response, max_bytes: int) -> Iterator[bytes]:
    with contextlib.closing(response):
        try:
            for chunk in response.iter_content(_CHUNK):
                yield chunk[:max_bytes]
                max_bytes -= len(chunk)
                if max_bytes <= 0:
                    return
        except requests.exceptions.ChunkedEncodingError as error:
            if not is_too_long(error):
                raise


def is_too_long(error: BaseException | None) -> bool:
    """Return whether an error comes from a response that is longer than its bound."""
    while error is not None:
        if isinstance(error, ResponseTooLong):
            return True
        error = error.__cause__ or error.__context__
    return False
