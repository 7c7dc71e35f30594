"""From any value to output files: paths and directories as they are, other values written to new files."""

from __future__ import annotations

import contextlib
import importlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.body import CHUNK_SIZE, reason
from callback_sdk.documents.document import encode
from callback_sdk.errors import CallbackSDKError, OutputError
from callback_sdk.filesystem.files import create_file, remove, storage_hint
from callback_sdk.outputs.directories import directory_files
from callback_sdk.outputs.names import check_distinct, checked_name
from callback_sdk.outputs.output import Output
from callback_sdk.text.descriptions import short_repr, type_name

MAX_OUTPUTS = 10_000
"""Maximum number of output files of one job. Its document lists them all."""

TABLES = frozenset({".arrow", ".csv", ".feather", ".parquet"})
"""Extensions of the files that a table is written to."""

_FIGURES = ("savefig", "write_image", "save")
"""Methods of Matplotlib, plotly, Pillow and Altair that write a figure to a path, in the format of its extension."""

_OTHER_FIGURES = {".html": "write_html", ".json": "write_json"}
"""Methods of plotly that write another file than an image."""

_HINT = (
    "Give a pathlib.Path of a file or a directory, bytes, a binary file object, a figure, a table with a name that "
    "ends with .parquet, .csv, .arrow or .feather, or a JSON value with a name that ends with .json."
)


def output_files(outputs: Mapping[Any, Any], folder: Path) -> tuple[Output, ...]:
    """Return the output files of a job, as specified in docs/outputs.md.

    Each file is read once for its digest, in constant memory.

    Args:
        outputs: Values by their names. A directory becomes one output for each of its files.
        folder: Directory for the files of values that aren't files yet.

    Raises:
        OutputError: A name or a value is not allowed, or a file can't be read or written; the error has the name.
        MissingExtraError: A table requires pyarrow, which isn't installed.
    """
    named = [(checked_name(name), value) for name, value in outputs.items()]
    check_distinct(name for name, _ in named)
    found: list[tuple[str, Path]] = []
    for name, value in named:
        for member, path in _paths(name, value, folder / f"{uuid.uuid4().hex}{_extension(name)}"):
            found.append((checked_name(member), path))
            if len(found) > MAX_OUTPUTS:
                raise OutputError(
                    f"The result has more than {MAX_OUTPUTS} output files.",
                    hint="Put them into an archive, such as a .tar or .zip file, and give that.",
                    name=name,
                )
    check_distinct(name for name, _ in found)
    return tuple(Output.of(name, path) for name, path in found)


