"""Validate a column of features as Python values, and determine the kind of its values.

This implements docs/features.md for columns of any container: missing values are None, all others are of one kind, and
no value is changed.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate, chain
from typing import Any
from zoneinfo import ZoneInfo

from attrs import define, field

from callback_sdk.errors import FeaturesError
from callback_sdk.features.cells import EXACT, plain_value
from callback_sdk.features.column_errors import (
    DEFAULT_HINT,
    SHOWN,
    MisfitError,
    column_error,
    is_unicode,
    reason,
    short_repr,
    translate_errors,
)

_MAX_DEPTH = 20
"""Maximum nesting depth of lists and objects. pyarrow and Parquet process them recursively."""

_MAX_MEMBERS = 10_000
"""Maximum number of distinct keys of the objects in one column: each becomes a Parquet column."""

_EXACT_FLOAT = 2**53
"""A float represents each integer up to this one exactly."""

_DIGITS = 76
"""Maximum digits of decimal256, Arrow's widest decimal type."""

_NO_TIME = dt.timedelta(0)
_MINUTE = dt.timedelta(minutes=1)
_MICROSECOND = dt.timedelta(microseconds=1)


@define(frozen=True, kw_only=True)
class Kind:
    """The kind of a column's values.

    Attributes:
        name: `"null"` if all values are missing, `"bool"`, `"int"`, `"uint"`, `"float"`, `"str"`, `"bytes"`,
            `"datetime"`, `"date"`, `"time"`, `"timedelta"`, `"decimal"`, `"list"` or `"dict"`.
        is_json: Whether JSON represents the values without loss.
        nanoseconds: Whether a datetime or timedelta has fractions of a microsecond.
        zone: The first datetime, if the datetimes have a time zone.
        digits: Maximum digits of the decimals, before and after the decimal point.
        items: Kind of the lists' items.
        members: Kinds of the objects' members, by key.
    """

    name: str
    is_json: bool = False
    nanoseconds: bool = False
    zone: dt.datetime | None = None
    digits: tuple[int, int] = (0, 0)
    items: Kind | None = None
    members: Mapping[str, Kind] = field(factory=dict)


@define(frozen=True)
class Column:
    """A validated column.

    Attributes:
        values: The values; None for missing ones.
        kind: Kind of the values that aren't missing.
    """

    values: list[Any]
    kind: Kind


def check_column(name: str, values: Iterable[Any]) -> Column:
    """Validate a column and convert its values to plain values of one kind.

    Args:
        name: Name of the column for errors.
        values: The values, from any container.

    Raises:
        FeaturesError: A value is invalid; the error has its row.
    """
    try:
        with translate_errors(name):
            return _check(list(values), 0)
    except MisfitError as misfit:
        raise column_error(name, misfit.problem, row=misfit.row, hint=misfit.hint) from misfit.__cause__


def check_names(names: Sequence[Any]) -> None:
    """Check that the names of all columns are valid and unique.

    Raises:
        FeaturesError: A name is not a string, can't be encoded as UTF-8, or is repeated.
    """
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            raise FeaturesError(
                f"The column name {name!r:.{SHOWN}} is of type {type(name).__name__}.", hint=_rename(name)
            )
        if not is_unicode(name):
            raise FeaturesError(f"The column name {name!a:.{SHOWN}} is not valid Unicode.", hint="Rename the column.")
        if name in seen:
            raise FeaturesError(
                f"Two columns have the name {short_repr(name)}.", hint="Give each column a different name.", column=name
            )
        seen.add(name)


def complete(column: Column) -> list[Any]:
    """Return a column's values, with None for missing members of objects."""
    return _complete(column.values, column.kind)


def _rename(name: Any) -> str:
    if isinstance(name, tuple):
        return "Join the levels of the columns: table.columns = ['_'.join(map(str, n)) for n in table.columns]."
    return "Make all column names strings; in pandas: table.columns = table.columns.astype(str)."


def _check(values: list[Any], depth: int) -> Column:
    if set(map(type, values)) - EXACT:
        values = [value if type(value) in EXACT else _at(row, plain_value, value) for row, value in enumerate(values)]
    found = set(map(type, values)) - {type(None)}
    if float in found and not _is_finite(values) and any(map(operator.ne, values, values)):
        # Only NaN is not equal to itself.
        values = [None if value != value else value for value in values]
        found = set(map(type, values)) - {type(None)}
    if found == {int, float}:
        values, found = _as_floats(values), {float}
    kinds = {_kind_of(kind) for kind in found}
    if len(kinds) > 1:
        raise _mixed_kinds(values)
    name = kinds.pop() if kinds else "null"
    return _CHECKS.get(name, _as_they_are)(name, values, depth)


