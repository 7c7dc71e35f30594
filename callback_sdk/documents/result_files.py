"""Results that come as a file: whatever a program may give as one, checked to be JSON, as bytes to send."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.documents.body import CHUNK_SIZE, Body, FilePart, PathPart, file_name, reason
from callback_sdk.errors import EncodingError, storage_hint

_SPOOL = 8 * 1024**2
"""Bytes of a temporary file that are kept in memory."""

_REASON = re.compile(r"[a-z ]+ error: [^\n{}\[\]\"]{1,80}")
"""The first line of what the parser says; the lines below it quote the document."""


def path_body(path: Path) -> Body:
    """Return the bytes of a file by its path.

    Raises:
        EncodingError: It is not a regular file, can't be read, or holds no JSON.
    """
    body = Body(PathPart(path))
    _check_json(body, f"the file of results {path}")
    return body


def file_body(file: BinaryIO, stack: ExitStack) -> Body:
    """Return the rest of an open binary file.

    Args:
        file: Where it stands is where the JSON begins. One that can't seek is copied.
        stack: Keeps the copy open.

    Raises:
        EncodingError: It is closed, open as text, can't be read or copied, or holds no JSON.
    """
    name = file_name(file)
    with _reading(name):
        if getattr(file, "closed", False):
            raise EncodingError(f"{_capital(name)} is closed.", hint="Write the result before the file is closed.")
        if isinstance(file.read(0), str):
            raise EncodingError(f"{_capital(name)} is open as text.", hint="Open it in binary mode, open(path, 'rb').")
        # Streams of HTTP clients have no such method.
        seekable = getattr(file, "seekable", lambda: False)()
    body = Body(FilePart(file if seekable else _copied(file, name, stack)))
    _check_json(body, name)
    return body


def gzip_body(body: Body, stack: ExitStack) -> Body:
    """Compress a document. The same document always gives the same bytes.

    Args:
        body: The document.
        stack: Keeps the temporary file open that a large one is compressed into.

    Raises:
        EncodingError: There is no room for the temporary file.
    """
    with no_fork:
        import gzip

    with _temporary_file("compress the document", stack) as target:
        with gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=6, mtime=0) as packer:
            for chunk in body.chunks():
                packer.write(chunk)
        target.seek(0)
        return Body(FilePart(target))


def _copied(file: BinaryIO, name: str, stack: ExitStack) -> BinaryIO:
    with _temporary_file(f"copy {name}, which can't be read twice", stack) as target:
        while True:
            with _reading(name):
                chunk = file.read(CHUNK_SIZE)
            if not chunk:
                break
            target.write(chunk)
        target.seek(0)
        return target


@contextmanager
def _temporary_file(purpose: str, stack: ExitStack) -> Iterator[BinaryIO]:
    with no_fork:
        import tempfile

    try:
        # It is made when the bytes don't fit into memory, so any write may fail.
        file: Any = stack.enter_context(tempfile.SpooledTemporaryFile(_SPOOL))  # noqa: SIM115 (the stack closes it)
        yield file
    except OSError as error:
        raise EncodingError(
            f"There is no usable temporary file to {purpose}: {reason(error)}.",
            hint=f"{storage_hint(error, 'the folder of temporary files')} Or name another one in the environment "
            "variable TMPDIR.",
        ) from error


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except EncodingError:
        raise
    except Exception as error:
        # A file object may be anything: closed, a stream whose connection broke, another library's with its own errors.
        raise EncodingError(
            f"{_capital(name)} can't be read: {reason(error)}.", hint="Give a file that can be read to its end."
        ) from error


def _check_json(body: Body, name: str) -> None:
    """Read a file through, in constant memory.

    Receivers can do nothing with half a document, and a receipt for it would be wrong. `json.dump` writes NaN, which
    no JSON parser but Python's takes (RFC 8259, section 6).
    """
    with no_fork:
        import ijson

    if body.size == 0:
        raise EncodingError(f"{_capital(name)} is empty, which is no JSON document.", hint=_HINT)
    try:
        deque(ijson.basic_parse(_Stream(body), buf_size=CHUNK_SIZE), maxlen=0)
    except EncodingError:
        raise
    # With SystemError, which hides the ValueError of an integer with more digits than Python reads.
    except (ijson.JSONError, ValueError, ArithmeticError, SystemError) as error:
        found = _REASON.match(str(error).removeprefix("b'"))
        cause = f" ({found[0].strip().rstrip('.')})" if found else ""
        raise EncodingError(f"{_capital(name)} holds no valid JSON document{cause}.", hint=_HINT) from None


_HINT = "Write it whole and close it first, as UTF-8, without NaN: json.dump(results, file, allow_nan=False)."


_NEVER_VALID = (b"\f", b"\v")
"""Bytes that yajl skips as white space. RFC 8259 allows them nowhere: between values (section 2) or raw in strings."""

_LAST = b"\n"
"""Is fed to the parser behind the document. Without it, yajl accepts an unfinished string behind a complete value."""


class _Stream:
    """What the parser reads from."""

    def __init__(self, body: Body) -> None:
        self._chunks = chain(body.chunks(), [_LAST])

    def read(self, size: int = -1) -> bytes:
        """Return the next chunk; it is never longer than `CHUNK_SIZE`."""
        chunk = b"" if size == 0 else next(self._chunks, b"")
        if any(byte in chunk for byte in _NEVER_VALID):
            raise ValueError("lexical error: a form feed or a vertical tab")
        return chunk


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
