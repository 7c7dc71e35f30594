"""Convert Arrow tables and arrays, of pyarrow and of libraries with the Arrow PyCapsule interface, for JSON.

pyarrow is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.values.columns import columns
from callback_sdk.errors import install_hint

_ONE_COLUMN = ("Series", "Array", "ChunkedArray", "Column")
"""Names of one-column classes in polars and others: not tables, even if their values are structs."""

_DURATION = "Give a duration as a number of seconds, and a calendar interval as its months, days and nanoseconds."


def converter(kind: type) -> Callable[[Any], Any] | None:
    """Return the converter of a pyarrow type; None for other types."""
    import pyarrow as pa

    simple: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
        ((pa.Table, pa.RecordBatch), _table),
        ((pa.Array, pa.ChunkedArray), column),
        (pa.Scalar, _scalar),
        (pa.MonthDayNano, _interval),
    )
    return next((make for base, make in simple if issubclass(kind, base)), None)


def stream(value: Any) -> Any:
    """Return the data of a value with the Arrow PyCapsule interface. Some values can be exported only once.

    Raises:
        TypeError: pyarrow is not installed, or can't read the data.
    """
    try:
        with no_fork:
            import pyarrow as pa
    except ImportError:
        raise TypeError(f"pyarrow reads its data. {install_hint('parquet')}") from None
    kind = type(value)
    if kind.__module__.partition(".")[0] == "polars":
        # The type that polars 1.20 declares for the stream of a Series is not that of its data.
        return _read(value.to_arrow)
    is_table = kind.__name__ not in _ONE_COLUMN
    read = pa.table if is_table else pa.chunked_array if hasattr(kind, "__arrow_c_stream__") else pa.array
    return _read(lambda: read(value))


def _read(read: Callable[[], Any]) -> Any:
    with _translate_errors():
        data = read()
    return _table(data) if hasattr(data, "column_names") else column(data)


def _table(value: Any) -> dict[str, Any]:
    return columns(value.column_names, [value.column(number) for number in range(value.num_columns)])


def column(value: Any) -> Any:
    """Return the values of an array or a chunked array: a NumPy array for numbers, otherwise a list."""
    import pyarrow as pa

    kind = value.type
    if pa.types.is_duration(kind) or pa.types.is_interval(kind):
        raise TypeError(_DURATION)
    if "time64[ns]" in str(kind):
        return _times(value)
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return _to_list(value)
    if not value.null_count:
        return _numbers(value)
    if not pa.types.is_float32(kind):
        return _to_list(value)
    # NumPy scalars, because they are written with the digits of a 32-bit float.
    valid = value.is_valid().to_pylist()
    return [number if there else None for number, there in zip(_numbers(value), valid, strict=True)]


def _times(value: Any) -> list[Any]:
    """Return times of day. `to_pylist` truncates nanoseconds silently; the cast raises an error instead."""
    import pyarrow as pa

    if not pa.types.is_time64(value.type):
        raise TypeError("Times of day with nanoseconds can't lie in lists or structs: cast them to microseconds.")
    with _translate_errors():
        return _to_list(value.cast(pa.time64("us")))


def _numbers(value: Any) -> Any:
    import pyarrow as pa

    return value.to_numpy() if isinstance(value, pa.ChunkedArray) else value.to_numpy(zero_copy_only=False)


def _to_list(value: Any) -> list[Any]:
    with _translate_errors():
        values: list[Any] = value.to_pylist()
        return values


def _scalar(value: Any) -> Any:
    import pyarrow as pa

    return column(pa.repeat(value, 1))[0]


@contextmanager
def _translate_errors() -> Iterator[None]:
    # Such as for a struct with a repeated field name, nanoseconds without pandas, years after 9999, or an unknown zone.
    try:
        yield
    except uninterrupted(Exception) as error:
        raise TypeError(f"pyarrow can't make a value of Python of it: {error}.") from error


def _interval(_value: Any) -> Any:
    raise TypeError(_DURATION)
