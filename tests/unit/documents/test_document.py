"""The result document, from anything that people return."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import uuid
from collections import namedtuple
from contextlib import ExitStack
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from callback_sdk import JobResult
from callback_sdk.documents.document import document, encode, encode_results
from callback_sdk.errors import EncodingError

Point = namedtuple("Point", "x y")


class Color(enum.Enum):
    """An enumeration."""

    RED = "red"


class Words(str):
    """A subclass of str."""


@dataclasses.dataclass
class Life:
    """A dataclass with a private field."""

    years: float
    _cache: int = 0


@attrs.define
class Damage:
    """An attrs class."""

    total: float


def made(result: JobResult, param: Any = None) -> bytes:
    with ExitStack() as stack:
        body, _ = encode_results(result.results, stack)
        return document(result, param or {}, body).read()


def test_members_are_in_the_order_of_the_wire_format() -> None:
    """Five members, in this order, and UTF-8 as it is."""
    result = JobResult(job_id="jöb", success=True, results={"predictions": [1]})
    assert made(result, {"run": 7}).decode() == (
        '{"job_id":"jöb","status":"Finished","callback_param":{"run":7},"success":true,"results":{"predictions":[1]}}'
    )


def test_failed_job_has_null_and_its_error() -> None:
    """results is null, and the error follows the five members."""
    result = JobResult(job_id="1", success=False, error='no "way"', results={"left": "over"})
    assert list(json.loads(made(result)).items()) == [
        ("job_id", "1"),
        ("status", "Finished"),
        ("callback_param", {}),
        ("success", False),
        ("results", None),
        ("error", 'no "way"'),
    ]


def test_canceled_job_says_so() -> None:
    """The status is Canceled."""
    assert json.loads(made(JobResult(job_id="1", success=False, status="Canceled")))["status"] == "Canceled"


@pytest.mark.parametrize("wrong", [{"job_id": 7}, {"status": "Done"}, {"success": "yes"}])
def test_result_with_wrong_members_is_refused(wrong: dict[str, Any]) -> None:
    """A mistake is seen where the result is made, not where it is sent."""
    with pytest.raises((TypeError, ValueError)):
        JobResult(**{"job_id": "1", "success": True, **wrong})


@pytest.mark.parametrize(
    ("value", "json_text"),
    [
        (np.arange(6).reshape(2, 3), "[[0,1,2],[3,4,5]]"),
        (np.arange(6).reshape(2, 3).T, "[[0,3],[1,4],[2,5]]"),
        (np.float32(1.5), "1.5"),
        (np.array(["a", "b"]), '["a","b"]'),
        (np.array([1, None], dtype=object), "[1,null]"),
        (np.datetime64("2020-01-02"), '"2020-01-02T00:00:00"'),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), '{"a":[1,2],"b":["x","y"]}'),
        (pd.Series([1.5, 2.0]), "[1.5,2.0]"),
        (pd.Series([1, None], dtype="Int64"), "[1,null]"),
        (pd.Index([1, 2]), "[1,2]"),
        (pd.Categorical(["a", "b"]), '["a","b"]'),
        (pd.Timestamp("2020-01-02T03:04:05"), '"2020-01-02T03:04:05"'),
        (pd.NaT, "null"),
        (pa.table({"a": [1, None], "b": ["x", "y"]}), '{"a":[1,null],"b":["x","y"]}'),
        (pa.scalar(3), "3"),
        (dt.datetime(2020, 1, 2, tzinfo=dt.timezone.utc), '"2020-01-02T00:00:00+00:00"'),
        (dt.date(2020, 1, 2), '"2020-01-02"'),
        (decimal.Decimal("0.10"), '"0.10"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Color.RED, '"red"'),
        (Words("w"), '"w"'),
        (Point(1, 2), "[1,2]"),
        (Life(7.5), '{"years":7.5}'),
        (Damage(0.5), '{"total":0.5}'),
        (2**70, "1180591620717411303424"),
        ([2**70, Words("w"), Point(1, Life(2.0))], '[1180591620717411303424,"w",[1,{"years":2.0}]]'),
        ("\ud800", '"\\ud800"'),
        ({1: "a", None: "b", 2.5: "c"}, '{"1":"a","null":"b","2.5":"c"}'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_the_usual_libraries_encode(value: Any, json_text: str) -> None:
    """NumPy, pandas, Arrow and the standard library's values have one obvious form."""
    assert encode(value).data.decode() == json_text


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (math.nan, 1),
        ([math.inf, -math.inf, 1.0, None], 2),
        (np.array([1.0, np.nan, np.inf]), 2),
        (np.float64("nan"), 1),
        (pd.DataFrame({"a": [1.0, np.nan], "b": [np.nan, np.nan]}), 3),
        (decimal.Decimal("Infinity"), 1),
        (Life(math.nan), 1),
        (Life(math.nan, _cache=math.nan), 1),
        ([{"x": math.nan}, None] * 10_000, 10_000),
        ([1.7e308, 1.7e308, None], 0),
        ({"text": "null", "deep": [{"x": math.nan}, 2**70]}, 1),
        ({"text": "null"}, 0),
    ],
    ids=repr,
)
def test_nan_and_infinities_become_null_and_are_counted(value: Any, count: int) -> None:
    """The count is in the receipt."""
    encoded = encode(value)
    assert encoded.nulls_written == count
    json.loads(encoded.data, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("value", "path", "advice"),
    [
        ({"predictions": [0, 1, 2, {"when": object()}]}, "results.predictions[3].when", "numbers, strings"),
        ({"a b": b"x"}, 'results["a b"]', "base64"),
        ({"s": {1, 2}}, "results.s", "sorted list"),
        ([dt.timedelta(1)], "results[0]", "total_seconds"),
        ({"c": np.array([1j])}, "results.c", "complex128.*value.real"),
        # NumPy converts between units modulo 64 bits.
        ({"d": np.datetime64(2**62, "W")}, "results.d", "years 1 to 9999"),
        ({"d": np.array([2**62], "M8[7ns]")}, "results.d", "give them as numbers"),
        ({"d": np.array([2**62], "M8[7s]")}, "results.d", "years 1 to 9999"),
        ({(1, 2): 1}, "results", "keys"),
        ({"t": pd.DataFrame([[1, 2]], columns=["a", "a"])}, "results.t", "Rename one"),
        ({"t": pd.DataFrame({"a": [1], "b": [object()]})}, "results.t.b[0]", "numbers, strings"),
        ({"x": math.nan, "f": lambda: 0}, "results.f", "call it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_outside_json_are_named_by_their_path(value: Any, path: str, advice: str) -> None:
    """The error has the path of the value and a hint."""
    with pytest.raises(EncodingError, match=advice) as caught:
        encode(value)
    assert caught.value.path == path
    assert str(caught.value).startswith(path)


class _Items(dict[Any, Any]):
    def items(self) -> Any:
        raise RuntimeError("items")


class _Iterated(list[Any]):
    def __iter__(self) -> Any:
        raise RuntimeError("iter")


@dataclasses.dataclass
class _Named(dict[str, Any]):
    name: str = "x"


@dataclasses.dataclass
class _NamedList(list[Any]):
    name: str = "x"


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (_Iterated([1]), "RuntimeError"),
        (_Items({(1, 2): 1}), "keys"),
        (_Named(), "_Named has fields and is a dict"),
        (_NamedList(), "_NamedList has fields and is a list"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_class_that_derives_from_dict_or_list_loses_nothing(value: Any, advice: str) -> None:
    """Where JSON would lose its fields, or its methods raise, that is an error with the path."""
    for around in ({"a": [value]}, {"a": [value, 2**70]}):
        with pytest.raises(EncodingError, match=advice) as caught:
            encode(around)
        assert caught.value.path == "results.a[0]"


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        (dt.timedelta(seconds=29), "2020-01-01T00:00:00+00:00:29"),
        (-dt.timedelta(seconds=29), "2020-01-01T00:00:00-00:00:29"),
        (dt.timedelta(microseconds=5), "2020-01-01T00:00:00+00:00:00.000005"),
        (dt.timedelta(0), "2020-01-01T00:00:00+00:00"),
    ],
)
def test_offsets_below_a_minute_are_kept(offset: dt.timedelta, text: str) -> None:
    """Wherever the datetime lies; orjson alone rounds them away."""
    moment = dt.datetime(2020, 1, 1, tzinfo=dt.timezone(offset))
    utc = dt.datetime(2021, 1, 1, tzinfo=dt.timezone.utc)
    assert json.loads(encode([utc, {"a": (moment,)}]).data) == ["2021-01-01T00:00:00+00:00", {"a": [text]}]


def test_value_that_contains_itself_is_refused() -> None:
    """A loop ends in an error, not in a crash."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EncodingError, match="contains itself"):
        encode({"loop": loop})
