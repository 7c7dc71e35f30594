"""Features on their way to the service: tables and files as one part of a form."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from attrs import evolve

from callback_sdk.body import Body, FilePart, PathPart
from callback_sdk.document import encode
from callback_sdk.errors import EncodingError, FeaturesError, MissingExtraError
from callback_sdk.multipart import FormFile

PARQUET = "application/vnd.apache.parquet"
"""Media type of a Parquet file, as IANA has registered it."""

JSON = "application/json"

_MAGIC = b"PAR1"
"""What a Parquet file begins and ends with (Apache Parquet, "File Format")."""

_SNIFFED = 64 * 1024
_SMALLEST_PARQUET = 12


@contextmanager
def prepared(features: Any, *, compression: str | None = None) -> Iterator[FormFile]:
    """Make features ready to send, and let go of them afterwards.

    Args:
        features: A dict of equally long columns, a dict of scalars (one row), a list of records, a pandas
            DataFrame, an Arrow table or another object with the Arrow stream interface, or the path of a
            Parquet or JSON file. A file is streamed; it must stay as it is until it is sent.
        compression: Parquet's codec for what is written as Parquet here, such as `"zstd"`; snappy when None.
            A file that exists already says itself how it is compressed.

    Yields:
        The part `features` of the form.

    Raises:
        FeaturesError: They are no table, or an empty one.
        MissingExtraError: A table needs pyarrow to become Parquet, and it isn't installed.
    """
    if isinstance(features, (str, os.PathLike)):
        yield _from_path(Path(os.fsdecode(features)))
    elif isinstance(features, Mapping):
        yield _json(_columns(features))
    elif is_table(features):
        table = _arrow_table(features)
        with tempfile.TemporaryFile() as file:
            _write_parquet(table, file, compression)
            yield _part("features.parquet", PARQUET, Body(FilePart(file)))
    elif isinstance(features, (list, tuple)):
        yield _json(_records(features))
    else:
        raise _wrong_type(features)


def parameters_file(parameters: Mapping[str, Any] | str | os.PathLike[str]) -> FormFile:
    """Make an algorithm's parameters ready to send.

    Args:
        parameters: A dict, or the path of a JSON file.

    Returns:
        The part `parameters` of the form.

    Raises:
        EncodingError: JSON can't hold something in the dict; the error names the path to it.
        FeaturesError: They are neither.
    """
    if isinstance(parameters, (str, os.PathLike)):
        file = _from_path(Path(os.fsdecode(parameters)), what="parameters")
        if file.content_type == JSON:
            return evolve(file, name="parameters", filename="parameters.json")
        raise FeaturesError("The file of parameters is Parquet.", hint="Give a dict, or the path of a JSON file.")
    if not isinstance(parameters, Mapping):
        raise FeaturesError(
            f"Parameters of type {type(parameters).__name__} can't be sent.",
            hint="Give a dict, or the path of a JSON file.",
        )
    data = encode(dict(parameters), path="parameters").data
    return FormFile(name="parameters", filename="parameters.json", content_type=JSON, body=Body(data))


def _part(filename: str, content_type: str, body: Body) -> FormFile:
    return FormFile(name="features", filename=filename, content_type=content_type, body=body)


def _json(value: Any) -> FormFile:
    try:
        data = encode(value, path="features").data
    except EncodingError as error:
        raise FeaturesError(error.message, hint=error.hint) from None
    return _part("features.json", JSON, Body(data))


def _columns(features: Mapping[Any, Any]) -> dict[str, Any]:
    _check_names(features)
    if not features:
        raise _empty("The dict of features has no columns.")
    nested = [name for name, column in features.items() if isinstance(column, Mapping)]
    if nested:
        raise FeaturesError(
            f"Column {nested[0]!r} is a dict.",
            hint="Give each column as a list; from pandas that is to_dict('list'), or the DataFrame itself.",
        )
    scalars = [name for name, column in features.items() if not _is_column(column)]
    if len(scalars) == len(features):
        return {name: [value] for name, value in features.items()}
    if scalars:
        raise FeaturesError(
            f"Some features are columns, but {_listed(scalars)} {'is' if len(scalars) == 1 else 'are'} not.",
            hint="Give a list for every column, or one value for each to make a single row.",
        )
    _check_lengths({name: len(column) for name, column in features.items()})
    # A range, a deque and other sequences are no arrays that JSON knows.
    return {name: list(column) if isinstance(column, Sequence) else column for name, column in features.items()}


def _check_names(features: Mapping[Any, Any]) -> None:
    for name in features:
        if not isinstance(name, str):
            raise FeaturesError(
                f"The column name {name!r} is of type {type(name).__name__}.",
                hint="Make all column names strings.",
            )


def _check_lengths(lengths: Mapping[str, int]) -> None:
    if len(set(lengths.values())) > 1:
        shown = [f"{name!r} has {length}" for name, length in lengths.items()]
        more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
        raise FeaturesError(
            f"The columns have different numbers of rows: {', '.join(shown[:10])}{more}.",
            hint="Give the same number of values for each.",
        )
    if 0 in lengths.values():
        raise _empty("The columns of the features have no rows.")


def _is_column(value: Any) -> bool:
    if isinstance(value, (str, bytes, bytearray)):
        return False
    if hasattr(value, "ndim"):
        return bool(value.ndim)
    return isinstance(value, Sequence) or (hasattr(value, "__len__") and hasattr(value, "__getitem__"))


def _records(features: Sequence[Any]) -> list[dict[str, Any]]:
    if not features:
        raise _empty("The list of features has no records.")
    for index, record in enumerate(features):
        if not isinstance(record, Mapping):
            raise FeaturesError(
                f"Record {index} of the features is of type {type(record).__name__}, not a dict.",
                hint="Give each row as a dict of column name and value, or all of them as a dict of columns.",
            )
        _check_names(record)
    if not any(features):
        raise _empty("The records of the features have no columns.")
    return [dict(record) for record in features]


def is_table(features: Any) -> bool:
    """Return whether something is a DataFrame or has the Arrow interface of a table."""
    # What is not loaded can't have made this object, so nothing is imported to find out.
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(features, pandas.DataFrame):
        return True
    one_column = type(features).__name__ in ("Series", "Array", "ChunkedArray")
    return not one_column and any(hasattr(features, f"__arrow_c_{kind}__") for kind in ("stream", "array"))


def _arrow_table(features: Any) -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingExtraError("pyarrow, which writes tables as Parquet,", extra="parquet") from None
    pandas = sys.modules.get("pandas")
    try:
        if pandas is not None and isinstance(features, pandas.DataFrame):
            table = pa.Table.from_pandas(features)
        else:
            table = pa.table(features)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise FeaturesError(
            f"The {type(features).__name__} can't become an Arrow table: {_sentence(error)}",
            hint="Give each column one type and a name of its own.",
        ) from error
    if not table.num_columns:
        raise _empty("The table of features has no columns.")
    if not table.num_rows:
        raise _empty("The table of features has no rows.")
    return table


def _write_parquet(table: Any, file: BinaryIO, compression: str | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.write_table(table, file, compression=compression or "snappy")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FeaturesError(
            f"The table can't be written as Parquet: {_sentence(error)}",
            hint="Look at its column types, at compression=, and at the space for temporary files.",
        ) from error
    file.seek(0)


def _from_path(path: Path, *, what: str = "features") -> FormFile:
    try:
        if not path.is_file():
            raise _missing(path, what)
        part = PathPart(path)
        with path.open("rb") as file:
            head = file.read(_SNIFFED)
            file.seek(max(0, part.size - len(_MAGIC)))
            tail = file.read(len(_MAGIC))
    except (OSError, ValueError) as error:
        if isinstance(error, FeaturesError):
            raise
        reason = getattr(error.__cause__ or error, "strerror", None) or error
        raise FeaturesError(
            f"The file of {what} {_shortened(str(path))} can't be read: {reason}.",
            hint="A string is taken as a path. Give Python's own dict or list for what JSON would hold.",
        ) from error
    return _sniffed(path, part, head, tail)


def _sniffed(path: Path, part: PathPart, head: bytes, tail: bytes) -> FormFile:
    """Know a file by what is in it; its name may say anything."""
    if not part.size:
        raise _empty(f"The file {path} is empty.")
    if head.startswith(_MAGIC):
        if tail != _MAGIC or part.size < _SMALLEST_PARQUET:
            raise FeaturesError(
                f"{path} begins as Parquet and does not end so: it is cut off, or still being written.",
                hint="Close its writer first, or copy it again.",
            )
        return _part("features.parquet", PARQUET, Body(part))
    if head.lstrip(b" \t\r\n")[:1] in (b"{", b"["):
        return _part("features.json", JSON, Body(part))
    raise FeaturesError(f"{path} holds neither Parquet nor JSON.", hint=_advice(head))


def _advice(head: bytes) -> str:
    if head.startswith(b"\x1f\x8b"):
        return "It is compressed by gzip: unpack it first."
    if head.startswith(b"\xef\xbb\xbf"):
        return "It begins with a byte order mark, which JSON doesn't have: save it as UTF-8 without one."
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "It is UTF-16: save it as UTF-8."
    if b"\x00" not in head and b"," in head.partition(b"\n")[0]:
        return "If it is CSV, read it first: pandas.read_csv(path)."
    return "Write it with DataFrame.to_parquet or json.dump."


def _missing(path: Path, what: str) -> FeaturesError:
    text = str(path).lstrip()
    if text.startswith(("{", "[")):
        return FeaturesError(
            f"The {what} are a string with JSON in it, and a string is taken as a path.",
            hint="Give the dict or list itself: json.loads(text).",
        )
    if path.is_dir():
        return FeaturesError(f"{path} is a folder.", hint="Give the path of one Parquet or JSON file.")
    if path.exists():
        return FeaturesError(f"{path} is no regular file.", hint="Write it to a file first: its length must be known.")
    return FeaturesError(
        f"There is no file {_shortened(str(path))}; looked for it at {_shortened(str(path.absolute()))}.",
        hint="Check the path, and the folder that it starts from.",
    )


def _wrong_type(features: Any) -> FeaturesError:
    kind = type(features).__name__
    hints = {
        "NoneType": "Did the function that made them return something?",
        "Series": "Make a table of one column: series.to_frame().",
        "ndarray": "Name its columns: {'name': array[:, 0], ...}.",
        "generator": "Make a list of its records: list(features).",
        "bytes": "Write them to a file and give its path.",
    }
    general = "Give a dict of columns, a list of records, a DataFrame, an Arrow table, or a path."
    return FeaturesError(f"Features of type {kind} are no table.", hint=f"{hints.get(kind, '')} {general}".strip())


def _empty(message: str) -> FeaturesError:
    return FeaturesError(message, hint="Give at least one column and one row.")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _sentence(error: BaseException) -> str:
    text = _shortened(" ".join(str(part) for part in error.args) or type(error).__name__)
    return text if text.endswith(".") else f"{text}."
