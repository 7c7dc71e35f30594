"""All values inside a value, in batches of one type: the checks that the text of a document alone doesn't allow."""

from __future__ import annotations

import datetime as dt
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from enum import Enum
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from attrs import define

from callback_sdk.documents.values.encoded import Encoded
from callback_sdk.documents.values.keys import are_distinct

_NONE = type(None)
_WITHOUT_PARTS = (str, int, _NONE, dt.date, dt.time, UUID, float, Decimal, Encoded)

_PLAIN = frozenset({str, int, bool, dt.date, dt.time, UUID})
"""Types that need no look; in most results most values are of one of these."""

_NUMBERS = frozenset({float, Decimal, _NONE})
_MOMENTS = frozenset({dt.datetime})

_NO_TIME = dt.timedelta(0)
_MINUTE = dt.timedelta(minutes=1)

_BATCH = 4096
"""Values that are looked at together: enough for loops in C, few compared with the document."""

_MIN_ROWS = 64
"""Dicts from which on they are read column by column."""

_MAX_WAITING = 4096
"""Batches that wait, each with references to up to `_BATCH` values; beyond that, inner values come first."""

_DEEPEST = 255
"""Levels of nesting; orjson writes 254 at most."""


@define
class Survey:
    """Counts of NaN and checks of datetimes, for the text that orjson has made of a value.

    The text says how often `null` and a UTC offset of zero occur at most. The search ends when it has found a value for
    each of them, which in tables of records is long before it has seen all numbers.

    Attributes:
        nulls: Nulls in the text that are not explained yet.
        utc_offsets: UTC offsets of zero in the text that are not explained yet.
        nonfinite: NaN, infinite numbers and NaT found.
        has_seconds: Whether the UTC offset of a datetime isn't a whole number of minutes.
    """

    nulls: int
    utc_offsets: int = 0
    nonfinite: int = 0
    has_seconds: bool = False

    def search(self, value: Any, convert: Callable[[Any], Any]) -> None:
        """Look through a value until everything in the text is explained.

        Args:
            value: Something that JSON can hold.
            convert: Makes values of other libraries plainer, as `Conversion` does.
        """
        if self._is_over():
            return
        plain = _PLAIN | (frozenset() if self.nulls else _NUMBERS) | (frozenset() if self.utc_offsets else _MOMENTS)
        walk = Walk(value, convert, plain)
        for kind, values in walk:
            left = self.nulls, self.utc_offsets
            self._look_at(kind, values)
            if self._is_over():
                return
            if left != (self.nulls, self.utc_offsets):
                walk.prefer_current_key()

    def _is_over(self) -> bool:
        return self.nulls <= 0 and self.utc_offsets <= 0

    def _look_at(self, kind: type, values: Sequence[Any]) -> None:
        if kind is dt.datetime:
            self._look_at_moments(values)
        elif kind is _NONE:
            self.nulls -= len(values)
        else:
            found = _count_nonfinite(kind, values)
            self.nonfinite += found
            self.nulls -= found

    def _look_at_moments(self, values: Sequence[dt.datetime]) -> None:
        others = [value.utcoffset() for value in values if value.tzinfo is not dt.timezone.utc]
        if any((offset or _NO_TIME) % _MINUTE for offset in others):
            self.has_seconds, self.utc_offsets = True, 0
        # One without an offset is written without one.
        self.utc_offsets -= len(values) - len(others) + others.count(_NO_TIME)


def has_plain_keys(value: Any, convert: Callable[[Any], Any]) -> bool:
    """Return whether orjson can write the keys of all dicts in a value, and no two keys of a dict alike."""
    try:
        walk = Walk(value, convert, _PLAIN | _NUMBERS | _MOMENTS, may_loop=True)
        dicts = (values for kind, values in walk if issubclass(kind, dict))
        return all(map(are_distinct, chain.from_iterable(dicts)))
    except Exception:  # noqa: BLE001 - whatever is wrong, the slow way tells where
        return False


