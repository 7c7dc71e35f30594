"""Parse JSON without changing a number: integers of any size stay exact, and what Python can't hold is an error.

orjson does the work. It rounds integers beyond 64 bits to floats, and rejects lone surrogates; such texts are parsed by
the standard library.
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

_SIMPLIFIED = bytes.maketrans(b"123456789-:[ \n\r\t", b"0" * 9 + b"," * 7)
"""Makes all digits alike, and all that may stand before a number."""

_LONG = b"0" * 19
"""Digits that 64 bits may not hold: -2**63 has 19."""

MOST_DIGITS = 4300
"""Digits of an integer that every Python converts from text."""


def decode(data: bytes) -> Any:
    """Parse JSON.

    Args:
        data: The JSON, as UTF-8.

    Raises:
        ValueError: It is not JSON, is nested too deeply, or has a number that Python can't hold; the text says which.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _decode_exactly(data)
    return _decode_exactly(data) if _has_long_integer(data) else value


def has_lone_surrogate(value: Any) -> bool:
    """Return whether a text in a parsed value, or a key, is not valid Unicode; UTF-8 can't hold it."""
    level = [value]
    while level:
        texts = [item for item in level if isinstance(item, str)]
        texts += [key for item in level if isinstance(item, dict) for key in item]
        if not all(map(_is_unicode, texts)):
            return True
        level = [child for item in level if isinstance(item, (dict, list)) for child in _children(item)]
    return False


def _has_long_integer(data: bytes) -> bool:
    # The digits after a decimal point don't count: both parsers round them alike. One in a text costs some time only.
    return (data[:1].isdigit() and len(data) >= len(_LONG)) or b"," + _LONG in data.translate(_SIMPLIFIED)


def _decode_exactly(data: bytes) -> Any:
    try:
        # A str, as `json` would take bytes for UTF-16 or UTF-32 too.
        return json.loads(data.decode(), parse_constant=_reject_constant, parse_float=_finite, parse_int=_bounded)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _bounded(text: str) -> int:
    # Python's own limit (CVE-2020-10735), whose error advises to raise it.
    if len(text) > MOST_DIGITS:
        raise ValueError(f"an integer in it has more than {MOST_DIGITS} digits")
    return int(text)


def _reject_constant(text: str) -> Any:
    raise ValueError(f"it has {text}, which JSON does not allow")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        # Not which one: it may be a credential.
        raise ValueError("a number in it is beyond the range of a float")
    return value


def _children(item: dict[str, Any] | list[Any]) -> Any:
    return item.values() if isinstance(item, dict) else item


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
