"""Keys of JSON objects: strings, and values with an unambiguous text."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

from callback_sdk.documents.decoding import MAX_DIGITS
from callback_sdk.documents.values.conversion import convert

_LARGEST = 10**MAX_DIGITS
_UNMISTAKABLE = (frozenset({str}), frozenset({int}), frozenset({str, UUID}))
"""Sets of key types for which distinct keys never encode to the same string."""

_PLAIN = frozenset({str, int, bool, float, type(None), UUID})
"""Types of keys that orjson writes."""


def key_text(key: Any) -> str:
    """Return the text of a key.

    Args:
        key: The key in Python.

    Raises:
        TypeError: The key can't be a JSON key; the text has a hint.
    """
    if isinstance(key, Enum):
        return key_text(key.value)
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, bool):
        return "null" if key is None else str(key).lower()
    if isinstance(key, int):
        return integer_text(key)
    if isinstance(key, float):
        return _float_text(float.__float__(key))
    if isinstance(key, (dt.datetime, dt.date, dt.time, Decimal, UUID)) or _is_scalar(key):
        plainer = convert(key)
        if plainer is not None and type(plainer) is not type(key):
            return key_text(plainer)
    raise TypeError(_advice(key))


def integer_text(value: int) -> str:
    """Return the digits of an integer.

    Raises:
        TypeError: The integer has more digits than Python parses by default.
    """
    if not -_LARGEST < value < _LARGEST:
        raise TypeError(f"An integer may have at most {MAX_DIGITS} digits: make it a string.")
    return int.__repr__(value)


def are_distinct(keys: Mapping[Any, Any]) -> bool:
    """Return whether orjson can write all keys of a dict, with no two encoding to the same string."""
    kinds = frozenset(map(type, keys))
    if kinds in _UNMISTAKABLE:
        return True
    if not kinds <= _PLAIN or (float in kinds and not _are_finite(keys)):
        return False
    return len({key_text(key) for key in keys}) == len(keys)


def _are_finite(keys: Iterable[Any]) -> bool:
    return all(math.isfinite(key) for key in keys if type(key) is float)


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        raise TypeError(f"The key {value} is not a number in JSON: replace it, for example by a string.")
    # The same digits as in a value.
    return orjson.dumps(value).decode()


def _is_scalar(key: Any) -> bool:
    return type(key).__module__.partition(".")[0] in ("numpy", "pandas", "pyarrow") and not getattr(key, "ndim", 0)


def _advice(key: Any) -> str:
    if isinstance(key, tuple):
        return 'JSON has only strings as keys: join the parts of the tuple, for example with "/".join(key).'
    return "JSON has only strings as keys: make it one."
