"""All values that lie in a value, in batches: what has to be known of a document beside its text."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from enum import Enum
from itertools import chain, islice
from typing import Any
from uuid import UUID

from callback_sdk.documents.values.encoded import Encoded
from callback_sdk.documents.values.keys import are_distinct

_FINITE = (str, int, type(None), dt.date, dt.time, UUID)
_PLAIN = frozenset({*_FINITE, bool, dt.datetime})
"""Types that need no look; in most results most values are of one of these."""

_FINITE_PLAIN = (_PLAIN | {float}) - {dt.datetime}

_NO_TIME = dt.timedelta(0)
_MINUTE = dt.timedelta(minutes=1)

_BATCH = 4096
"""Values that are looked at together: enough for loops in C, few beside the document."""

_DEEPEST = 20_000
"""Batches that wait for another inside of them; only a value that contains itself has more."""


def count_nonfinite(value: Any, convert: Callable[[Any], Any]) -> int:
    """Count what JSON has no word for: NaN, infinities and NaT, which become null, however they are nested.

    Args:
        value: Something that JSON can hold.
        convert: Makes values of other libraries plainer, as `Conversion` does.
    """
    return sum(_count(kind, values) for kind, values in _batches(value, convert))


def has_plain_keys(value: Any, convert: Callable[[Any], Any]) -> bool:
    """Return whether orjson can write the keys of all dicts in a value, and none of a dict's keys alike."""
    try:
        dicts = (values for kind, values in _batches(value, convert) if issubclass(kind, dict))
        return all(map(are_distinct, chain.from_iterable(dicts)))
    except Exception:  # noqa: BLE001 - whatever is wrong, the slow way tells where
        return False


def has_seconds_as_offset(value: Any, convert: Callable[[Any], Any]) -> bool:
    """Return whether the UTC offset of a datetime in a value isn't a whole number of minutes."""
    return any(
        kind is dt.datetime and _have_seconds_as_offset(values)
        for kind, values in _batches(value, convert, _FINITE_PLAIN)
    )


def _have_seconds_as_offset(values: Sequence[dt.datetime]) -> bool:
    others = [value for value in values if value.tzinfo is not dt.timezone.utc]
    return any((value.utcoffset() or _NO_TIME) % _MINUTE for value in others)


def _batches(
    value: Any, convert: Callable[[Any], Any], plain: frozenset[type] = _PLAIN
) -> Iterator[tuple[type, Sequence[Any]]]:
    """Yield values in batches of one type each, so that what Python does itself is little for each value."""
    waiting = [iter([value])]
    while waiting:
        batch = list(islice(waiting[-1], _BATCH))
        if not batch:
            waiting.pop()
        for kind in {*map(type, batch)} - plain:
            same = [value for value in batch if type(value) is kind]
            yield kind, same
            waiting.append(iter(_parts(kind, same, convert)))
        if len(waiting) > _DEEPEST:
            raise RecursionError


def _count(kind: type, values: Sequence[Any]) -> int:
    # Whatever is added to NaN or to an infinity, the sum is not finite. NumPy would warn of sums that overflow.
    if kind is float and math.isfinite(sum(values)):
        return 0
    if issubclass(kind, float):
        return len(values) - sum(map(math.isfinite, values))
    if issubclass(kind, Decimal):
        return len(values) - sum(map(Decimal.is_finite, values))
    if kind is Encoded:
        return sum(value.nulls_written for value in values)
    if kind.__name__ == "NaTType":
        return len(values)
    if kind.__module__ == "numpy" and kind.__name__ in ("ndarray", "datetime64"):
        return sum(map(_count_in_array, values))
    return 0


def _count_in_array(array: Any) -> int:
    from callback_sdk.documents.values import numpy

    return numpy.count_nonfinite(array)


def _parts(kind: type, values: Iterable[Any], convert: Callable[[Any], Any]) -> Iterable[Any]:
    if kind is Encoded:
        return ()
    if issubclass(kind, Enum):
        return (value.value for value in values)
    if issubclass(kind, (*_FINITE, float, Decimal)):
        return ()
    # Of a class that derives from one of them, `convert` tells what is written.
    if kind is dict:
        return chain.from_iterable(map(dict.values, values))
    if kind in (list, tuple):
        return chain.from_iterable(values)
    if _is_array(kind):
        return chain.from_iterable(value.flat for value in values if value.dtype.kind == "O")
    return map(convert, values)


def _is_array(kind: type) -> bool:
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray"
