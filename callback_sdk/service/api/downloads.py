"""Responses with output files: whole, or a single range of bytes (RFC 9110, section 14), and safe in a browser."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from attrs import define
from fastapi import HTTPException, Response
from fastapi.responses import StreamingResponse

from callback_sdk.service.blobs import BlobMissingError, BlobStorage, output_name
from callback_sdk.service.store import Store
from callback_sdk.service.store.models import TaskFile

_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.ASCII | re.IGNORECASE)

_TAG = re.compile(r'(W/)?"([^"]*)"')

_MAX_HEADER = 4096
"""Maximum characters of a header with entity tags."""

SAFE_HEADERS = {
    # A file of an algorithm must not run scripts under the service's origin, whatever its type is.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class UnsatisfiableRangeError(ValueError):
    """A range begins after the end of the file."""


@define(frozen=True)
class StoredContent:
    """The content of output files.

    Args:
        store: Has the content of small files.
        blobs: Has the content of the others.
    """

    store: Store
    blobs: BlobStorage

    def chunks(self, file: TaskFile, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes of a file from the offset `start` to before the offset `stop`.

        Raises:
            BlobStorageError: The file can't be read, or was purged.
        """
        if file.is_blob:
            yield from self.blobs.chunks(output_name(file.job_id, file.attempt, file.position), start, stop)
            return
        data = self.store.output_files.data(file)
        if data is None:
            raise BlobMissingError(
                f"The output file {file.name!r} was purged.", hint="Its task ended longer ago than --retention."
            )
        yield data[start:stop]


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte, and the one after the last, of a single range; None for the whole file.

    A header with several ranges, or one that can't be parsed, is ignored, which the standard allows.

    Args:
        header: The header `Range`; None without one.
        size: Size of the file.

    Raises:
        UnsatisfiableRangeError: No byte of the file is in the range.
    """
    match = _RANGE.fullmatch(header or "")
    first, last = match.groups() if match else ("", "")
    if not first and not last:
        return None
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < int(first):
            return None
    if start >= stop:
        raise UnsatisfiableRangeError
    return start, stop


def file_response(
    content: StoredContent, file: TaskFile, headers: Mapping[str, str], *, method: str = "GET"
) -> Response:
    """Return the response with an output file, or with the requested range of it.

    Args:
        content: The content of output files.
        file: The file.
        headers: Headers of the request: `Range`, `If-Range` and `If-None-Match` are evaluated.
        method: `"GET"` or `"HEAD"`.

    Raises:
        HTTPException: 416 if the range has no byte of the file.
        BlobStorageError: The file can't be read.
    """
    shown = {
        # Not as a media type, to which Starlette would add a charset.
        "Content-Type": file.media_type,
        "ETag": f'"{file.sha256}"',
        "Accept-Ranges": "bytes",
        "Content-Disposition": attachment(file.name),
        **SAFE_HEADERS,
    }
    if _matches(headers.get("if-none-match"), file.sha256):
        return Response(None, 304, shown)
    # The validator must match strongly, otherwise the whole file is sent; see RFC 9110, section 13.1.5.
    wants_range = method == "GET" and headers.get("if-range", shown["ETag"]) == shown["ETag"]
    try:
        span = parse_range(headers.get("range"), file.size) if wants_range else None
    except UnsatisfiableRangeError:
        raise HTTPException(
            416, f"The file has {file.size} bytes, and none in this range.", {"Content-Range": f"bytes */{file.size}"}
        ) from None
    start, stop = span or (0, file.size)
    shown["Content-Length"] = str(stop - start)
    if span is not None:
        shown["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    if method == "HEAD":
        return Response(None, 200, shown)
    chunks = content.chunks(file, start, stop)
    # Read before the status is sent, so that an outage of the storage is a 503.
    head = list(itertools.islice(chunks, 1))
    body = itertools.chain(head, chunks)
    return StreamingResponse(body, 200 if span is None else 206, shown)


def attachment(name: str) -> str:
    """Return the header `Content-Disposition` to download a file under the last part of its name (RFC 6266)."""
    base = name.rpartition("/")[2]
    plain = "".join(one if one.isascii() and (one.isalnum() or one in "._- ") else "_" for one in base)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(base, safe='')}"


def _matches(header: str | None, sha256: str) -> bool:
    if header is None or len(header) > _MAX_HEADER:
        return False
    return header.strip() == "*" or any(tag == sha256 for _, tag in _TAG.findall(header))
