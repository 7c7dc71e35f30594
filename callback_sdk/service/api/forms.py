"""Multipart forms, read with limits of memory, field sizes and number of parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, BinaryIO

from attrs import define
from fastapi import HTTPException, Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from callback_sdk.redaction import Secret, clearing_locals
from callback_sdk.service.api.fields import SubmittedForm

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
        parts = _parts(parsed.reveal())
        _check_names(parts)
        async with _limit_long_forms(parts):
            yield _form(parts)
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


@define(frozen=True)
class _Part:
    """One field or file of a form.

    Attributes:
        name: Its name.
        text: Text of a field, which may be a credential; None for a file.
        file: The file; None for a field.
        size: Size of the text in characters, or of the file in bytes.
    """

    name: str
    text: Secret[str] | None
    file: BinaryIO | None
    size: int


@clearing_locals
def _parts(parsed: FormData) -> list[_Part]:
    return [
        _Part(name, Secret(value), None, len(value))
        if isinstance(value, str)
        else _Part(name, None, value.file, value.size or 0)
        for name, value in parsed.multi_items()
    ]


def _check_names(parts: Sequence[_Part]) -> None:
    seen: set[str] = set()
    for part in parts:
        if part.name in seen and not (part.name == _REPEATED and part.file is not None):
            # Two different values would be ambiguous.
            raise HTTPException(422, f"The form has the field {part.name!r:.100} twice. Send it once.")
        seen.add(part.name)


def _limit_long_forms(parts: Sequence[_Part]) -> AbstractAsyncContextManager[Any]:
    size = sum(part.size for part in parts if part.text is not None or part.name != _REPEATED)
    return _long_forms if size > _LONG_JSON else nullcontext()


def _form(parts: Sequence[_Part]) -> SubmittedForm:
    files: dict[str, list[BinaryIO]] = {}
    for part in parts:
        if part.file is not None:
            files.setdefault(part.name, []).append(part.file)
    return SubmittedForm(fields={part.name: part.text for part in parts if part.text is not None}, files=files)
