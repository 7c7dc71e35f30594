"""All JSON values are decoded as they were encoded."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from decimal import Decimal
from functools import cached_property
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from callback_sdk.documents.document import encode
from callback_sdk.errors import EncodingError
from tests.property.strategies import json_values

with_nan = st.recursive(
    st.floats() | st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


class Limit(enum.Enum):
    """Numbers with names."""

    NONE = math.inf
    EXACT = Decimal("0.10")
    SOME = (1.5, math.nan)


@dataclasses.dataclass
class Life:
    """A dataclass with more in it than its fields."""

    years: Any
    _cache: float = math.nan

    @cached_property
    def months(self) -> Any:
        """Are kept in the instance."""
        return [self.years, math.inf]


@dataclasses.dataclass(slots=True)
class Load:
    """A dataclass with nothing in it but its fields."""

    newtons: Any
    _cache: float = math.nan


@attrs.define
class Damage:
    """An attrs class."""

    total: Any


def lives(years: Any, *, months: bool) -> Life:
    life = Life(years)
    _ = months and life.months
    return life


something = (
    st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text()
    | st.decimals()
    | st.uuids()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.sampled_from(Limit)
    | st.floats().map(np.float64)
    | st.floats(width=32).map(np.float32)
    | st.lists(st.floats()).map(np.array)
    | st.lists(st.floats()).map(lambda items: np.array(items, dtype=object))
    | st.lists(st.lists(st.floats(), min_size=2, max_size=2), min_size=1).map(lambda rows: np.array(rows).T)
    | st.lists(st.floats()).map(lambda items: pd.DataFrame({"a": items, "b": "null"}))
)
"""Values that are not nothing, though the numbers in them may become null."""

nothing = st.none() | st.just(np.array([1.0, None])) | st.just(pd.Series([1.0, None], dtype="Float64"))


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=5)
            | st.lists(inner, max_size=5).map(tuple)
            | st.dictionaries(st.text() | st.integers() | st.floats() | st.none(), inner, max_size=5)
            | st.builds(lives, inner, months=st.booleans())
            | inner.map(Load)
            | inner.map(Damage)
        ),
        max_leaves=20,
    )


def nulls(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (value is None) + sum(map(nulls, inner))


BEYOND_ORJSON = 2**70


@given(nested(something))
def test_every_null_is_counted_where_nothing_was_none(value: Any) -> None:
    """Whichever types they are of, numbers that become null are counted, each once."""
    try:
        encoded = encode(value)
    except EncodingError:
        # A key that is not finite, for one.
        reject()
    assert encoded.nulls_written == nulls(json.loads(encoded.data))


@given(nested(something | nothing))
def test_the_fast_and_the_slow_encoder_are_equal(value: Any) -> None:
    """An integer that orjson can't write changes neither the rest of the document nor the count of nulls."""
    try:
        fast = encode([value])
    except EncodingError:
        # A key that is not finite, for one: it is rejected either way.
        with pytest.raises(EncodingError):
            encode([value, BEYOND_ORJSON])
        return
    slow = encode([value, BEYOND_ORJSON])
    assert json.loads(slow.data) == [*json.loads(fast.data), BEYOND_ORJSON]
    assert slow.nulls_written == fast.nulls_written


@given(json_values)
def test_json_values_round_trip(value: Any) -> None:
    """Integers of any size, any text, any depth of nesting."""
    assert json.loads(encode(value).data) == value


@given(with_nan)
def test_nonfinite_numbers_are_counted_exactly(value: Any) -> None:
    """The count is right however they are nested, and also when there are real nulls."""

    def count(part: Any) -> int:
        if isinstance(part, float):
            return int(not math.isfinite(part))
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        return sum(map(count, inner))

    assert encode(value).nulls_written == count(value)
