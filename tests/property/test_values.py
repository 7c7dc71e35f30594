"""Delivered values equal the computed ones, or an error is raised before anything is sent."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from callback_sdk.documents.decoding import decode
from callback_sdk.documents.document import encode
from callback_sdk.errors import EncodingError


@define(frozen=True)
class Given:
    """A value, and the expected delivered value.

    Attributes:
        value: What an algorithm returns.
        arrives: What a receiver reads; `REJECTED` when it can't be sent.
        counted: Numbers in it that become null.
    """

    value: Any
    arrives: Any
    counted: int = 0


REJECTED = object()
"""Stands for what no receiver ever sees."""

BEYOND_ORJSON = 2**70


class Level(enum.Enum):
    """Members with values that are like others' keys."""

    ONE = 1
    TEXT = "text"


def same(value: Any) -> Given:
    return Given(value, value)


def number(value: Any) -> Given:
    exact = float(value)
    return Given(value, exact, 0) if math.isfinite(exact) else Given(value, None, 1)


def narrow(value: float) -> Given:
    found = np.float32(value)
    # Independent of the way of writing: what is read is that number, among those of 32 bits.
    return Given(found, float(str(found)), 0) if np.isfinite(found) else Given(found, None, 1)


def iso(moment: dt.datetime, nanoseconds: int = 0) -> str:
    text = moment.isoformat()
    if not nanoseconds:
        return text
    return f"{text if moment.microsecond else f'{text}.000000'}{nanoseconds:03}"


def nanoseconds(moment: dt.datetime, rest: int) -> np.datetime64:
    return np.datetime64(moment, "us").astype("M8[ns]") + np.timedelta64(rest, "ns")


offsets = st.builds(
    lambda seconds: dt.timezone(dt.timedelta(seconds=seconds)),
    st.integers(-24 * 3600 + 1, 24 * 3600 - 1) | st.floats(-30, 30),
)
zoned = st.datetimes(timezones=offsets | st.just(dt.timezone.utc) | st.none())
# What 64 bits of nanoseconds hold.
fine = st.tuples(
    st.datetimes(
        pd.Timestamp.min.to_pydatetime(warn=False) + dt.timedelta(1),
        pd.Timestamp.max.to_pydatetime(warn=False) - dt.timedelta(1),
    ),
    st.just(0) | st.integers(0, 999),
)
texts = st.text(st.characters(codec=None), max_size=8)

leaves = (
    st.none().map(same)
    | st.booleans().map(same)
    | st.integers().map(same)
    | st.integers(-(2**300), 2**300).map(same)
    | st.floats().map(number)
    | st.floats().map(lambda value: number(np.float64(value)))
    | st.floats(width=32).map(narrow)
    | texts.map(same)
    | texts.map(lambda text: Given(collections.UserString(text), text))
    | st.integers(-(2**63), 2**63 - 1).map(lambda value: Given(np.int64(value), value))
    | st.integers(0, 2**64 - 1).map(lambda value: Given(np.uint64(value), value))
    | st.booleans().map(lambda value: Given(np.bool_(value), value))
    | st.decimals().map(lambda value: Given(value, str(value)) if value.is_finite() else Given(value, None, 1))
    | zoned.map(lambda value: Given(value, value.isoformat()))
    | st.dates().map(lambda value: Given(value, value.isoformat()))
    | st.times().map(lambda value: Given(value, value.isoformat()))
    | st.uuids().map(lambda value: Given(value, str(value)))
    | fine.map(lambda parts: Given(nanoseconds(*parts), iso(*parts)))
    | fine.map(lambda parts: Given(pd.Timestamp(nanoseconds(*parts)), iso(*parts)))
    | st.sampled_from(Level).map(lambda member: Given(member, member.value))
    | st.sampled_from([Given(pd.NA, None), Given(pd.NaT, None, 1), Given(np.datetime64("NaT"), None, 1)])
)

