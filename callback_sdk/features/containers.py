"""Convert containers of tables to columns: dicts, records, pandas, and objects with the Arrow interface."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from callback_sdk.documents.values.standard import ambiguity
from callback_sdk.errors import FeaturesError, MissingExtraError
from callback_sdk.features.arrow import array_of, library, nameless, normalize, normalized_array
from callback_sdk.features.cells import ONE_OF_BOTH
from callback_sdk.features.column_errors import column_error, short_repr, translate_errors
from callback_sdk.features.columns import check_column, check_names
from callback_sdk.text.descriptions import type_name

_MAX_VALUES = 12_000_000
"""Maximum number of values of sparse records. The service accepts no more of them as JSON."""


_PANDAS_UNITS = ("[s]", "[ms]", "[us]", "[ns]")


def columns_of(features: Any) -> dict[str, Any]:
    """Return the columns of a table, each as `Column` or as an Arrow array; those of a DataFrame always as Arrow.

    Args:
        features: The table, in any supported container.

    Raises:
        FeaturesError: The features are not a table, are empty, or have an unsupported value.
        MissingExtraError: The container requires pyarrow, which isn't installed.
    """
    with translate_errors(None):
        _check_kind(features, "The features")
        return _columns_of(features)


def _columns_of(features: Any) -> dict[str, Any]:
    if isinstance(features, Mapping):
        return _from_dict(features)
    if _is_frame(features):
        return _from_frame(features)
    if is_table(features):
        return _from_arrow(features)
    if isinstance(features, (list, tuple)):
        return _from_records(features)
    raise _wrong_type(features)


def _check_kind(container: Any, place: str, **where: Any) -> None:
    """Check that a dict or list has no fields besides its items, as a subclass that is a dataclass may have."""
    if problem := ambiguity(type(container)):
        raise FeaturesError(f"{place} can't be read: {problem}.", hint=ONE_OF_BOTH, **where)


def is_table(features: Any) -> bool:
    """Return whether something is a DataFrame or has the Arrow interface of a table."""
    one_column = type(features).__name__ in ("Series", "Array", "ChunkedArray")
    return _is_frame(features) or (not one_column and _streams_arrow(features))


def is_lazy_table(features: Any) -> bool:
    """Return whether something has columns and is converted to a table in memory first, such as Dask's DataFrame."""
    return hasattr(type(features), "columns") and bool(_conversion(features))


def empty(message: str) -> FeaturesError:
    """Return the error for a table without columns or rows."""
    return FeaturesError(message, hint="Give at least one column and one row.")


def _is_frame(features: Any) -> bool:
    # If pandas isn't imported, the object can't be a DataFrame.
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(features, pandas.DataFrame)


def _streams_arrow(value: Any) -> bool:
    return any(hasattr(value, f"__arrow_c_{kind}__") for kind in ("stream", "array"))


def _from_dict(features: Mapping[Any, Any]) -> dict[str, Any]:
    check_names(list(features))
    if not features:
        raise empty("The dict of features has no columns.")
    for name, column in features.items():
        _check_kind(column, f"Column {short_repr(name)}", column=name)
    nested = [name for name, column in features.items() if isinstance(column, Mapping)]
    if nested:
        raise FeaturesError(
            f"Column {nested[0]!r} is a dict.",
            hint="Give each column as a list; from pandas that is to_dict('list'), or the DataFrame itself.",
        )
    scalars = [name for name, column in features.items() if not _is_column(column)]
    if len(scalars) == len(features):
        return {name: check_column(name, [value]) for name, value in features.items()}
    if scalars:
        raise FeaturesError(
            f"Some features are columns, but {_list_names(scalars)} {'is' if len(scalars) == 1 else 'are'} not.",
            hint="Give a list for every column, or one value for each to make a single row.",
        )
    _check_lengths({name: _length(name, column) for name, column in features.items()})
    return {name: _column(name, column) for name, column in _with_index(features).items()}


def _length(name: str, column: Any) -> int:
    with translate_errors(name):
        return len(column)


def _from_records(features: Sequence[Any]) -> dict[str, Any]:
    if not features:
        raise empty("The list of features has no records.")
    _check_records(features)
    # One pass in C, because there may be millions of records.
    names = dict.fromkeys(chain.from_iterable(features))
    check_names(list(names))
    if not names:
        raise empty("The records of the features have no columns.")
    if len(names) * len(features) > _MAX_VALUES > sum(map(len, features)):
        raise FeaturesError(
            f"The features have {len(features)} records with {len(names)} columns between them.",
            hint="Give all records the same columns.",
        )
    return {name: check_column(name, [record.get(name) for record in features]) for name in names}


