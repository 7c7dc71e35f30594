"""Cursors: opaque texts for positions in lists."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson
from fastapi import HTTPException

MAX_LENGTH = 300
"""Maximum characters of a cursor."""

_MAX_NUMBER = 2.0**53
"""Numbers below are exact in JSON, and databases take them; ids and seconds since 1970 are smaller."""


def encode(*position: float | str) -> str:
    """Return the cursor of a position."""
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode().rstrip("=")


def decode(cursor: str, *kinds: type) -> tuple[Any, ...]:
    """Return the position of a cursor.

    Args:
        cursor: The cursor, from a client.
        kinds: The types of its members: float, int or str.

    Raises:
        HTTPException: 422 if it is not a cursor of such a list.
    """
    try:
        # Shortened, as the length of a query is not limited here.
        given = orjson.loads(base64.urlsafe_b64decode(cursor[:MAX_LENGTH] + "=" * (-len(cursor[:MAX_LENGTH]) % 4)))
        is_valid = isinstance(given, list) and len(given) == len(kinds)
        # PostgreSQL rejects text with a NUL, even as a parameter of a query.
        if is_valid and all(isinstance(one, (int, float, str)) and "\0" not in str(one) for one in given):
            position = tuple(kind(one) for kind, one in zip(kinds, given, strict=True))
            if all(isinstance(one, str) or abs(one) < _MAX_NUMBER for one in position):
                return position
    except (ValueError, OverflowError, binascii.Error):
        pass
    raise HTTPException(
        422, "Invalid cursor. Send 'next_cursor' of the previous page unchanged, or go back to the first page."
    )
