"""Convert pandas values for JSON. pandas is imported locally: if one of its values exists, it is already imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from callback_sdk.documents.values import arrow
from callback_sdk.documents.values.columns import columns

_RESET = "Make the index columns: reset_index()."
_UNSUPPORTED = {
    "Timedelta": "Give a duration as a number of seconds: value.total_seconds().",
    "Period": "Give a period as a string, or as its start: value.to_timestamp().",
    "Interval": "Give an interval as a string, or as its two ends: value.left, value.right.",
}


def converter(kind: type) -> Callable[[Any], Any] | None:
    """Return the converter of a pandas type to plain Python values; None for other types."""
    import pandas as pd

    simple: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
        (pd.DataFrame, _frame),
        (pd.Series, _series),
        (pd.Index, _index),
        (pd.api.extensions.ExtensionArray, _column),
        ((type(pd.NaT), type(pd.NA)), _nothing),
        (pd.Timestamp, _timestamp),
        ((pd.Timedelta, pd.Period, pd.Interval), _reject),
    )
    return next((make for base, make in simple if issubclass(kind, base)), None)


def _nothing(_value: Any) -> None:
    return None


def _timestamp(value: Any) -> str:
    if not 1 <= value.year <= 9999:
        raise TypeError("Datetimes are written for the years 1 to 9999: give others as numbers.")
    text: str = value.isoformat()
    return text


def _reject(value: Any) -> Any:
    raise TypeError(
        next(advice for name, advice in _UNSUPPORTED.items() if name in {base.__name__ for base in type(value).__mro__})
    )


def _frame(value: Any) -> dict[str, Any]:
    names, parts = _index_columns(value.index, value.columns)
    names += list(value.columns)
    parts += [value.iloc[:, number].array for number in range(value.shape[1])]
    return columns(names, parts)


def _series(value: Any) -> Any:
    import pandas as pd

    if _is_default(value.index):
        return _column(value.array)
    if isinstance(value.index, pd.MultiIndex):
        names, parts = _index_columns(value.index, [value.name])
        return columns([*names, 0 if value.name is None else value.name], [*parts, value.array])
    if value.index.hasnans:
        raise TypeError(f"Its index has a missing value, which can't be a key. {_RESET}")
    return columns(list(value.index), list(_column(value.array)), what="index's values", hint=_RESET)


def _index(value: Any) -> Any:
    import pandas as pd

    return value.tolist() if isinstance(value, pd.MultiIndex) else _column(value.array)


def _is_default(index: Any) -> bool:
    """Return whether an index has only row numbers."""
    import pandas as pd

    if index.name is not None or isinstance(index, pd.MultiIndex):
        return False
    if isinstance(index, pd.RangeIndex):
        return len(index) == 0 or (index.start == 0 and index.step == 1)
    if index.dtype.kind not in "iu" or not _is_numpy(index.dtype):
        # An empty index of another type has no information either.
        return len(index) == 0
    import numpy as np

    return bool(np.array_equal(index.to_numpy(), np.arange(len(index))))


def _index_columns(index: Any, others: Any) -> tuple[list[Any], list[Any]]:
    """Return names and values of an index as columns, named as `reset_index` names them."""
    import pandas as pd

    if _is_default(index):
        return [], []
    if not isinstance(index, pd.MultiIndex):
        unnamed = "level_0" if "index" in set(others) else "index"
        return [unnamed if index.name is None else index.name], [index.array]
    names = [f"level_{number}" if name is None else name for number, name in enumerate(index.names)]
    return names, [index.get_level_values(number).array for number in range(index.nlevels)]


def _column(array: Any) -> Any:
    """Return the values of a column: a NumPy array if possible, otherwise a list with None for missing values."""
    import pandas as pd

    dtype = array.dtype
    if isinstance(array, pd.arrays.NumpyExtensionArray) or _is_numpy(dtype):
        return array.to_numpy()
    if isinstance(dtype, pd.ArrowDtype):
        return arrow.column(array.__arrow_array__())
    if isinstance(dtype, pd.DatetimeTZDtype):
        return list(array)
    if isinstance(dtype, pd.SparseDtype):
        return array.to_dense()
    return _replace_missing(array)


def _replace_missing(array: Any) -> Any:
    missing = array.isna()
    numbers = getattr(array.dtype, "numpy_dtype", None)
    if numbers is not None:
        array = array.to_numpy(dtype=numbers, na_value=numbers.type(0))
    if not missing.any():
        return array if numbers is not None else list(array)
    return [None if gone else value for value, gone in zip(array, missing, strict=True)]


def _is_numpy(dtype: Any) -> bool:
    import numpy as np

    return isinstance(dtype, np.dtype)