def _check_records(features: Sequence[Any]) -> None:
    kinds = set(map(type, features))
    if any(map(ambiguity, kinds)):
        for row, record in enumerate(features):
            _check_kind(record, f"Record {row} of the features", row=row)
    if all(issubclass(kind, Mapping) for kind in kinds):
        return
    # A proxy object is a Mapping only by isinstance(), not by issubclass() of its type.
    found = next(((row, record) for row, record in enumerate(features) if not isinstance(record, Mapping)), None)
    if found is None:
        return
    row, record = found
    raise FeaturesError(
        f"Record {row} of the features is of type {type(record).__name__}, not a dict.",
        hint="Give each row as a dict of column name and value, or all of them as a dict of columns.",
        row=row,
    )


def _from_frame(frame: Any) -> dict[str, Any]:
    _check_pyarrow()
    names = list(frame.columns)
    check_names(names)
    if not names:
        raise empty("The table of features has no columns.")
    if not len(frame):
        raise empty("The table of features has no rows.")
    columns = _index_columns(frame.index, names) | {name: frame.iloc[:, number] for number, name in enumerate(names)}
    return {name: _arrow_series(name, column) for name, column in columns.items()}


def _from_arrow(features: Any) -> dict[str, Any]:
    _check_pyarrow()
    pa = library()
    if any(map(holds_objects, getattr(features, "dtypes", ()))):
        return _export(features) or {}
    try:
        table = normalize(pa.table(features))
    except FeaturesError:
        raise
    except (pa.ArrowException, TypeError, ValueError) as error:
        columns = _export(features)
        if columns is None:
            reason = short_repr(" ".join(str(error).split()))
            raise FeaturesError(
                f"The {type(features).__name__} can't become an Arrow table: {reason}.",
                hint="Give each column one type and a different name.",
            ) from error
        return columns
    if not table.num_columns:
        raise empty("The table of features has no columns.")
    if not table.num_rows:
        raise empty("The table of features has no rows.")
    return dict(zip(table.column_names, table.columns, strict=True))


def _export(features: Any) -> dict[str, Any] | None:
    """Return the columns of a table with a column that has no Arrow type, such as 128-bit integers of polars."""
    names = getattr(features, "columns", ())
    # The attribute `columns` of a pyarrow table has arrays, not names.
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        return None
    check_names(names)
    pa = library()
    columns = {}
    for name in names:
        try:
            columns[name] = _exported_column(name, features[name])
        except (pa.ArrowException, TypeError, ValueError) as error:  # noqa: PERF203 - a try for each column
            if isinstance(error, FeaturesError):
                raise
            columns[name] = array_of(name, check_column(name, features[name].to_list()))
    return columns


def _exported_column(name: str, values: Any) -> Any:
    if holds_objects(getattr(values, "dtype", None)):
        return array_of(name, check_column(name, values.to_list()))
    return normalized_array(
        name, library().chunked_array(values if hasattr(values, "__arrow_c_stream__") else [values])
    )


def holds_objects(dtype: Any) -> bool:
    """Return whether a polars column has Python objects, of which polars exports the memory addresses."""
    return type(dtype).__module__.split(".")[0] == "polars" and str(dtype) == "Object"


def _check_pyarrow() -> None:
    try:
        library()
    except MissingExtraError:
        raise MissingExtraError("pyarrow, which writes tables as Parquet,", extra="parquet") from None


def _column(name: str, values: Any) -> Any:
    """Return a column of a dict: plain values if Python can represent them, otherwise an Arrow array."""
    with translate_errors(name):
        return _column_of_values(name, values)


def _column_of_values(name: str, values: Any) -> Any:
    pandas = sys.modules.get("pandas")
    if pandas is not None and (type(values).__module__.split(".")[0] == "pandas" or _has_pandas_unit(values)):
        return _series(name, pandas.Series(values))
    if _streams_arrow(values):
        return _exported_column(name, values)
    # `tolist()` converts datetimes with nanoseconds to integers, and records to tuples without names.
    to_list = None if _dtype_kind(values) in ("m", "M", "V") else getattr(values, "tolist", None)
    return check_column(name, values if to_list is None else to_list())


def _has_pandas_unit(values: Any) -> bool:
    """Return whether values are datetimes or durations in a unit of pandas, which rejects or rounds other units."""
    return _dtype_kind(values) in ("m", "M") and values.ndim == 1 and values.dtype.str[3:] in _PANDAS_UNITS


