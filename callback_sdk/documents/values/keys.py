"""Keys of JSON objects: strings, and what has one obvious text."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

from callback_sdk.documents.decoding import MOST_DIGITS
from callback_sdk.documents.values.conversion import convert

_LARGEST = 10**MOST_DIGITS
_UNMISTAKABLE = (frozenset({str}), frozenset({int}), frozenset({str, UUID}))
"""Types of keys that are as different in JSON as they are in Python."""

_PLAIN = frozenset({str, int, bool, float, type(None), UUID})
"""Types whose texts orjson makes."""


def key_text(key: Any) -> str:
    """Return the text of a key.

    Args:
        key: What the key is in Python.

    Raises:
        TypeError: It has none; the text says what to do.
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
        TypeError: They are more than a reader in Python takes.
    """
    if not -_LARGEST < value < _LARGEST:
        raise TypeError(f"An integer may have at most {MOST_DIGITS} digits: make it a string.")
    return int.__repr__(value)


def are_distinct(keys: Mapping[Any, Any]) -> bool:
    """Return whether orjson can write the keys of a dict, and no two of them alike."""
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
        raise TypeError(f"The key {value} is not a number in JSON: replace it, by a string for one.")
    # The digits that it has as a value.
    return orjson.dumps(value).decode()


def _is_scalar(key: Any) -> bool:
    return type(key).__module__.partition(".")[0] in ("numpy", "pandas", "pyarrow") and not getattr(key, "ndim", 0)


def _advice(key: Any) -> str:
    if isinstance(key, tuple):
        return 'JSON has only strings as keys: join the parts of the tuple, "/".join(key) for one.'
    return "JSON has only strings as keys: make it one."