def _extension(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _paths(name: str, value: Any, new: Path) -> Iterable[tuple[str, Path]]:
    if isinstance(value, os.PathLike):
        path = Path(os.fsdecode(value))
        return directory_files(name, path) if path.is_dir() else [(name, path)]
    try:
        _writer(name, value)(new)
    except (CallbackSDKError, MemoryError):
        remove(new)
        raise
    except uninterrupted(Exception) as error:
        remove(new)
        raise _unwritable(name, value, error) from error
    return [(name, new)]


def _writer(name: str, value: Any) -> Callable[[Path], Any]:
    """Return the function that writes a value to a new file."""
    extension = _extension(name)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return lambda new: _write(name, new, [value.tobytes() if isinstance(value, memoryview) else value])
    # Before the rest, as images of Pillow are Arrow arrays too, and tables of polars have a `write_json`.
    if _is_table(value) and extension in TABLES:
        return _table_writer(name, value, extension)
    if extension == ".json" and (_is_table(value) or isinstance(value, (dict, list))):
        return _json_writer(name, value)
    if callable(getattr(value, "read", None)):
        return lambda new: _write(name, new, _chunks(name, value))
    if (method := _figure_method(value, extension)) is not None:
        return lambda new: _write_figure(name, value, method, new)
    if extension == ".json" and not isinstance(value, str):
        return _json_writer(name, value)
    raise OutputError(
        f"The value of the output file {short_repr(name)} is of type {type_name(value)}.",
        # A string may be a path or a text. Taking one for the other would deliver a wrong file.
        hint="Give pathlib.Path(...) if it is the path of a file, or text.encode() if it is the content."
        if isinstance(value, str)
        else _HINT,
        name=name,
    )


def _is_table(value: Any) -> bool:
    return hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__")


def _table_writer(name: str, table: Any, extension: str) -> Callable[[Path], Any]:
    # Imported by name, so that writing results doesn't depend statically on the table libraries.
    with no_fork:
        tables = importlib.import_module("callback_sdk.outputs.tables")
    return lambda new: tables.write_table(name, table, new, extension)


def _json_writer(name: str, value: Any) -> Callable[[Path], Any]:
    return lambda new: _write(name, new, encode(value, path=f"outputs[{name!r}]").parts)


def _figure_method(value: Any, extension: str) -> str | None:
    special = _OTHER_FIGURES.get(extension)
    candidates = [*([special] if special else []), *(_FIGURES if extension != ".json" else ())]
    return next((name for name in candidates if callable(getattr(value, name, None))), None)


def _write_figure(name: str, figure: Any, method: str, new: Path) -> None:
    # Private from the beginning: libraries create files with the permissions of the umask.
    create_file(new).close()
    getattr(figure, method)(str(new))
    if not new.is_file() or not new.stat().st_size:
        raise OutputError(
            f"{type_name(figure)}.{method} has written no file for the output file {short_repr(name)}.",
            hint="Write the file in your own code, and give its pathlib.Path.",
            name=name,
        )


def _write(name: str, new: Path, chunks: Iterable[bytes | bytearray]) -> None:
    with _translate_write_errors(name, new), create_file(new) as file:
        file.writelines(chunks)


@contextlib.contextmanager
def _translate_write_errors(name: str, new: Path) -> Iterator[None]:
    try:
        yield
    except uninterrupted(OSError) as error:
        raise OutputError(
            f"The output file {short_repr(name)} can't be written to {new.parent}: {reason(error)}.",
            hint=storage_hint(error, "this directory"),
            name=name,
        ) from error


def _chunks(name: str, file: Any) -> Iterator[bytes]:
    """Yield the content of a file object from its current position."""
    try:
        if getattr(file, "closed", False):
            raise _unreadable(name, "is closed", "Write the result before the file is closed.")
        if isinstance(file.read(0), str):
            raise _unreadable(name, "is open as text", "Open it in binary mode, open(path, 'rb').")
        chunk = file.read(CHUNK_SIZE)
        if not chunk and _position(file):
            raise _unreadable(name, "is at its end", "Go back to its beginning first: file.seek(0).")
        while chunk:
            yield chunk
            chunk = file.read(CHUNK_SIZE)
    except OutputError:
        raise
    # A file object may raise any exception, such as one of an HTTP library with a signed URL in its text.
    except uninterrupted(Exception) as error:
        raise _unreadable(name, f"can't be read: {reason(error)}", "Give a file that can be read.") from error


def _position(file: Any) -> int:
    try:
        return int(file.tell())
    except uninterrupted(Exception):  # a stream has no position, and says so by any exception
        return 0


def _unreadable(name: str, problem: str, hint: str) -> OutputError:
    return OutputError(f"The file object of the output file {short_repr(name)} {problem}.", hint=hint, name=name)


def _unwritable(name: str, value: Any, error: Exception) -> OutputError:
    text = " ".join(str(error).split())
    return OutputError(
        f"The output file {short_repr(name)} can't be written from a value of type {type_name(value)}: "
        f"{type(error).__name__}: {text:.300}.",
        hint=storage_hint(error, "the temporary directory")
        if isinstance(error, OSError)
        else "Write the file in your own code, and give its pathlib.Path. See the error's cause.",
        name=name,
    )
