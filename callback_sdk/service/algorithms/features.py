"""Features: a table in a Parquet or JSON file, validated on submission and read on demand."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callback_sdk.errors import FeaturesError, MissingExtraError
from callback_sdk.features import json as jsontables
from callback_sdk.features import parquet as parquettables
from callback_sdk.features.arrow import library, normalize, table_of
from callback_sdk.features.column_errors import translate_errors
from callback_sdk.features.columns import complete
from callback_sdk.features.json import MAX_JSON
from callback_sdk.features.parquet import MAX_UNPACKED
from callback_sdk.service.supervision.memory import format_size, limit_allocations

if TYPE_CHECKING:
    import pandas
    import pyarrow

PARQUET = "parquet"
JSON = "json"
NONE = "none"
"""Format of the features of a task that was submitted without any; reading them is an error."""

_EXACT_FLOAT = 2**53
"""The largest integer up to which a float represents all integers exactly."""

_CHECKING = threading.Lock()
"""Held by each check: the memory of one check is bounded, so one check at a time bounds the total."""


class Features:
    """The first argument of every algorithm: a table that is read on demand.

    Args:
        source: A file that `check` has accepted, or its content.
        format: `"parquet"`, `"json"` or `"none"`.
        max_bytes: Maximum memory for reading a Parquet file, in bytes; at most twice `MAX_UNPACKED`.
    """

    def __init__(self, source: Path | bytes, format: str, *, max_bytes: float = math.inf) -> None:  # noqa: A002
        self._source = source
        self._format = format
        # The sizes in a footer may be wrong, a dictionary may have one long text for all rows, and pages may be zeros.
        self._max_bytes = min(max_bytes, 2 * MAX_UNPACKED)

    def __repr__(self) -> str:
        return f"Features({self._format})"

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns as lists, by name; missing values are None."""
        if self._format == PARQUET:
            return {name: _to_list(name, column) for name, column in self.to_columns().items()}
        return {name: complete(column) for name, column in self._read_json().items()}

    def to_columns(self) -> Mapping[str, list[Any] | pyarrow.ChunkedArray]:
        """Return the columns by name, without conversion: Arrow arrays from Parquet, lists from JSON."""
        if self._format != PARQUET:
            return self.to_dict()
        table = self.to_arrow()
        return dict(zip(table.column_names, table.columns, strict=True))

    def to_arrow(self) -> pyarrow.Table:
        """Return the features as an Arrow table; missing values are null.

        Raises:
            FeaturesError: A value in the file can't be read.
            MissingExtraError: pyarrow is not installed.
        """
        if self._format == PARQUET:
            return self._read_parquet()
        return table_of(self._read_json())

    def to_pandas(self) -> pandas.DataFrame:
        """Return the features as a pandas DataFrame; a stored index becomes a column.

        Raises:
            FeaturesError: A value in the file can't be read.
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("pandas", extra="parquet") from None
        table = self.to_arrow()
        frame = table.to_pandas(ignore_metadata=True)
        for name, column in zip(table.column_names, table.columns, strict=True):
            if _is_too_exact(column):
                frame[name] = column.to_pandas(types_mapper=_nullable(pd).get)
        return frame

    def _read_json(self) -> Mapping[str, Any]:
        if self._format == NONE:
            raise FeaturesError(
                "The task has no features, and the algorithm reads them.", hint="Submit it with a table of features."
            )
        return jsontables.read(self._source)

    def _read_parquet(self) -> pyarrow.Table:
        try:
            with limit_allocations(self._max_bytes):
                return normalize(parquettables.read(self._source))
        except MemoryError:
            raise FeaturesError(
                f"The features take more than {format_size(self._max_bytes)} of memory once they are unpacked.",
                hint="Send fewer rows or columns at once, or raise the algorithm's memory_limit=.",
            ) from None


def sniff(source: Path | bytes) -> str:
    """Detect the format of a file, or of its content, by the first bytes: `"parquet"`, otherwise `"json"`."""
    with parquettables.open_source(source) as file:
        return PARQUET if file.read(len(parquettables.MAGIC)) == parquettables.MAGIC else JSON


def check(
    source: Path | bytes,
    format: str,  # noqa: A002
    *,
    max_json: int = MAX_JSON,
    max_unpacked: int = MAX_UNPACKED,
) -> None:
    """Check that a file contains a table, in bounded memory.

    Args:
        source: The file, or its content.
        format: `"parquet"` or `"json"`.
        max_json: Maximum bytes of a JSON file.
        max_unpacked: Maximum bytes of an unpacked Parquet file, according to its footer. A file with a wrong footer,
            or with a dictionary of long texts, takes more when the algorithm reads it: `Features` bounds that in the
            algorithm's process.

    Raises:
        FeaturesError: The file contains no valid table, or is too large; the message names the column or the row.
        MissingExtraError: The format is Parquet, and pyarrow is not installed.
    """
    with _CHECKING:
        if format == PARQUET:
            parquettables.check(source, max_unpacked)
        elif format == JSON:
            jsontables.check(source, max_json)
        else:
            raise FeaturesError(f"Features of format {format!r} are not known.", hint="Send Parquet or JSON.")


def _to_list(name: str, column: Any) -> list[Any]:
    with translate_errors(name):
        values: list[Any] = column.to_pylist()
        return values


def _is_too_exact(column: Any) -> bool:
    """Return whether pandas would round integers to floats, as it does in columns with missing values."""
    pa = library()
    if not pa.types.is_integer(column.type) or not column.null_count:
        return False
    ends = pa.compute.min_max(column).as_py()
    return any(end is not None and abs(end) > _EXACT_FLOAT for end in ends.values())


def _nullable(pandas: Any) -> dict[Any, Any]:
    pa = library()
    return {pa.int64(): pandas.Int64Dtype(), pa.uint64(): pandas.UInt64Dtype()}
