"""Parse JSON without loss: integers of any size are exact, and numbers beyond the range of a float are errors.

orjson parses most texts. It rounds integers beyond 64 bits to floats and rejects lone surrogates, so the standard
library parses such texts.
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

_SIMPLIFIED = bytes.maketrans(b"123456789-:[ \n\r\t", b"0" * 9 + b"," * 7)
"""Translation table that maps all digits to 0, and all characters that may precede a number to a comma."""

_LONG = b"0" * 19
"""Shortest run of digits that may exceed 64 bits: -2**63 has 19 digits."""

MAX_DIGITS = 4300
"""Maximum digits of an integer that every Python version converts from text."""


def decode(data: bytes) -> Any:
    """Parse JSON.

    Args:
        data: The JSON, as UTF-8.

    Raises:
        ValueError: The text is not JSON, is nested too deeply, or has a number that Python can't represent.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _decode_exactly(data)
    return _decode_exactly(data) if _has_long_integer(data) else value


def has_lone_surrogate(value: Any) -> bool:
    """Return whether a string or key in a parsed value contains a lone surrogate, which UTF-8 can't encode."""
    level = [value]
    while level:
        texts = [item for item in level if isinstance(item, str)]
        texts += [key for item in level if isinstance(item, dict) for key in item]
        if not all(map(_is_unicode, texts)):
            return True
        level = [child for item in level if isinstance(item, (dict, list)) for child in _children(item)]
    return False


def _has_long_integer(data: bytes) -> bool:
    # Digits after a decimal point don't matter: both parsers round them equally. A match in a string only costs time.
    return (data[:1].isdigit() and len(data) >= len(_LONG)) or b"," + _LONG in data.translate(_SIMPLIFIED)


def _decode_exactly(data: bytes) -> Any:
    try:
        # Decoded first, because `json.loads` also accepts bytes in UTF-16 and UTF-32.
        return json.loads(data.decode(), parse_constant=_reject_constant, parse_float=_finite, parse_int=_parse_integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _parse_integer(text: str) -> int:
    # Python has this limit too (CVE-2020-10735), but its error suggests raising the limit.
    if len(text) > MAX_DIGITS:
        raise ValueError(f"an integer in it has more than {MAX_DIGITS} digits")
    return int(text)


def _reject_constant(text: str) -> Any:
    raise ValueError(f"it has {text}, which JSON does not allow")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        # The error doesn't quote the number, because it may be a credential.
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
