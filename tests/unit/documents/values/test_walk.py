"""Facts that the encoded text doesn't show: nulls that were numbers, and rounded UTC offsets."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from callback_sdk.documents.values import encode

NOON = dt.datetime(1900, 1, 1, 12, tzinfo=dt.timezone.utc)
ROUNDED = dt.datetime(1900, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(seconds=10)))


class Level(float, enum.Enum):
    """Numbers with names."""

    UNKNOWN = math.nan
    LOW = 0.5


def records(**last: Any) -> list[dict[str, Any]]:
    """Give a table of records, the last of which is different."""
    return [*({"at": NOON, "x": None, "y": {"z": 0.5}} for _ in range(5000)), {"at": NOON, "x": None, **last}]


@pytest.mark.parametrize("last", [{"at": ROUNDED}, {"x": ROUNDED}, {"new": ROUNDED}, {"y": [{"z": ROUNDED}]}])
def test_one_rounded_offset_among_many_exact_ones_is_written_exactly(last: dict[str, Any]) -> None:
    """Whichever column it is in, and however deep."""
    text = encode(records(**last)).data.decode()
    assert text.count("T12:00:00+00:00:10") == 1
    assert text.count('T12:00:00+00:00"') == 5001 - ("at" in last)


@pytest.mark.parametrize("text", ["T12:00:00+00:00", "+00:00", "T", "null"])
def test_strings_that_look_like_offsets_or_nulls_hide_none(text: str) -> None:
    """They only make the search longer."""
    encoded = encode([text, *records(x=math.nan, y=ROUNDED), text])
    assert b"T12:00:00+00:00:10" in encoded.data
    assert encoded.nulls_written == 1


@pytest.mark.parametrize("last", [{"x": math.nan}, {"at": math.inf}, {"new": math.nan}, {"y": [{"z": math.nan}]}])
def test_one_nan_among_many_nulls_is_counted(last: dict[str, Any]) -> None:
    """Whichever column it is in, and however deep."""
    encoded = encode(records(**last))
    assert encoded.nulls_written == 1
    assert encoded.data.count(b"null") == 5001 + ("x" not in last)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (Level.UNKNOWN, 1),
        ([Level.UNKNOWN, Level.LOW], 1),
        ([None, math.nan], 1),
        ([pd.NaT, None, math.nan], 2),
        ([np.datetime64("NaT"), None, math.nan], 2),
        ([pd.NA, None, np.float32("nan")], 1),
        ([np.array([math.nan, 1.0]), None, math.nan], 2),
        ([np.array([None, math.nan], dtype=object), math.nan], 2),
        ([{"x": math.nan}] * 200, 200),
        ([{"x": None}] * 200 + [{"x": None, "y": math.nan}], 1),
        ([encode([math.nan, None]), math.nan], 2),
    ],
)
def test_each_number_that_became_null_is_counted_once(value: Any, count: int) -> None:
    """None is not counted."""
    encoded = encode(value)
    assert encoded.nulls_written == count
    json.loads(encoded.data)


def test_a_value_that_contains_itself_is_found_while_its_keys_are_checked() -> None:
    """The walk ends, although orjson has stopped at the key."""
    value: dict[Any, Any] = {1: 2}
    value["inner"] = [value] * 100
    with pytest.raises(ValueError, match="contains itself"):
        encode(value)