unfit = st.sampled_from(
    [b"x", memoryview(b"x"), {1}, 1j, object(), dt.timedelta(1), np.timedelta64(1, "s"), np.longdouble(1), iter([])]
).map(lambda value: Given(value, REJECTED))


def columns(values: list[float | None]) -> st.SearchStrategy[Given]:
    """Give numbers, some missing, as each library has a column of them."""
    floats = [math.nan if value is None else value for value in values]
    ill = sum(not math.isfinite(value) for value in floats)
    missing = values.count(None)
    arrives = [value if value is not None and math.isfinite(value) else None for value in values]
    has_nulls = [pa.array(values, pa.float64()), pl.Series(values, dtype=pl.Float64), np.array(values, dtype=object)]
    has_nan = [
        np.array(floats),
        np.array(floats, dtype=">f8"),
        np.array([*zip(floats, floats, strict=True)], dtype=float).reshape(-1, 2)[:, 0],
        pd.Series(floats, dtype=float),
        pd.Index(floats, dtype=float),
        floats,
    ]
    masked = np.ma.array(floats, mask=[value is None for value in values])
    return st.sampled_from(
        [Given(value, arrives, ill - missing) for value in [*has_nulls, masked]]
        + [Given(value, arrives, ill) for value in has_nan]
    )


def moments(values: list[tuple[dt.datetime, int] | None]) -> st.SearchStrategy[Given]:
    """Give moments, some missing, as each library has a column of them."""
    array = np.array(
        [np.datetime64("NaT", "ns") if value is None else nanoseconds(*value) for value in values], "M8[ns]"
    )
    arrives = [None if value is None else iso(*value) for value in values]
    has_nulls = [pa.array(array), pl.Series(array)]
    return st.sampled_from(
        [Given(value, arrives) for value in has_nulls]
        + [Given(value, arrives, values.count(None)) for value in (array, pd.Series(array), array[::-1][::-1])]
    )


tables = st.lists(st.none() | st.floats(), max_size=5).flatmap(columns) | st.lists(
    st.none() | fine, max_size=5
).flatmap(moments)

keys = (
    texts.map(lambda text: (text, text))
    | st.integers().map(lambda key: (key, str(key)))
    | st.integers(-5, 5).map(lambda key: (np.int64(key), str(key)))
    | st.booleans().map(lambda key: (key, str(key).lower()))
    | st.just((None, "null"))
    | st.dates().map(lambda key: (key, key.isoformat()))
    | st.sampled_from(Level).map(lambda key: (key, str(key.value)))
    | st.sampled_from([("1", "1"), ("true", "true"), ("null", "null"), ("text", "text")])
    | st.sampled_from([(math.nan, REJECTED), ((1, 2), REJECTED), (b"x", REJECTED)])
)


def listed(make: Any, items: list[Given]) -> Given:
    arrives = [item.arrives for item in items]
    value = make([item.value for item in items])
    return Given(value, REJECTED if REJECTED in arrives else arrives, sum(item.counted for item in items))


def mapped(make: Any, members: dict[Any, tuple[Any, Given]]) -> Given:
    value = make({key: item.value for key, (_, item) in members.items()})
    names = [name for name, _ in members.values()]
    rejected = REJECTED in [*names, *(item.arrives for _, item in members.values())] or len({*names}) < len(names)
    arrives = REJECTED if rejected else {name: item.arrives for name, item in members.values()}
    return Given(value, arrives, sum(item.counted for _, item in members.values()))


def nested(inner: st.SearchStrategy[Given]) -> st.SearchStrategy[Given]:
    members = st.lists(st.tuples(keys, inner), max_size=4).map(
        # As in the dict, the first of two equal keys stays, and the last value.
        lambda items: {key: (dict(reversed([*((k, n) for (k, n), _ in items)]))[key], item) for (key, _), item in items}
    )
    return st.builds(
        listed, st.sampled_from([list, tuple, collections.deque, collections.UserList]), st.lists(inner, max_size=4)
    ) | st.builds(mapped, st.sampled_from([dict, collections.UserDict, collections.OrderedDict]), members)


