"""Convert a single value of features to plain Python.

This module imports no library: a value of a library exists only if the library has already been imported.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from callback_sdk.documents.values.standard import ambiguity
from callback_sdk.documents.values.timestamps import plain_moment
from callback_sdk.features.column_errors import MisfitError

EXACT = frozenset({type(None), bool, int, float, str})
"""Types that need no conversion; most columns have only these."""

_MISSING = frozenset({"NAType", "NaTType"})
"""pandas' types of missing values."""

ONE_OF_BOTH = "Only one of them can be a feature: give one."


def plain_value(value: Any) -> Any:
    """Convert a value to plain Python; return None for a missing value."""
    kind = type(value)
    if kind.__name__ in _MISSING:
        return None
    if problem := ambiguity(kind):
        raise MisfitError(0, problem, ONE_OF_BOTH)
    if isinstance(value, (dt.datetime, dt.date, dt.timedelta)):
        return value
    for convert in (_plain_scalar, _unwrap_nested):
        plain = convert(value)
        if plain is not value:
            return plain if type(plain) in EXACT else plain_value(plain)
    if kind in (bytes, Decimal, dt.time, list, dict):
        return value
    raise MisfitError(0, f"a value of type {kind.__module__}.{kind.__qualname__} is not a feature", _advice(value))


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if _library(value) == "numpy" and not getattr(value, "ndim", 1):
        return _plain_numpy(value)
    if _library(value) == "pyarrow" and hasattr(value, "as_py"):
        return value.as_py()
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, Decimal) and not value.is_finite():
        return None if value.is_nan() else float(value)
    if isinstance(value, dt.time) and value.tzinfo is not None:
        raise MisfitError(0, "a time of day with a time zone", "Give a datetime, or a time without a zone.")
    return value


def _plain_numpy(value: Any) -> Any:
    if value.dtype.kind in "mM":
        try:
            return plain_moment(value[()])
        except ValueError as error:
            raise MisfitError(0, str(error), "Round it to microseconds, or give it as a number.") from None
    plain = value if value.dtype.kind == "V" else value.item()
    # `item()` doesn't convert long doubles and their complex counterparts.
    return value if type(plain).__module__ == "numpy" else plain


def _unwrap_nested(value: Any) -> Any:
    if isinstance(value, Mapping):
        return value if type(value) is dict else dict(value)
    if type(value) is list or isinstance(value, (str, bytes)):
        return value
    if _library(value) == "numpy" and getattr(value, "ndim", None):
        # `tolist()` converts datetimes with nanoseconds to integers, and records to tuples without names.
        return list(value) if value.dtype.kind in "mMV" else value.tolist()
    if isinstance(value, Sequence) or (
        _library(value) in ("pandas", "pyarrow", "polars") and hasattr(value, "__len__")
    ):
        return list(value)
    return value


def _library(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _advice(value: Any) -> str:
    kind = type(value).__name__
    hints = {
        "Period": "Make it a date: series.dt.to_timestamp(); or a string: series.astype(str).",
        "Interval": "Give its two ends as columns, or make it a string: series.astype(str).",
        "complex": "Give real and imaginary parts as two columns.",
        "longdouble": "Make it a float64.",
        "void": "Give the fields of the records as columns.",
        "set": "Make it a sorted list.",
    }
    return hints.get(kind, "Make it a number, a string, a date, or a list or dict of these.")