def _at(row: int, function: Callable[[Any], Any], value: Any) -> Any:
    try:
        return function(value)
    except MisfitError as misfit:
        raise misfit.at(row) from misfit.__cause__
    except MemoryError:
        raise
    except Exception as error:
        raise MisfitError(row, f"its value can't be read, {reason(error)}", DEFAULT_HINT) from error


def _kind_of(kind: type) -> str:
    # The order matters: bool is a subclass of int, and datetime of date.
    for name, base in _BASES.items():
        if issubclass(kind, base):
            return name
    return kind.__name__


_BASES: dict[str, type] = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "datetime": dt.datetime,
    "date": dt.date,
    "time": dt.time,
    "timedelta": dt.timedelta,
    "decimal": Decimal,
    "list": list,
    "dict": dict,
}


def _as_floats(values: list[Any]) -> list[Any]:
    """Convert numbers to floats if each integer can be represented exactly."""
    integers = [value for value in values if type(value) is int]
    if min(integers) >= -_EXACT_FLOAT and max(integers) <= _EXACT_FLOAT and None not in values:
        return list(map(float, values))
    for row, value in enumerate(values):
        if type(value) is int and not (-(2**63) <= value < 2**64 and int(float(value)) == value):
            raise MisfitError(
                row, f"{short_repr(value)} is among floats, but can't be represented exactly as a float", _LARGE
            )
    return [None if value is None else float(value) for value in values]


def _is_finite(values: list[Any]) -> bool:
    """Return whether all values are finite floats. May return False for finite ones whose sum overflows."""
    return set(map(type, values)) == {float} and math.isfinite(sum(values))


def _without_none(values: list[Any]) -> list[Any]:
    # Checks the types, because comparing each value takes five times as long.
    has_none = type(None) in set(map(type, values))
    return [value for value in values if value is not None] if has_none else values


_LARGE = "Make the column strings, decimals or floats."


_ALIKE = [{"int", "float"}]
"""Kinds that may be mixed in one column."""


def _mixed_kinds(values: list[Any]) -> MisfitError:
    first = next(value for value in values if value is not None)
    kind = _kind_of(type(first))
    like = {
        type(None),
        *(one for one in set(map(type, values)) if {kind, _kind_of(one)} in _ALIKE or _kind_of(one) == kind),
    }
    row, value = next((row, value) for row, value in enumerate(values) if type(value) not in like)
    return MisfitError(
        row,
        f"{short_repr(value)} is of type {type(value).__name__}, and the column began with {type(first).__name__}",
        "Give each column values of one type.",
    )


def _as_they_are(name: str, values: list[Any], _depth: int) -> Column:
    return Column(values, Kind(name=name, is_json=name in ("null", "bool")))


def _floats(name: str, values: list[Any], _depth: int) -> Column:
    finite = _is_finite(values) or all(map(math.isfinite, _without_none(values)))
    return Column(values, Kind(name=name, is_json=finite))


def _integers(_name: str, values: list[Any], _depth: int) -> Column:
    present = _without_none(values)
    low, high = min(present), max(present)
    if low >= -(2**63) and high < 2**63:
        return Column(values, Kind(name="int", is_json=True))
    if low >= 0 and high < 2**64:
        return Column(values, Kind(name="uint", is_json=True))
    first, last = (0, 2**64) if low >= 0 else (-(2**63), 2**63)
    row = next(row for row, value in enumerate(values) if value is not None and not first <= value < last)
    problem = f"{short_repr(values[row])} has more than 64 bits"
    raise MisfitError(row, problem if low >= 0 or values[row] < 0 else f"{problem} with its sign", _LARGE)


def _strings(name: str, values: list[Any], _depth: int) -> Column:
    if not all(map(str.isascii, _without_none(values))):
        for row, value in enumerate(values):
            if value is not None and not is_unicode(value):
                raise MisfitError(row, f"{value!a:.{SHOWN}} is not valid Unicode", "Replace the lone surrogates in it.")
    return Column(values, Kind(name=name, is_json=True))


def _moments(name: str, values: list[Any], _depth: int) -> Column:
    zoned = [row for row, value in enumerate(values) if value is not None and value.tzinfo is not None]
    local = [row for row, value in enumerate(values) if value is not None and value.tzinfo is None]
    if zoned and local:
        row = max(zoned[0], local[0])
        raise MisfitError(
            row, "some datetimes have a time zone and others have none", "Give all of them a zone, or none."
        )
    if zoned and not {type(values[row].tzinfo) for row in zoned} <= {ZoneInfo}:
        values = [_in_whole_minutes(value) for value in values]
    zone = values[zoned[0]] if zoned else None
    return Column(values, Kind(name=name, zone=zone, nanoseconds=_has_nanoseconds(values, "nanosecond")))


