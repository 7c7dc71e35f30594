"""How many numbers of a value JSON has no word for: NaN and infinities, which become null."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import Enum
from itertools import chain, islice
from typing import Any
from uuid import UUID

from callback_sdk.jsonable import dataclass_members, jsonable

_FINITE = (str, int, type(None), dt.date, dt.time, UUID)
_PLAIN = frozenset({*_FINITE, bool, dt.datetime})
"""Types that need no look; in most results most values are of one of these."""

_BATCH = 4096
"""Values that are looked at together: enough for loops in C, few beside the document."""


def count_nonfinite(value: Any) -> int:
    """Count the NaN and infinite numbers in a value, however they are nested.

    Values are taken in batches, and those of one type in a batch at once, so that what Python does itself is little for
    each.

    Args:
        value: Something that JSON can hold.
    """
    count = 0
    waiting = [iter([value])]
    while waiting:
        batch = list(islice(waiting[-1], _BATCH))
        if not batch:
            waiting.pop()
        for kind in {*map(type, batch)} - _PLAIN:
            same = [value for value in batch if type(value) is kind]
            count += _count(kind, same)
            waiting.append(iter(_parts(kind, same)))
    return count


def _count(kind: type, values: Sequence[Any]) -> int:
    if issubclass(kind, float):
        # Whatever is added to NaN or to an infinity, the sum is not finite.
        return 0 if math.isfinite(sum(values)) else len(values) - sum(map(math.isfinite, values))
    if issubclass(kind, Decimal):
        return len(values) - sum(map(Decimal.is_finite, values))
    if _is_array(kind):
        return sum(map(_count_in_array, values))
    return 0


def _parts(kind: type, values: Iterable[Any]) -> Iterable[Any]:
    if issubclass(kind, Enum):
        return (value.value for value in values)
    if issubclass(kind, (*_FINITE, float, Decimal)):
        return ()
    if issubclass(kind, dict):
        return chain.from_iterable(map(dict.values, values))
    if issubclass(kind, (list, tuple)):
        return chain.from_iterable(values)
    if dataclasses.is_dataclass(kind):
        return chain.from_iterable(dataclass_members(value).values() for value in values)
    if _is_array(kind):
        return chain.from_iterable(value.flat for value in values if value.dtype.kind == "O")
    return map(jsonable, values)


def _is_array(kind: type) -> bool:
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray"


def _count_in_array(array: Any) -> int:
    if array.dtype.kind != "f":
        return 0
    import numpy as np

    return int(array.size - np.count_nonzero(np.isfinite(array)))
