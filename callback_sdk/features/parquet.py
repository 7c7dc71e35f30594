"""Features as Parquet: a footer that can be trusted before Arrow sees it, and reading what it describes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from callback_sdk.errors import FeaturesError, MissingExtraError
from callback_sdk.features.arrow import check_schema, library

if TYPE_CHECKING:
    import pyarrow

MAX_UNPACKED = 4 * 1024**3
"""Bytes that a Parquet file may take once it is unpacked."""

MAGIC = b"PAR1"

_TAIL = 8
"""Bytes at the end of a Parquet file: the length of its footer, and PAR1."""

_MAX_FOOTER = 4 * 1024**2
"""Bytes of a footer. pyarrow takes up to 230 times as much to read one that was made for it, about 1 GB then."""

_MAX_COLUMNS = 10_000

_MAX_LIST = _MAX_COLUMNS + 100
"""Elements of any list in a footer. pyarrow before 26 follows a schema to any depth: 13,000 levels end the process."""

_MAX_CHUNKS = 100_000
"""Columns times row groups."""

_MAX_ROWS = 2**31

_LONGEST_REASON = 300
"""Characters of pyarrow's reason that an error shows; it may quote the file."""

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}
"""Bytes that Arrow takes for one value at least, by Parquet's physical types."""

_LIMITS = {"thrift_string_size_limit": _MAX_FOOTER, "thrift_container_size_limit": _MAX_LIST}


def opened(source: Path | bytes) -> BinaryIO:
    """Open a file, or what would be in it."""
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def check(source: Path | bytes, max_unpacked: int) -> None:
    """Make sure that a file of Parquet holds a table, as far as its footer tells.

    Args:
        source: The file, or what would be in it.
        max_unpacked: Bytes that it may take once it is unpacked.

    Raises:
        FeaturesError: It doesn't, or takes more.
        MissingExtraError: pyarrow is not installed.
    """
    parquet = _parquet()
    _check_frame(source)
    try:
        # A file of ours, and no path: pyarrow's errors would tell the client where it lies.
        with opened(source) as data, parquet.ParquetFile(data, **_LIMITS) as file:
            _check_shape(file.metadata)
            unpacked = _unpacked(file.metadata)
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
        FeaturesError: A part of it can't be read.
        MemoryError: It takes more than there is.
        MissingExtraError: pyarrow is not installed.
    """
    parquet = _parquet()
    try:
        # A file of ours, and no path: pyarrow would make columns of folders such as `a=1`.
        with opened(source) as data, parquet.ParquetFile(data, **_LIMITS) as file:
            return file.read()
    except MemoryError:
        raise
    except (library().ArrowException, OSError, UnicodeDecodeError) as error:
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
    return str(error).strip()[:_LONGEST_REASON].rstrip(".")


def _check_frame(source: Path | bytes) -> None:
    with opened(source) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(len(MAGIC))
        file.seek(max(0, size - _TAIL))
        tail = file.read()
    if head != MAGIC:
        raise FeaturesError(
            "The features are no Parquet file: they don't begin with PAR1.", hint="Send Parquet or JSON."
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


def _unpacked(metadata: Any) -> int:
    """Return the bytes that all row groups take, as far as the footer tells.

    It asks no row group for a `column`: pyarrow makes an exception of C++ there that nothing catches when the
    column's statistics are odd, and one upload would end the whole service.
    """
    columns = [metadata.schema.column(index) for index in range(metadata.num_columns)]
    width = sum(_WIDTHS.get(column.physical_type, column.length) for column in columns)
    unpacked = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        size, rows = group.total_byte_size, group.num_rows
        if size < 0 or rows < 0 or group.num_columns != len(columns):
            raise FeaturesError("The features' footer has row groups that can't be.", hint="Write the file again.")
        # A million nulls, or one number a million times, are a few bytes to Parquet, and not to Arrow.
        unpacked += max(size, rows * width)
    return unpacked