def _dtype_kind(values: Any) -> str:
    return str(getattr(getattr(values, "dtype", None), "kind", ""))


def _series(name: str, series: Any) -> Any:
    is_plain = str(series.dtype) in ("str", "string") or type(series.dtype).__module__.startswith("numpy")
    if is_plain and series.dtype.kind not in "mM":
        return check_column(name, series.tolist())
    return _arrow_series(name, series)


def _arrow_series(name: str, series: Any) -> Any:
    """Convert a Series to a normalized Arrow array."""
    if hasattr(series.dtype, "fill_value"):
        series = series.sparse.to_dense()
    kind = getattr(series.dtype, "kind", "O")
    is_numpy = type(series.dtype).__module__.startswith("numpy")
    if is_numpy and (kind in "Oc" or series.dtype.itemsize > 8):
        # Objects may have mixed types, and pyarrow changes some of them.
        return array_of(name, check_column(name, series.tolist()))
    with translate_errors(name):
        array = library().array(series, from_pandas=True)
    return normalized_array(name, array)


def _with_index(features: Mapping[str, Any]) -> dict[str, Any]:
    """Add the index of a dict of Series before its columns, as for a DataFrame."""
    pandas = sys.modules.get("pandas")
    series = {name: one for name, one in features.items() if pandas is not None and isinstance(one, pandas.Series)}
    if not series:
        return dict(features)
    first = next(iter(series))
    index = series[first].index
    for name, one in series.items():
        if not index.equals(one.index):
            pairs = enumerate(zip(index, one.index, strict=True))
            row = next((row for row, (here, there) in pairs if here is not there and here != there), 0)
            raise column_error(
                name,
                f"its index has {short_repr(one.index[row])}, "
                f"and that of {short_repr(first)} has {short_repr(index[row])}",
                row=row,
                hint="Join the Series by their labels, pandas.DataFrame(features), or drop the indexes: "
                "series.reset_index(drop=True).",
            )
    return {**_index_columns(index, list(features)), **features}


def _index_columns(index: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the named levels of an index, and check that unnamed levels have integers."""
    levels = [index.get_level_values(number) for number in range(index.nlevels)]
    found = [level for level in levels if level.name is not None]
    if any(level.name is None and getattr(level.dtype, "kind", "O") not in "iu" for level in levels):
        raise nameless()
    check_names([*(level.name for level in found), *names])
    return {level.name: level.to_series() for level in found}


def _check_lengths(lengths: Mapping[str, int]) -> None:
    if len(set(lengths.values())) > 1:
        texts = [f"{name!r} has {length}" for name, length in lengths.items()]
        more = f" and {len(texts) - 10} more" if len(texts) > 10 else ""
        raise FeaturesError(
            f"The columns have different numbers of rows: {', '.join(texts[:10])}{more}.",
            hint="Give the same number of values for each.",
        )
    if 0 in lengths.values():
        raise empty("The columns of the features have no rows.")


def _is_column(value: Any) -> bool:
    if isinstance(value, (str, bytes, bytearray)):
        return False
    if hasattr(value, "ndim"):
        return bool(value.ndim)
    return isinstance(value, Sequence) or (hasattr(value, "__len__") and hasattr(value, "__getitem__"))


def _wrong_type(features: Any) -> FeaturesError:
    kind = type(features).__name__
    names = getattr(getattr(features, "dtype", None), "names", None)
    hints = {
        "NoneType": "Did the function that made them return something?",
        "Series": "Make a table of one column: series.to_frame().",
        "ndarray": "Name its columns: {name: array[name] for name in array.dtype.names}."
        if names
        else "Name its columns: {'name': array[:, 0], ...}.",
        "generator": "Make a list of its records: list(features).",
        "bytes": "Write them to a file and give its path.",
        "LazyFrame": "Compute it first: frame.collect().",
    }
    general = "Give a dict of columns, a list of records, a DataFrame, an Arrow table, or a path."
    hint = hints.get(kind) or _conversion(features)
    return FeaturesError(f"Features of type {type_name(features)} are not a table.", hint=f"{hint} {general}".strip())


def _conversion(features: Any) -> str:
    """Return a hint for converting a table of a distributed library, such as Dask and PySpark, to one in memory."""
    for method in ("compute", "collect", "toPandas", "to_pandas", "to_arrow"):
        if callable(getattr(type(features), method, None)):
            return f"Make it a table in memory first: features.{method}()."
    return ""


def _list_names(names: Sequence[str]) -> str:
    text = ", ".join(repr(name) for name in names[:10])
    return f"{text} and {len(names) - 10} more" if len(names) > 10 else text
