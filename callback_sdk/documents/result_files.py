"""Result files: validate JSON files and file objects, and prepare them for sending."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.body import CHUNK_SIZE, Body, FilePart, PathPart, file_name, reason
from callback_sdk.documents.long_strings import LongStrings
from callback_sdk.errors import EncodingError
from callback_sdk.filesystem.files import storage_hint

_SPOOL = 8 * 1024**2
"""Bytes of a temporary file that are buffered in memory."""

_REASON = re.compile(r"[a-z ]+ error: [^\n{}\[\]\"]{1,80}")
"""First line of the parser's message; the following lines quote the document."""


def path_body(path: Path) -> Body:
    """Return the body of a file given by its path.

    Raises:
        EncodingError: The file is not a regular file, can't be read, or is not valid JSON.
    """
    body = Body(PathPart(path))
    _check_json(body, f"the file of results {path}")
    return body


def file_body(file: BinaryIO, stack: ExitStack) -> Body:
    """Return the body of an open binary file from its current position.

    Args:
        file: A binary file positioned at the start of the JSON. A file that isn't seekable is copied.
        stack: Owns the copy.

    Raises:
        EncodingError: The file is closed or in text mode, can't be read or copied, or is not valid JSON.
    """
    name = file_name(file)
    with _translate_read_errors(name):
        if getattr(file, "closed", False):
            raise EncodingError(f"{_capital(name)} is closed.", hint="Write the result before the file is closed.")
        if isinstance(file.read(0), str):
            raise EncodingError(f"{_capital(name)} is open as text.", hint="Open it in binary mode, open(path, 'rb').")
        # Streams of HTTP clients may lack this method.
        seekable = getattr(file, "seekable", lambda: False)()
    body = Body(FilePart(file if seekable else _copy(file, name, stack)))
    _check_json(body, name)
    return body


def gzip_body(body: Body, stack: ExitStack) -> Body:
    """Compress a document with gzip, deterministically.

    Args:
        body: The document.
        stack: Owns the temporary file with the compressed document.

    Raises:
        EncodingError: The temporary file can't be created or written.
    """
    with no_fork:
        import gzip

    with _temporary_file("compress the document", stack) as target:
        with gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=6, mtime=0) as packer:
            for chunk in body.chunks():
                packer.write(chunk)
        target.seek(0)
        return Body(FilePart(target))


def _copy(file: BinaryIO, name: str, stack: ExitStack) -> BinaryIO:
    with _temporary_file(f"copy {name}, which can't be read twice", stack) as target:
        while True:
            with _translate_read_errors(name):
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
        # The file is created when the bytes exceed the memory buffer, so any write may fail.
        file: Any = stack.enter_context(tempfile.SpooledTemporaryFile(_SPOOL))  # noqa: SIM115 (the stack closes it)
        yield file
    except uninterrupted(OSError) as error:
        raise EncodingError(
            f"No temporary file can be used to {purpose}: {reason(error)}.",
            hint=f"{storage_hint(error, 'the temporary directory')} Or name another one in the environment "
            "variable TMPDIR.",
        ) from error


@contextmanager
def _translate_read_errors(name: str) -> Iterator[None]:
    try:
        yield
    except EncodingError:
        raise
    except uninterrupted(Exception) as error:
        # A file object may raise any exception, such as one of an HTTP library after a lost connection.
        raise EncodingError(
            f"{_capital(name)} can't be read: {reason(error)}.", hint="Give a file that can be read to its end."
        ) from error


def _check_json(body: Body, name: str) -> None:
    """Validate a JSON file in constant memory.

    Receivers can't use a truncated document, and its receipt would be wrong. `json.dump` writes NaN, which RFC 8259,
    section 6, doesn't allow and other parsers reject.
    """
    if body.size == 0:
        raise EncodingError(f"{_capital(name)} is empty, which is not a JSON document.", hint=_HINT)
    try:
        _parse(body, name, use_float=True)
    except EncodingError:
        # Its numbers may only be larger than those of the machine, which take twice the time.
        _parse(body, name, use_float=False)


def _parse(body: Body, name: str, *, use_float: bool) -> None:
    """Parse a JSON file, and keep nothing.

    Args:
        body: The file.
        name: What it is, for errors.
        use_float: Whether numbers are those of the machine, an int64 or a double; a larger one is an error then.

    Raises:
        EncodingError: The file can't be read, or is not valid JSON.
    """
    with no_fork:
        import ijson

    events = ijson.sendable_list()
    strings = LongStrings()
    parser = ijson.basic_parse_coro(events, use_float=use_float)
    # The file is read outside the parser: a read that the parser calls could fail for an error of the parser's own.
    for chunk in chain(body.chunks(), [_LAST]):
        with _translate_parse_errors(name):
            if any(byte in chunk for byte in _NEVER_VALID):
                raise ValueError("lexical error: a form feed or a vertical tab")
            # The parser takes no bytes as the end.
            if rest := strings.remove(chunk):
                parser.send(rest)
        events.clear()
    with _translate_parse_errors(name):
        parser.close()


@contextmanager
def _translate_parse_errors(name: str) -> Iterator[None]:
    try:
        yield
    # For an integer with more digits than Python converts, ijson continues with a pending ValueError, raised as
    # a SystemError, or makes an unrelated lookup fail. Only ijson runs here, so any error is caused by the document.
    except uninterrupted(Exception) as error:
        found = _REASON.match(str(error).removeprefix("b'"))
        cause = f" ({found[0].strip().rstrip('.')})" if found else ""
        raise EncodingError(f"{_capital(name)} holds no valid JSON document{cause}.", hint=_HINT) from None


_HINT = "Write it whole and close it first, as UTF-8, without NaN: json.dump(results, file, allow_nan=False)."


_NEVER_VALID = (b"\f", b"\v")
"""Bytes that yajl skips as whitespace. RFC 8259 doesn't allow them between values (section 2) or raw in strings."""

_LAST = b"\n"
"""Passed to the parser after the document. Without it, yajl accepts an unterminated string after a complete value."""


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
