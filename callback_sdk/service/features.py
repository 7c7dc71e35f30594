"""An algorithm's data: a table in a Parquet or JSON file, checked when it comes and read when it is used."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from callback_sdk.decoding import decode
from callback_sdk.errors import FeaturesError, MissingExtraError

if TYPE_CHECKING:
    import pandas
    import pyarrow

PARQUET = "parquet"
JSON = "json"

MAX_JSON = 64 * 1024**2
"""Bytes of a JSON file. Parsed it takes about ten times as much, and all at once."""

MAX_UNPACKED = 4 * 1024**3
"""Bytes that a Parquet file may take once it is unpacked."""

_MAGIC = b"PAR1"

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

_MAX_PARTS = 12_000_000
"""Values in a JSON file, each at the weight that `weigh` gives it; about 600 MB of objects."""

_SHOWN = 100
"""Characters of a column's name that an error shows."""

_LONGEST_REASON = 300
"""Characters of pyarrow's reason that an error shows; it may quote the file."""

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}
"""Bytes that Arrow takes for one value at least, by Parquet's physical types."""

_TURN = threading.Lock()
"""Held by each check: what one takes is bounded, so what all of them take together is too."""


class Features:
    """The first argument of every algorithm: a table that is read on demand.

    Args:
        source: A file that `check` has accepted, or what would be in it.
        format: `"parquet"` or `"json"`.
    """

    def __init__(self, source: Path | bytes, format: str) -> None:  # noqa: A002
        self._source = source
        self._format = format

    def __repr__(self) -> str:
        return f"Features({self._format})"

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns as lists, by name."""
        if self._format == PARQUET:
            columns: dict[str, list[Any]] = self.to_arrow().to_pydict()
            return columns
        return _columns(_read_json(self._source))

    def to_columns(self) -> Mapping[str, list[Any] | pyarrow.ChunkedArray]:
        """Return the columns by name, as they are read: Arrow's own from Parquet, lists from JSON."""
        if self._format != PARQUET:
            return self.to_dict()
        table = self.to_arrow()
        return dict(zip(table.column_names, table.columns, strict=True))

    def to_arrow(self) -> pyarrow.Table:
        """Return the table as Arrow has it.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        if self._format == PARQUET:
            source = self._source
            return _parquet().read_table(io.BytesIO(source) if isinstance(source, bytes) else source)
        import pyarrow as pa

        return pa.table(self.to_dict())

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table as a data frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("pandas", extra="parquet") from None
        return self.to_arrow().to_pandas() if self._format == PARQUET else pd.DataFrame(self.to_dict())


def sniff(source: Path | bytes) -> str:
    """Tell the format of a file, or of what would be in it, by its first bytes: `"parquet"` or else `"json"`."""
    with _opened(source) as file:
        return PARQUET if file.read(len(_MAGIC)) == _MAGIC else JSON


def check(
    source: Path | bytes,
    format: str,  # noqa: A002
    *,
    max_json: int = MAX_JSON,
    max_unpacked: int = MAX_UNPACKED,
) -> None:
    """Make sure that a file holds a table, in bounded memory whatever is in it.

    Args:
        source: The file, or what would be in it.
        format: `"parquet"` or `"json"`.
        max_json: Bytes of a JSON file.
        max_unpacked: Bytes that a Parquet file may take once it is unpacked. Only its footer is read for that. One
            that lies, and a dictionary with a long text that every row repeats, take more when the algorithm reads
            them: that is its own process's memory, for which `Registry.algorithm` has `memory_limit`.

    Raises:
        FeaturesError: It doesn't, or is too large; the text names the column or the row.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    with _TURN:
        if format == PARQUET:
            _check_parquet(source, max_unpacked)
        elif format == JSON:
            _check_json(source, max_json)
        else:
            raise FeaturesError(f"Features of format {format!r} are not known.", hint="Send Parquet or JSON.")


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("pyarrow", extra="parquet") from None
    return pyarrow.parquet


