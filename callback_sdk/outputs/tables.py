"""Write tables to Parquet, CSV and Arrow files, batch by batch.

A table is an object of pandas, polars, pyarrow or any other library that exports the Arrow PyCapsule interface. Values
and types are preserved; NaN of pandas becomes null, as in files that pandas itself writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.errors import FeaturesError, OutputError
from callback_sdk.features.arrow import library, with_leaves
from callback_sdk.features.containers import holds_objects, is_table
from callback_sdk.filesystem.files import create_file
from callback_sdk.text.descriptions import short_repr

if TYPE_CHECKING:
    import pyarrow

_UNNAMED_INDEX = "__index_level_"
"""Prefix of the names that pandas gives to unnamed levels of an index."""

_VIEWS = {"string_view": "large_string", "binary_view": "large_binary"}
"""Types of polars, and the types that every version of pyarrow can write in their place."""


def write_table(name: str, table: Any, path: Path, extension: str) -> None:
    """Write a table to a new file.

    Args:
        name: The output's name, for errors.
        table: The table.
        path: The file.
        extension: `".parquet"`, `".csv"`, `".arrow"` or `".feather"`, an Arrow file too.

    Raises:
        OutputError: It is not a table, or has a column that the format can't represent.
        MissingExtraError: pyarrow is not installed.
    """
    pa = library()
    if not is_table(table):
        raise _misfit(name, "is one column, not a table", "Make a table of it first, such as series.to_frame().")
    if any(map(holds_objects, getattr(table, "dtypes", ()))):
        raise _misfit(name, "has a column of Python objects", "Convert the column to one type first.")
    try:
        reader = _reader(table)
        known = _convert(reader.schema, lambda kind: with_leaves(kind, _without_views))
        written = _convert(known, _without_dictionary) if extension == ".csv" else known
        _check_names(name, written, is_csv=extension == ".csv")
        with create_file(path) as file, _writer(file, written, extension) as writer:
            for batch in reader:
                # In two steps: pyarrow can't decode dictionaries of views, which polars exports.
                writer.write_table(pa.Table.from_batches([batch]).cast(known).cast(written))
    except OutputError:
        raise
    except uninterrupted(pa.ArrowException, FeaturesError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise _misfit(name, f"can't be written: {reason:.300}", "Check the types of its columns.") from error


def _reader(table: Any) -> pyarrow.RecordBatchReader:
    pa = library()
    if type(table).__module__.partition(".")[0] == "pandas":
        return pa.Table.from_pandas(table).to_reader()
    if hasattr(table, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(table)
    return pa.table(table).to_reader()


def _convert(schema: pyarrow.Schema, convert: Callable[[Any], Any]) -> pyarrow.Schema:
    return library().schema([field.with_type(convert(field.type)) for field in schema], metadata=schema.metadata)


def _without_dictionary(kind: Any) -> Any:
    """Return the type for CSV, whose writer doesn't support dictionaries."""
    return kind.value_type if library().types.is_dictionary(kind) else kind


def _without_views(kind: Any) -> Any:
    """Return the type for a file: few readers support views."""
    pa = library()
    if str(kind) in _VIEWS:
        return pa.type_for_alias(_VIEWS[str(kind)])
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, with_leaves(kind.value_type, _without_views), kind.ordered)
    return kind


def _check_names(name: str, schema: pyarrow.Schema, *, is_csv: bool) -> None:
    repeated = [column for column, count in Counter(schema.names).items() if count > 1]
    if repeated:
        raise _misfit(name, f"has several columns {short_repr(repeated[0])}", "Give each column a different name.")
    # Parquet and Arrow files tell pandas that these columns are the index.
    if is_csv and any(column.startswith(_UNNAMED_INDEX) for column in schema.names):
        raise _misfit(name, "has an index without a name", "Name it, frame.rename_axis('id'), or drop it.")


def _writer(file: BinaryIO, schema: pyarrow.Schema, extension: str) -> Any:
    import pyarrow.csv
    import pyarrow.parquet

    if extension == ".parquet":
        return pyarrow.parquet.ParquetWriter(file, schema)
    if extension == ".csv":
        return pyarrow.csv.CSVWriter(file, schema)
    return pyarrow.ipc.new_file(file, schema)


def _misfit(name: str, problem: str, hint: str) -> OutputError:
    return OutputError(f"The table of the output file {short_repr(name)} {problem}.", hint=hint, name=name)