def _in_whole_minutes(value: dt.datetime | None) -> dt.datetime | None:
    """Convert a datetime to UTC if Arrow can't represent its offset: it rejects seconds and drops microseconds."""
    if value is None or value.tzinfo in (None, dt.timezone.utc):
        return value
    offset = value.utcoffset() or _NO_TIME
    # Arrow preserves the seconds of named time zones.
    inexact = offset % _MINUTE if isinstance(value.tzinfo, dt.timezone) else offset.microseconds
    return value.astimezone(dt.timezone.utc) if inexact else value


def _durations(name: str, values: list[Any], _depth: int) -> Column:
    for row, value in enumerate(values):
        if value is not None and abs(value // _MICROSECOND) >= 2**63:
            raise MisfitError(
                row, f"{short_repr(value)} has more microseconds than 64 bits hold", "Give it as a number."
            )
    return Column(values, Kind(name=name, nanoseconds=_has_nanoseconds(values, "nanoseconds")))


def _has_nanoseconds(values: list[Any], name: str) -> bool:
    # Only pandas' types have these attributes.
    return any(getattr(value, name, 0) for value in values)


def _decimals(name: str, values: list[Any], _depth: int) -> Column:
    whole = scale = 0
    for row, value in enumerate(values):
        if value is not None:
            _, digits, exponent = value.as_tuple()
            whole, scale = max(whole, len(digits) + int(exponent)), max(scale, -int(exponent))
            if whole + scale > _DIGITS:
                problem = f"with {short_repr(value)} the column needs more than {_DIGITS} digits"
                raise MisfitError(row, problem, "Round the decimals, or make them floats or strings.")
    return Column(values, Kind(name=name, digits=(max(whole, 0), scale)))


def _lists(name: str, values: list[Any], depth: int) -> Column:
    _check_depth(values, depth)
    ends = list(accumulate(0 if value is None else len(value) for value in values))
    try:
        inner = _check(list(chain.from_iterable(value for value in values if value is not None)), depth + 1)
    except MisfitError as misfit:
        raise misfit.at(bisect_right(ends, misfit.row)) from misfit.__cause__
    items = iter(inner.values)
    lists = [None if value is None else [next(items) for _ in value] for value in values]
    return Column(lists, Kind(name=name, is_json=inner.kind.is_json, items=inner.kind))


def _dicts(name: str, values: list[Any], depth: int) -> Column:
    _check_depth(values, depth)
    # By key, with present members only: rows times keys may be far more than the input.
    found: dict[str, tuple[list[int], list[Any]]] = {}
    for row, value in enumerate(values):
        for key, member in (value or {}).items():
            if not isinstance(key, str) or not is_unicode(key):
                raise MisfitError(
                    row, f"the key {short_repr(key)} of an object is not a string", "Make all keys strings."
                )
            rows, members = found.setdefault(str(key), ([], []))
            rows.append(row)
            members.append(member)
    if not 0 < len(found) <= _MAX_MEMBERS:
        row = next(row for row, value in enumerate(values) if value is not None)
        raise MisfitError(row, f"the objects of the column have {len(found)} different keys", "Give them 1 to 10000.")
    copies: list[Any] = [None if value is None else {} for value in values]
    kinds = {key: _members(key, rows, members, copies, depth) for key, (rows, members) in found.items()}
    return Column(copies, Kind(name=name, is_json=all(kind.is_json for kind in kinds.values()), members=kinds))


def _members(key: str, rows: list[int], members: list[Any], copies: list[Any], depth: int) -> Kind:
    try:
        column = _check(members, depth + 1)
    except MisfitError as misfit:
        raise misfit.at(rows[misfit.row]) from misfit.__cause__
    for row, value in zip(rows, column.values, strict=True):
        copies[row][key] = value
    return column.kind


def _check_depth(values: list[Any], depth: int) -> None:
    if depth == _MAX_DEPTH:
        row = next(row for row, value in enumerate(values) if value is not None)
        raise MisfitError(row, f"it is nested deeper than {_MAX_DEPTH} levels", "Send it flatter.")


_CHECKS: dict[str, Callable[[str, list[Any], int], Column]] = {
    "float": _floats,
    "int": _integers,
    "str": _strings,
    "datetime": _moments,
    "timedelta": _durations,
    "decimal": _decimals,
    "list": _lists,
    "dict": _dicts,
}


def _complete(values: list[Any], kind: Kind) -> list[Any]:
    if kind.items is not None and _has_dicts(kind.items):
        items = iter(_complete([item for value in values if value is not None for item in value], kind.items))
        return [None if value is None else [next(items) for _ in value] for value in values]
    if kind.name != "dict":
        return values
    members = {
        key: _complete([None if value is None else value.get(key) for value in values], one)
        for key, one in kind.members.items()
    }
    return [None if value is None else {key: members[key][row] for key in members} for row, value in enumerate(values)]


def _has_dicts(kind: Kind) -> bool:
    return kind.name == "dict" or (kind.items is not None and _has_dicts(kind.items))