def _opened(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _check_parquet(source: Path | bytes, max_unpacked: int) -> None:
    parquet = _parquet()
    _check_frame(source)
    import pyarrow

    try:
        # A file of ours, and no path: pyarrow's errors would tell the client where it lies.
        with (
            _opened(source) as opened,
            parquet.ParquetFile(
                opened, thrift_string_size_limit=_MAX_FOOTER, thrift_container_size_limit=_MAX_LIST
            ) as file,
        ):
            _check_shape(file.metadata)
            unpacked = _unpacked(file.metadata)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).strip()[:_LONGEST_REASON].rstrip(".")
        raise FeaturesError(
            f"The features begin like Parquet, but their footer can't be read: {reason}.",
            hint="Write the file again, with fewer columns if there are thousands, and send it.",
        ) from None
    if unpacked > max_unpacked:
        raise FeaturesError(
            f"The features take {unpacked} bytes once they are unpacked, and may take {max_unpacked}.",
            hint="Send fewer rows or columns at once.",
        )


def _check_frame(source: Path | bytes) -> None:
    with _opened(source) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(len(_MAGIC))
        file.seek(max(0, size - _TAIL))
        tail = file.read()
    if head != _MAGIC:
        raise FeaturesError(
            "The features are no Parquet file: they don't begin with PAR1.", hint="Send Parquet or JSON."
        )
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or size < len(_MAGIC) + length + _TAIL:
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
    if not 0 <= rows <= _MAX_ROWS:
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


def _check_json(source: Path | bytes, max_json: int) -> None:
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size > max_json:
        raise FeaturesError(
            f"The features have {size} bytes of JSON, and may have {max_json}.",
            hint="Send Parquet: it is smaller, and may be larger.",
        )
    _columns(_read_json(source))


def _read_json(source: Path | bytes) -> Any:
    data = source if isinstance(source, bytes) else source.read_bytes()
    if weigh(data) > _MAX_PARTS:
        raise FeaturesError("The features have too many values for JSON.", hint="Send Parquet.")
    try:
        return decode(data)
    except ValueError as error:
        raise FeaturesError(
            f"The features are neither Parquet nor JSON: {error}.",
            hint="Send a dict of equally long columns, or a list of records.",
        ) from None


def weigh(data: bytes) -> int:
    """Count the values in a JSON text roughly, before any is made: strings at 3, lists and dicts at 5, others at 1."""
    return data.count(b",") + data.count(b'"') + 4 * (data.count(b"[") + data.count(b"{"))


def _columns(data: Any) -> dict[str, list[Any]]:
    if isinstance(data, list):
        return _from_records(data)
    if not isinstance(data, dict):
        raise FeaturesError(
            f"The features are a JSON {_kind(data)}.",
            hint="Send a dict of equally long columns, or a list of records.",
        )
    if not data:
        raise FeaturesError("The features have no column.", hint="Send a table with at least one.")
    for name, column in data.items():
        if not isinstance(column, list):
            raise FeaturesError(
                f"Column {_shown(name)} of the features is a JSON {_kind(column)}.",
                hint="Each column is a list of values.",
            )
    first, *others = data
    for name in others:
        if len(data[name]) != len(data[first]):
            raise FeaturesError(
                f"The features' columns are not equally long: {_shown(first)} has {len(data[first])} values "
                f"and {_shown(name)} has {len(data[name])}.",
                hint="Fill what is missing with null.",
            )
    return data


def _from_records(records: list[Any]) -> dict[str, list[Any]]:
    if not records:
        raise FeaturesError("The features have no row.", hint="Send at least one record.")
    names: dict[str, None] = {}
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise FeaturesError(
                f"Record {number} of the features is a JSON {_kind(record)}.",
                hint="Each record is a dict of values by column.",
            )
        names.update(dict.fromkeys(record))
    if not names:
        raise FeaturesError("The features have no column.", hint="Send records with at least one value.")
    # Few records can have many columns between them, and then nearly all of the table is null.
    if len(names) > _MAX_COLUMNS or len(names) * len(records) > _MAX_PARTS:
        raise FeaturesError(
            f"The features have {len(records)} records with {len(names)} columns between them.",
            hint="Give all records the same columns, or send Parquet.",
        )
    return {name: [record.get(name) for record in records] for name in names}


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return kinds[type(value)]
