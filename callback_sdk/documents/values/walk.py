"""Traverse nested values in batches of one type, for checks that the encoded text alone doesn't allow."""

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

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.values.encoded import EncodedValue
from callback_sdk.documents.values.keys import are_distinct

_NONE = type(None)
_WITHOUT_PARTS = (str, int, _NONE, dt.date, dt.time, UUID, float, Decimal, EncodedValue)

_PLAIN = frozenset({str, int, bool, dt.date, dt.time, UUID})
"""Types that are skipped; most values of most results have one of these types."""

_NUMBERS = frozenset({float, Decimal, _NONE})
_MOMENTS = frozenset({dt.datetime})

_NO_TIME = dt.timedelta(0)
_MINUTE = dt.timedelta(minutes=1)

_BATCH = 4096
"""Values per batch: enough to loop in C, few compared with the document."""

_MIN_ROWS = 64
"""Minimum number of dicts that are read column by column."""

_MAX_WAITING = 4096
"""Maximum number of queued batches, each with references to up to `_BATCH` values; beyond it, inner values go first."""

_MAX_DEPTH = 255
"""Levels of nesting; orjson writes at most 254."""


@define
class Survey:
    """Counts NaN and checks datetimes of a value that orjson has encoded.

    The text gives upper bounds for the number of nulls and of UTC offsets of zero. The search ends when it has found a
    value for each of them; in tables of records, that is long before it has seen all numbers.

    Attributes:
        nulls: Nulls in the text that are unaccounted for.
        utc_offsets: UTC offsets of zero in the text that are unaccounted for.
        nonfinite: Number of NaN, infinities and NaT found.
        has_seconds: Whether the UTC offset of a datetime isn't a whole number of minutes.
    """

    nulls: int
    utc_offsets: int = 0
    nonfinite: int = 0
    has_seconds: bool = False

    def search(self, value: Any, convert: Callable[[Any], Any]) -> None:
        """Search a value until all nulls and UTC offsets in the text are accounted for.

        Args:
            value: A value that can be encoded as JSON.
            convert: Converts values of other libraries, as `Conversion` does.
        """
        if self._is_over():
            return
        plain = _PLAIN | (frozenset() if self.nulls else _NUMBERS) | (frozenset() if self.utc_offsets else _MOMENTS)
        walk = Walk(value, convert, plain)
        for kind, values in walk:
            left = self.nulls, self.utc_offsets
            self._survey_values(kind, values)
            if self._is_over():
                return
            if left != (self.nulls, self.utc_offsets):
                walk.prefer_current_key()

    def _is_over(self) -> bool:
        return self.nulls <= 0 and self.utc_offsets <= 0

    def _survey_values(self, kind: type, values: Sequence[Any]) -> None:
        if kind is dt.datetime:
            self._survey_moments(values)
        elif kind is _NONE:
            self.nulls -= len(values)
        else:
            found = _count_nonfinite(kind, values)
            self.nonfinite += found
            self.nulls -= found

    def _survey_moments(self, values: Sequence[dt.datetime]) -> None:
        others = [value.utcoffset() for value in values if value.tzinfo is not dt.timezone.utc]
        if any((offset or _NO_TIME) % _MINUTE for offset in others):
            self.has_seconds, self.utc_offsets = True, 0
        # A naive datetime is written without an offset.
        self.utc_offsets -= len(values) - len(others) + others.count(_NO_TIME)


def has_plain_keys(value: Any, convert: Callable[[Any], Any]) -> bool:
    """Return whether orjson can write the keys of all dicts in a value, with no two encoding to the same string."""
    try:
        walk = Walk(value, convert, _PLAIN | _NUMBERS | _MOMENTS, may_loop=True)
        dicts = (values for kind, values in walk if issubclass(kind, dict))
        return all(map(are_distinct, chain.from_iterable(dicts)))
    except uninterrupted(Exception):  # the slow path raises the error, with the path of the value
        return False


class Walk:
    """Iterates over a value and all nested values, in batches of one type, which need few operations in Python.

    The order is breadth-first. Dicts in one list are read column by column, because a column usually has one type.

    Args:
        value: The root value.
        convert: Converts values of other libraries.
        plain: Types to skip.
        may_loop: Whether the value may contain itself. The order is depth-first then, and nesting deeper than orjson
            allows raises RecursionError: a breadth-first traversal of a loop takes exponential time.
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
        """Yield batches: a type, and values of that type."""
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
        """Continue with the values that other dicts have under the key of the current batch."""
        key = self._current.key
        if key is None or key in self._preferred_keys:
            return
        self._preferred_keys.add(key)
        waiting, self._waiting = self._waiting, deque()
        for inner in waiting:
            self._wait(inner)

    def _by_type(self, batch: Sequence[Any]) -> Iterator[tuple[type, Sequence[Any]]]:
        depth = self._current.depth + 1
        if self._may_loop and depth > _MAX_DEPTH:
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
    """Queued nested values.

    Attributes:
        depth: Level of nesting.
        key: Their key in dicts; None for values of other containers.
        batches: The values. They are created as late as possible, because iterators cost time in garbage collections.
    """

    depth: int
    key: Any
    batches: Iterator[Sequence[Any]]


def _is_table(rows: Sequence[dict[Any, Any]]) -> bool:
    """Return whether to read dicts column by column: most have the keys of the first."""
    return len(rows) >= _MIN_ROWS and len(rows[0]) * len(rows) <= 2 * sum(map(len, rows))


def _columns(rows: Sequence[dict[Any, Any]]) -> Iterator[tuple[Any, Iterator[Sequence[Any]]]]:
    """Yield each key of the first dict with its values in all dicts; finally None, with the values of other keys."""
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
    """Return the nested values of values of one type."""
    # For subclasses of these containers, `convert` determines the output.
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
    """Count the values that become null, except None and values that `convert` converts to None."""
    # A sum with NaN or an infinity is never finite. NumPy is not used, because it warns about overflows.
    if kind is float and math.isfinite(sum(values)):
        return 0
    if issubclass(kind, Enum):
        return 0
    if issubclass(kind, float):
        return len(values) - sum(map(math.isfinite, values))
    if issubclass(kind, Decimal):
        return len(values) - sum(map(Decimal.is_finite, values))
    if kind is EncodedValue:
        return sum(value.nulls_written for value in values)
    if kind.__name__ == "NaTType":
        return len(values)
    return sum(map(_count_in_array, values)) if _is_array(kind) or _is_counted(kind) else 0


def _count_in_array(array: Any) -> int:
    with no_fork:
        from callback_sdk.documents.values import numpy

    return numpy.count_nonfinite(array)


def _is_array(kind: type) -> bool:
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray"


def _is_counted(kind: type) -> bool:
    """Return whether values of a type are counted directly, not after `convert`."""
    return kind.__name__ == "NaTType" or (kind.__module__ == "numpy" and kind.__name__ == "datetime64")
