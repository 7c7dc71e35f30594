"""The content of a response, decompressed and of bounded size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import requests

from callback_sdk.client.transport import MAX_REFUSAL, ResponseTooLong
from callback_sdk.errors import ResponseTooLargeError

_CHUNK = 64 * 1024


def content_of(response: requests.Response, url: str, max_bytes: float) -> bytes:
    """Read the content of a response up to its limit.

    The content of an error response is truncated at its limit.

    Args:
        response: The response without its content.
        url: URL of the service, for the error.
        max_bytes: Maximum bytes of a 2xx response, decompressed.

    Raises:
        ResponseTooLargeError: A 2xx response exceeds the limit.
    """
    if not 200 <= response.status_code < 300:
        return b"".join(_start_of(response, MAX_REFUSAL))
    chunks, size = [], 0
    with contextlib.closing(response):
        # iter_content() bounds the decompressed size of each piece, so a decompression bomb stops here too.
        for chunk in response.iter_content(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                break
    if size > max_bytes:
        raise too_large(url, max_bytes)
    return b"".join(chunks)


def too_large(url: str, max_bytes: float) -> ResponseTooLargeError:
    """Return the error for a response that exceeds the limit."""
    return ResponseTooLargeError(
        f"The response of {url} has more than {max_bytes:.0f} bytes; the rest was not read.",
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
    """Return whether an error was caused by a response that exceeds its limit."""
    while error is not None:
        if isinstance(error, ResponseTooLong):
            return True
        error = error.__cause__ or error.__context__
    return False