class Walk:
    """Iterates over a value and all that lies in it, in batches of one type, so that the work in Python is small.

    Outer values come first. Dicts that lie in one list are read column by column, as a column mostly has one type.

    Args:
        value: Where it begins.
        convert: Makes values of other libraries plainer.
        plain: Types that are left out.
        may_loop: Whether the value may contain itself. Inner values then come first, and a value that is nested more
            deeply than orjson allows raises RecursionError: breadth-first, a loop takes exponentially long.
    """

    def __init__(
        self, value: Any, convert: Callable[[Any], Any], plain: frozenset[type], *, may_loop: bool = False
    ) -> None:
        self._may_loop = may_loop
        self._convert = convert
        self._plain = plain
        self._waiting: deque[_Inner] = deque([_Inner(0, None, iter([[value]]))])
        self._preferred: deque[_Inner] = deque()
        self._preferred_keys: set[Any] = set()
        self._current: _Inner = self._waiting[0]

    def __iter__(self) -> Iterator[tuple[type, Sequence[Any]]]:
        """Yield each type, and values of it."""
        while self._preferred or self._waiting:
            queue = self._preferred or self._waiting
            end = 0 if len(queue) < _MAX_WAITING and not self._may_loop else -1
            self._current = queue[end]
            batch = next(self._current.batches, None)
            if batch is None:
                del queue[end]
            else:
                yield from self._by_type(batch)

    def prefer_current_key(self) -> None:
        """Go on with what other dicts have under the key that the current batch is from."""
        key = self._current.key
        if key is None or key in self._preferred_keys:
            return
        self._preferred_keys.add(key)
        waiting, self._waiting = self._waiting, deque()
        for inner in waiting:
            self._wait(inner)

    def _by_type(self, batch: Sequence[Any]) -> Iterator[tuple[type, Sequence[Any]]]:
        depth = self._current.depth + 1
        if self._may_loop and depth > _DEEPEST:
            raise RecursionError
        kinds = {*map(type, batch)}
        for kind in kinds - self._plain:
            same: Sequence[Any] = batch if len(kinds) == 1 else [value for value in batch if type(value) is kind]
            yield kind, same
            if kind is dict and _is_table(same):
                for key, column in _columns(same):
                    self._wait(_Inner(depth, key, column))
            elif issubclass(kind, Enum) or not issubclass(kind, _WITHOUT_PARTS):
                self._wait(_Inner(depth, None, _chunks(_parts(kind, same, self._convert))))

    def _wait(self, inner: _Inner) -> None:
        (self._preferred if inner.key in self._preferred_keys else self._waiting).append(inner)


class _Inner(NamedTuple):
    """Values inside of others, which wait to be looked at.

    Attributes:
        depth: How many values they lie in.
        key: The key that dicts have them under; None for those of other containers.
        batches: The values. They are read as late as possible, as iterators cost time in each garbage collection.
    """

    depth: int
    key: Any
    batches: Iterator[Sequence[Any]]


def _is_table(rows: Sequence[dict[Any, Any]]) -> bool:
    """Return whether reading dicts column by column is worth it: most have the keys of the first."""
    return len(rows) >= _MIN_ROWS and len(rows[0]) * len(rows) <= 2 * sum(map(len, rows))


def _columns(rows: Sequence[dict[Any, Any]]) -> Iterator[tuple[Any, Iterator[Sequence[Any]]]]:
    """Yield each key of the first of some dicts with the values under it, and those under other keys at last."""
    keys = rows[0].keys()
    for key in keys:
        yield key, _column(rows, key)
    yield None, _chunks(row[key] for row in rows if row.keys() != keys for key in row.keys() - keys)


def _column(rows: Sequence[dict[Any, Any]], key: Any) -> Iterator[Sequence[Any]]:
    try:
        column = [*map(itemgetter(key), rows)]
    except KeyError:
        column = [row[key] for row in rows if key in row]
    yield column


def _parts(kind: type, values: Sequence[Any], convert: Callable[[Any], Any]) -> Iterable[Any]:
    """Return what lies in values of one type."""
    # Of a class that derives from one of them, `convert` tells what is written.
    if kind is dict:
        return chain.from_iterable(map(dict.values, values))
    if kind in (list, tuple):
        return chain.from_iterable(values)
    if issubclass(kind, Enum):
        return (value.value for value in values)
    if _is_array(kind):
        return chain.from_iterable(value.flat for value in values if value.dtype.kind == "O")
    return () if _is_counted(kind) else map(convert, values)


def _chunks(values: Iterable[Any]) -> Iterator[Sequence[Any]]:
    values = iter(values)
    while batch := list(islice(values, _BATCH)):
        yield batch


def _count_nonfinite(kind: type, values: Sequence[Any]) -> int:
    """Count the values that become null, but for None itself and what `convert` makes None."""
    # Whatever is added to NaN or to an infinity, the sum is not finite. NumPy would warn of sums that overflow.
    if kind is float and math.isfinite(sum(values)):
        return 0
    if issubclass(kind, Enum):
        return 0
    if issubclass(kind, float):
        return len(values) - sum(map(math.isfinite, values))
    if issubclass(kind, Decimal):
        return len(values) - sum(map(Decimal.is_finite, values))
    if kind is Encoded:
        return sum(value.nulls_written for value in values)
    if kind.__name__ == "NaTType":
        return len(values)
    return sum(map(_count_in_array, values)) if _is_array(kind) or _is_counted(kind) else 0


def _count_in_array(array: Any) -> int:
    from callback_sdk.documents.values import numpy

    return numpy.count_nonfinite(array)


def _is_array(kind: type) -> bool:
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray"


def _is_counted(kind: type) -> bool:
    """Return whether values of a type are counted themselves, and not what `convert` makes of them."""
    return kind.__name__ == "NaTType" or (kind.__module__ == "numpy" and kind.__name__ == "datetime64")
