"""Features as Parquet: validate the footer before pyarrow parses it, and read the table."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from callback_sdk.errors import FeaturesError, MissingExtraError
from callback_sdk.features.arrow import check_schema, library

if TYPE_CHECKING:
    import pyarrow

MAX_UNPACKED = 4 * 1024**3
"""Maximum decompressed size of a Parquet file in bytes."""

MAGIC = b"PAR1"

_TAIL = 8
"""Bytes at the end of a Parquet file: the length of the footer, and the magic bytes PAR1."""

_MAX_FOOTER = 4 * 1024**2
"""Maximum bytes of a footer. pyarrow needs up to 230 times as much memory for a malicious one, about 1 GB."""

_MAX_COLUMNS = 10_000

_MAX_LIST = _MAX_COLUMNS + 100
"""Maximum length of a list in a footer. pyarrow before 26 has no depth limit: 13,000 levels crash the process."""

_MAX_CHUNKS = 100_000
"""Columns times row groups."""

_MAX_ROWS = 2**31

_MAX_REASON = 300
"""Maximum number of characters of pyarrow's message in an error: it may quote the file."""

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}
"""Minimum bytes per value in Arrow, by Parquet's physical types."""

_LIMITS = {"thrift_string_size_limit": _MAX_FOOTER, "thrift_container_size_limit": _MAX_LIST}


def open_source(source: Path | bytes) -> BinaryIO:
    """Open a file given by its path or its content."""
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def check(source: Path | bytes, max_unpacked: int) -> None:
    """Check by its footer that a Parquet file is a valid table.

    Args:
        source: The file's path, or its content.
        max_unpacked: Maximum decompressed size in bytes.

    Raises:
        FeaturesError: The file is invalid or too large.
        MissingExtraError: pyarrow is not installed.
    """
    parquet = _parquet()
    _check_frame(source)
    try:
        # An open file instead of the path, which pyarrow's errors would reveal to the client.
        with open_source(source) as data, parquet.ParquetFile(data, **_LIMITS) as file:
            _check_shape(file.metadata)
            unpacked = _unpacked_size(file.metadata)
            check_schema(file.schema_arrow)
    except (library().ArrowException, OSError, UnicodeDecodeError) as error:
        raise FeaturesError(
            f"The features begin like Parquet, but their footer can't be read: {_reason(error)}.",
            hint="Write the file again, with fewer columns if there are thousands, and send it.",
        ) from None
    if unpacked > max_unpacked:
        raise FeaturesError(
            f"The features take {unpacked} bytes once they are unpacked, and may take {max_unpacked}.",
            hint="Send fewer rows or columns at once.",
        )


def read(source: Path | bytes) -> pyarrow.Table:
    """Read a table.

    Raises:
        FeaturesError: A part of the file can't be read.
        MemoryError: The table doesn't fit into memory.
        MissingExtraError: pyarrow is not installed.
    """
    parquet = _parquet()
    try:
        # An open file instead of the path: pyarrow would add partition columns for directories such as `a=1`.
        with open_source(source) as data, parquet.ParquetFile(data, **_LIMITS) as file:
            return file.read()
    except MemoryError:
        raise
    except (library().ArrowException, OSError, UnicodeDecodeError) as error:
        raise FeaturesError(
            f"The features can't be read: {_reason(error)}.", hint="Write the file again, and send it."
        ) from None


def read_head(source: Path | bytes, *, rows: int, columns: int) -> pyarrow.Table:
    """Read the first rows of the first columns of a file that `check` has accepted; see `read`."""
    parquet = _parquet()
    try:
        with open_source(source) as data, parquet.ParquetFile(data, **_LIMITS) as file:
            names = file.schema_arrow.names[:columns]
            batches = list(islice(file.iter_batches(rows, columns=names, use_threads=False), 1))
            return library().Table.from_batches(batches).slice(0, rows)
    except MemoryError:
        raise
    except (library().ArrowException, OSError, UnicodeDecodeError, ValueError) as error:
        raise FeaturesError(
            f"The features can't be read: {_reason(error)}.", hint="Write the file again, and send it."
        ) from None


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("pyarrow", extra="parquet") from None
    return pyarrow.parquet


def _reason(error: BaseException) -> str:
    return str(error).strip()[:_MAX_REASON].rstrip(".")


def _check_frame(source: Path | bytes) -> None:
    with open_source(source) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(len(MAGIC))
        file.seek(max(0, size - _TAIL))
        tail = file.read()
    if head != MAGIC:
        raise FeaturesError(
            "The features are not a Parquet file: they don't start with PAR1.", hint="Send Parquet or JSON."
        )
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or size < len(MAGIC) + length + _TAIL:
        raise FeaturesError(
            "The features begin like Parquet, but have no footer.",
            hint="The file was probably cut off on its way; write it and send it again.",
        )
    if length > _MAX_FOOTER:
        raise FeaturesError(
            f"The features' footer has {length} bytes, and may have {_MAX_FOOTER}.",
            hint="Write fewer columns, or larger row groups.",
        )


def _check_shape(metadata: Any) -> None:
    columns, groups, rows = metadata.num_columns, metadata.num_row_groups, metadata.num_rows
    if not columns:
        raise FeaturesError("The features have no column.", hint="Send a table with at least one.")
    if columns > _MAX_COLUMNS:
        raise FeaturesError(
            f"The features have {columns} columns, and may have {_MAX_COLUMNS}.", hint="Send fewer, or a longer table."
        )
    if columns * groups > _MAX_CHUNKS:
        raise FeaturesError(
            f"The features have {columns} columns in {groups} row groups each.", hint="Write larger row groups."
        )
    if not rows:
        raise FeaturesError("The features have no row.", hint="Send a table with at least one.")
    if not 0 < rows <= _MAX_ROWS:
        raise FeaturesError(f"The features have {rows} rows, and may have {_MAX_ROWS}.", hint="Send fewer at once.")


def _unpacked_size(metadata: Any) -> int:
    """Return the decompressed size of all row groups according to the footer.

    It doesn't call `column` of a row group: with malformed statistics, pyarrow throws an uncaught C++ exception there,
    and one upload would crash the service.
    """
    columns = [metadata.schema.column(index) for index in range(metadata.num_columns)]
    width = sum(_WIDTHS.get(column.physical_type, column.length) for column in columns)
    unpacked = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        size, rows = group.total_byte_size, group.num_rows
        if size < 0 or rows < 0 or group.num_columns != len(columns):
            raise FeaturesError("The features' footer has row groups that can't be.", hint="Write the file again.")
        # A million nulls, or repetitions of one number, are a few bytes in Parquet, but not in Arrow.
        unpacked += max(size, rows * width)
    return unpacked