@given(st.recursive(leaves | tables | leaves | unfit, nested, max_leaves=12), st.booleans())
def test_delivered_values_equal_the_computed_ones_or_an_error_is_raised(given: Given, slow: bool) -> None:
    """Types, signs and nesting are exact, and each number that became null is counted."""
    value = [given.value, BEYOND_ORJSON] if slow else [given.value]
    if given.arrives is REJECTED:
        with pytest.raises(EncodingError):
            encode(value)
        return
    encoded = encode(value)
    assert repr(decode(encoded.data)) == repr([given.arrives, BEYOND_ORJSON] if slow else [given.arrives])
    assert encoded.nulls_written == given.counted


@given(
    st.lists(st.lists(st.tuples(st.sampled_from("abc"), leaves), max_size=3).map(dict), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 99), leaves | unfit), max_size=3),
)
def test_values_in_tables_of_records_arrive_as_computed(
    patterns: list[dict[str, Given]], others: list[tuple[int, Given]]
) -> None:
    """Also where a hundred records repeat, and a few of them hold something that the others don't."""
    records = [dict(pattern) for pattern, _ in zip(itertools.cycle(patterns), range(100), strict=False)]
    for row, other in others:
        records[row]["b"] = records[row]["other"] = other
    members = [item for record in records for item in record.values()]
    value = [{key: item.value for key, item in record.items()} for record in records]
    if any(item.arrives is REJECTED for item in members):
        with pytest.raises(EncodingError):
            encode(value)
        return
    encoded = encode(value)
    assert repr(decode(encoded.data)) == repr(
        [{key: item.arrives for key, item in record.items()} for record in records]
    )
    assert encoded.nulls_written == sum(item.counted for item in members)


@given(st.lists(st.floats(width=32), max_size=5), st.lists(st.floats(width=16), max_size=5))
def test_narrow_numbers_are_read_back_as_the_same(singles: list[float], halves: list[float]) -> None:
    """In arrays and alone, the same digits, which identify them among numbers of their size."""
    for values, kind in ((singles, np.float32), (halves, np.float16)):
        array = np.array(values, dtype=kind)
        found = decode(encode(array).data)
        assert found == decode(encode([*array]).data) == decode(encode(pa.array(array)).data)
        exact = [None if number is None else kind(number) for number in found]
        assert exact == [number if np.isfinite(number) else None for number in array]


labels = st.lists(st.sampled_from(["a", "b", "1", 1, 2, 0.5, dt.date(2026, 1, 2)]), min_size=1, max_size=4)


@given(labels)
def test_an_index_is_never_lost(index: list[Any]) -> None:
    """It becomes a column of a table and the keys of a series, unless keys would collide."""
    table = pd.DataFrame({"x": range(len(index))}, index=pd.Index(index, dtype=object))
    texts = [label.isoformat() if isinstance(label, dt.date) else label for label in index]
    assert decode(encode(table).data) == {"index": texts, "x": [*range(len(index))]}
    written = [str(text) for text in texts]
    if len({*written}) == len(written):
        assert decode(encode(table["x"]).data) == dict(zip(written, range(len(index)), strict=True))
    else:
        with pytest.raises(EncodingError, match="reset_index"):
            encode(table["x"])


@given(st.recursive(leaves | tables | unfit, nested, max_leaves=8))
def test_parameters_are_exact_or_rejected(given: Given) -> None:
    """No value becomes null, because no receipt would count it."""
    if given.counted or given.arrives is REJECTED:
        with pytest.raises(EncodingError):
            encode(given.value, path="parameters", only_finite=True)
    else:
        assert repr(decode(encode(given.value, only_finite=True).data)) == repr(given.arrives)
