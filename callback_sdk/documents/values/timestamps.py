"""Convert NumPy datetimes and durations with Python integers.

NumPy converts between units, and compares values of different units, modulo 2**64: it converts 213,503,983 days to
15:58:10.
"""

from __future__ import annotations

import datetime as dt
import importlib
from typing import Any

_NANOSECONDS = {
    "W": 604_800 * 10**9,
    "D": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "ns": 1,
}
"""Nanoseconds per unit."""

_FINER = {"ps": 10**3, "fs": 10**6, "as": 10**9}
"""Units per nanosecond."""

_MONTHS = {"Y": 12, "M": 1}

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - NumPy's have no zone
_DAY = _NANOSECONDS["D"]
_FIRST = (dt.date(1, 1, 1) - _EPOCH.date()).days * _DAY
_LAST = ((dt.date(9999, 12, 31) - _EPOCH.date()).days + 1) * _DAY - 1


def has_year(number: int, unit: str) -> bool:
    """Return whether a datetime lies in the years 1 to 9999.

    Args:
        number: Units since 1970.
        unit: A NumPy time unit.
    """
    if unit in _MONTHS:
        return 1 <= 1970 + number * _MONTHS[unit] // 12 <= 9999
    return unit in _FINER or _FIRST <= number * _NANOSECONDS[unit] <= _LAST


def plain_moment(value: Any) -> Any:
    """Convert a NumPy scalar to a Python datetime or timedelta, with nanoseconds to one of pandas, and NaT to None.

    Args:
        value: A datetime64 or a timedelta64.

    Raises:
        ValueError: Neither Python nor pandas can represent the value exactly.
    """
    import numpy as np

    if np.isnat(value):
        return None
    unit, count = np.datetime_data(value.dtype)
    number, is_moment = int(value.astype(np.int64)) * count, value.dtype.kind == "M"
    if is_moment and not has_year(number, unit):
        raise ValueError(f"{number} {unit} after 1970 isn't in the years 1 to 9999")
    if is_moment and unit in _MONTHS:
        years, months = divmod(number * _MONTHS[unit], 12)
        return dt.datetime(1970 + years, months + 1, 1)  # noqa: DTZ001 - NumPy's have no zone
    return _from_nanoseconds(_nanoseconds(number, unit), is_moment=is_moment)


def _nanoseconds(number: int, unit: str) -> int:
    if unit in _NANOSECONDS:
        return number * _NANOSECONDS[unit]
    if unit not in _FINER:
        raise ValueError(f"{number} {unit} have no fixed length")
    whole, rest = divmod(number, _FINER[unit])
    if rest:
        raise ValueError(f"{number} {unit} have parts of a nanosecond")
    return whole


def _from_nanoseconds(number: int, *, is_moment: bool) -> Any:
    microseconds, rest = divmod(number, 1000)
    try:
        if not rest:
            duration = dt.timedelta(microseconds=microseconds)
            return _EPOCH + duration if is_moment else duration
        # Imported by name, so that writing results doesn't depend statically on the table libraries.
        pd = importlib.import_module("pandas")
        return pd.Timestamp(number, unit="ns") if is_moment else pd.Timedelta(number, unit="ns")
    except (ImportError, OverflowError, ValueError):
        raise ValueError(f"neither Python nor pandas holds {number} ns exactly") from None
