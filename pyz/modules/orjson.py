"""Stands in for orjson in the archive.

orjson is compiled for each platform and version of Python. What this can't do, `callback_sdk/documents` does with the
standard library, as for values that orjson itself can't read or write.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

JSONDecodeError = json.JSONDecodeError

OPT_NON_STR_KEYS = OPT_PASSTHROUGH_DATACLASS = OPT_PASSTHROUGH_DATETIME = OPT_PASSTHROUGH_SUBCLASS = 0
OPT_SERIALIZE_NUMPY = 0


class Fragment:
    """JSON to be written as it is.

    Args:
        contents: The JSON.
    """

    def __init__(self, contents: bytes) -> None:
        self.contents = contents


def loads(data: bytes) -> Any:
    """Raise the error of a text that only the standard library can read."""
    raise JSONDecodeError("not parsed here", "", 0)


def dumps(value: Any, default: Any = None, option: int = 0) -> bytes:
    """Return the JSON of a float or a time of day.

    Raises:
        TypeError: The value is another one, which only the standard library can write.
    """
    if type(value) is dt.time:
        return f'"{value.isoformat()}"'.encode()
    if type(value) is float:
        return float.__repr__(value).encode() if math.isfinite(value) else b"null"
    raise TypeError("not written here")
