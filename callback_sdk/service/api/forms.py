"""Multipart forms, read with limits of memory, field sizes and number of parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from fastapi import HTTPException, Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from callback_sdk.redaction import Secret
from callback_sdk.service.api.submission import SubmittedForm

_MAX_FIELDS = 20
_MAX_FIELD = 1024 * 1024
"""Maximum bytes of a field that is not a file."""

_MAX_TEXT = 4 * 1024 * 1024
"""Maximum total bytes of these fields."""

_MAX_CONTENT_TYPE = 1024
"""Maximum characters of the header. A boundary has at most 70 (RFC 2046, section 5.1.1)."""

_LONG_JSON = 256 * 1024
"""Bytes of JSON, in fields and files, that take a few megabytes of memory once parsed."""

_long_forms = asyncio.Semaphore(2)
"""Held while a form with more JSON is processed, as 40 threads with 100 MB each would take too much memory."""

_REPEATED = "features"
"""The only field name that may have several files, in a batch."""

_SPOOL = 64 * 1024
"""Maximum bytes of a file in memory; a larger one is written to a temporary file."""


class _Parser(MultiPartParser):
    """Starlette's parser, made strict: Starlette decodes invalid UTF-8 as Latin-1, and accepts a truncated form."""

    is_whole = False
    _text = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._text += end - start
            if self._text > _MAX_TEXT:
                raise MultiPartException(f"its fields have more than {_MAX_TEXT} bytes")
        super().on_part_data(data, start, end)

    def on_headers_finished(self) -> None:
        (self._current_part.content_disposition or b"").decode()
        super().on_headers_finished()

    def on_part_end(self) -> None:
        self._current_part.data.decode()
        super().on_part_end()

    def on_end(self) -> None:
        self.is_whole = True


@asynccontextmanager
async def read_form(request: Request, *, max_files: int) -> AsyncIterator[SubmittedForm]:
    """Read a request's form, and delete its files at the end.

    Args:
        request: The request.
        max_files: Maximum number of files.

    Raises:
        HTTPException: 415 if it is not a multipart form; 422 if it is malformed or its parts exceed the limits.
    """
    _check_type(request.headers.get("content-type", ""))
    parser = _Parser(
        request.headers, request.stream(), max_files=max_files, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD
    )
    parser.spool_max_size = _SPOOL
    problem = ""
    try:
        # Wrapped in Secret at once, as a callback may be a credential.
        parsed = Secret(await parser.parse())
    except (MultiPartException, KeyError, LookupError) as error:
        problem = str(error) if isinstance(error, MultiPartException) else "a part's header can't be read"
    except UnicodeDecodeError:
        problem = "a name or a field is not in UTF-8"
    if problem:
        raise HTTPException(422, f"The form can't be read: {problem.rstrip('.')}. Send multipart/form-data (RFC 7578).")
    try:
        if not parser.is_whole:
            raise HTTPException(
                422, "The form ends before its last boundary, so a part of the request was lost. Send it again."
            )
        _check_names(parsed)
        async with _limit_long_forms(parsed):
            yield _form(parsed)
    finally:
        await parsed.reveal().close()


def _check_type(content_type: str) -> None:
    # Older versions of python-multipart parse its parameters in quadratic time.
    if len(content_type) > _MAX_CONTENT_TYPE:
        raise HTTPException(
            422, f"The form's Content-Type has more than {_MAX_CONTENT_TYPE} characters. Send it again."
        )
    kind, options = parse_options_header(content_type)
    if kind.lower() != b"multipart/form-data":
        raise HTTPException(415, "The request is not a form. Send multipart/form-data with the file 'features'.")
    # Some of Python's codecs take minutes per MiB, and some return text that can't be encoded.
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8", b"us-ascii"):
        raise HTTPException(415, "The form is not encoded in UTF-8. Send it in UTF-8.")


def _check_names(parsed: Secret[FormData]) -> None:
    seen: set[str] = set()
    for name, value in parsed.reveal().multi_items():
        if name in seen and not (name == _REPEATED and isinstance(value, UploadFile)):
            # Two different values would be ambiguous.
            raise HTTPException(422, f"The form has the field {name!r:.100} twice. Send it once.")
        seen.add(name)


def _limit_long_forms(parsed: Secret[FormData]) -> AbstractAsyncContextManager[Any]:
    size = 0
    for name, value in parsed.reveal().multi_items():
        if isinstance(value, str):
            size += len(value)
        elif name != _REPEATED:
            size += value.size or 0
    return _long_forms if size > _LONG_JSON else nullcontext()


def _form(parsed: Secret[FormData]) -> SubmittedForm:
    files: dict[str, list[UploadFile]] = {}
    for name, value in parsed.reveal().multi_items():
        if isinstance(value, UploadFile):
            files.setdefault(name, []).append(value)
    return SubmittedForm(
        fields={
            name: Secret(value) for name, value in parsed.reveal().multi_items() if isinstance(value, str)
        },
        files={name: [upload.file for upload in uploads] for name, uploads in files.items()},
    )  # fmt: skip
