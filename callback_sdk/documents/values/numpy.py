"""Convert NumPy values for JSON. NumPy is imported locally: if one of its values exists, it is already imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from callback_sdk.documents.values.timestamps import has_year

_DURATION = "Give a duration as a number of seconds: value / numpy.timedelta64(1, 's')."
_LONG = "A long double has more digits than a number in JSON is read with: value.astype(float)."
_UNSUPPORTED = {
    "c": "Give the real and the imaginary part as two numbers: value.real, value.imag.",
    "m": _DURATION,
    "S": "Decode bytes first, value.astype(str), or encode them as base64.",
    "V": "Give the fields of a structured array as a dict: {name: value[name] for name in value.dtype.names}.",
}
"""Hints for unsupported dtypes by their `kind`."""

_FINE = ("ps", "fs", "as")
"""Units finer than nanoseconds."""

_FRACTION = 6
"""Fractional digits of Python's own datetimes."""


def converter(kind: type) -> Callable[[Any], Any] | None:
    """Return the converter of a NumPy type to plain Python values; None for other types."""
    import numpy as np

    if issubclass(kind, np.ndarray):
        return _array
    if not issubclass(kind, np.generic):
        return None
    simple: tuple[tuple[type, Callable[[Any], Any]], ...] = (
        (np.float64, float),
        (np.floating, _float),
        (np.bool_, bool),
        # Before integers, because it is a subclass of them.
        (np.timedelta64, _reject),
        (np.integer, int),
        (np.datetime64, _moment),
        (np.str_, str),
    )
    return next((make for base, make in simple if issubclass(kind, base)), _reject)


def native(value: Any) -> Any | None:
    """Return an array in a form that orjson writes correctly; None if there is none."""
    kind = value.dtype.kind
    if kind == "M" and value.ndim and value.dtype.isnative and _is_plain_moments(value):
        return value if value.flags.c_contiguous else value.copy(order="C")
    if kind not in "fiub" or value.dtype.itemsize > 8 or not value.ndim:
        return None
    if value.dtype.isnative and value.flags.c_contiguous:
        return value
    return value.astype(value.dtype.newbyteorder("="), order="C")


def dump(value: Any) -> bytes:
    """Encode an array from `native` as JSON."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def count_nonfinite(value: Any) -> int:
    """Count the NaN, infinities and NaT in an array."""
    import numpy as np

    if value.dtype.kind == "M":
        return int(np.count_nonzero(np.isnat(value)))
    if value.dtype.kind != "f":
        return 0
    return int(value.size - np.count_nonzero(np.isfinite(value)))


def first_nonfinite(value: Any) -> tuple[int, ...]:
    """Return the indexes of the first NaN, infinity or NaT in an array with at least one."""
    import numpy as np

    ill = np.isnat(value) if value.dtype.kind == "M" else ~np.isfinite(value)
    return tuple(int(index) for index in np.argwhere(ill)[0])


def _array(value: Any) -> Any:
    import numpy as np

    kind = value.dtype.kind
    if kind in _UNSUPPORTED or _is_long(value):
        return _reject(value)
    if isinstance(value, np.ma.MaskedArray):
        return _convert_masked(value)
    if not value.ndim:
        return value[()]
    if kind == "M":
        return _moments(value)
    # Subclasses such as memmap and matrix are converted to plain arrays.
    return value.tolist() if kind in "OUT" else np.asarray(value)


def _convert_masked(value: Any) -> Any:
    import numpy as np

    # Item by item, because `astype(object)` converts datetimes with nanoseconds to integers.
    flat = np.fromiter(value.data.flat, dtype=object, count=value.size)
    flat[np.ma.getmaskarray(value).ravel()] = None
    return flat.reshape(value.shape).tolist()


def _float(value: Any) -> float:
    import numpy as np

    # The same digits as in arrays: 0.1 instead of 0.10000000149011612.
    return _reject(value) if _is_long(value) else float(str(value.astype(np.float32)))


def _is_long(value: Any) -> bool:
    return bool(value.dtype.kind == "f" and value.dtype.itemsize > 8)


def _reject(value: Any) -> Any:
    raise TypeError(
        _LONG if _is_long(value) else _UNSUPPORTED.get(value.dtype.kind, "Turn it into numbers or strings first.")
    )


def _moment(value: Any) -> str | None:
    import numpy as np

    text: str | None = _moments(np.asarray(value))
    return text


def _moments(value: Any) -> Any:
    """Return datetimes as ISO 8601 strings with all their digits; NaT as None."""
    import numpy as np

    _check_years(value)
    unit, _ = np.datetime_data(value.dtype)
    fine = unit if unit in ("ns", *_FINE) else "us"
    texts = np.datetime_as_string(value.astype(f"M8[{fine}]"))
    flat = np.fromiter(map(_shorten, texts.ravel().tolist()), dtype=object, count=value.size)
    return flat.reshape(value.shape).tolist()


def _shorten(text: str) -> str | None:
    if text == "NaT":
        return None
    seconds, _, fraction = text.partition(".")
    while len(fraction) > _FRACTION and fraction.endswith("000"):
        fraction = fraction[:-3]
    return f"{seconds}.{fraction}" if fraction.strip("0") else seconds


def _check_years(value: Any) -> None:
    import numpy as np

    unit, count = np.datetime_data(value.dtype)
    numbers = value[~np.isnat(value)].astype(np.int64)
    # In Python integers, because NumPy multiplies and converts modulo 2**64.
    ends = [int(end) * count for end in (numbers.min(), numbers.max())] if numbers.size else []
    if not all(has_year(end, unit) for end in ends):
        raise TypeError("Datetimes are written for the years 1 to 9999: give others as numbers.")
    if unit in ("ns", *_FINE) and not all(-(2**63) < end < 2**63 for end in ends):
        raise TypeError(f"Datetimes in units of {count} {unit} have more digits than 64 bits: give them as numbers.")


def _is_plain_moments(value: Any) -> bool:
    """Return whether orjson writes datetimes correctly: it writes NaT as 1970 or 1677, and truncates nanoseconds."""
    import numpy as np

    unit, count = np.datetime_data(value.dtype)
    if unit not in ("s", "ms", "us", "ns") or count != 1 or not value.size or np.isnat(value).any():
        return False
    _check_years(value)
    return unit != "ns" or not (value.view(np.int64) % 1000).any()
