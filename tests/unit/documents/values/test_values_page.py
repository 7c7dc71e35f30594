"""docs/values.md: each row of its tables is tested."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import json
import re
from collections import UserDict, deque, namedtuple
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest

from callback_sdk.documents.decoding import decode
from callback_sdk.documents.document import encode
from callback_sdk.errors import EncodingError

PAGE = (Path(__file__).parents[4] / "docs" / "values.md").read_text()
ROW = re.compile(r"\| `(?P<value>.+?)` \| `(?P<text>.+?)` \|(?: (?P<counted>\d+) \|)?")
BEYOND_ORJSON = 2**70

Point = namedtuple("Point", "x y")


class Color(enum.Enum):
    """An enum."""

    RED = "red"


@dataclasses.dataclass(slots=True)
class Site:
    """A dataclass with a private field."""

    x: float
    _cache: int = dataclasses.field(default=0, kw_only=True)


@dataclasses.dataclass
class Tower(Site):
    """A dataclass with fields in slots, in its instances and in its class."""

    height: int
    state: str = dataclasses.field(default="new", init=False)

    @functools.cached_property
    def volume(self) -> float:
        """Not a field, but kept in the instance once it was read."""
        return self.x * self.height


@attrs.define
class Load:
    """An attrs class."""

    newtons: float


class Sample(pydantic.BaseModel):
    """A pydantic model."""

    id: int
    cost: Decimal = Decimal("1.0")


loop: list[Any] = []
loop.append(loop)
deep: list[Any] = []
for _ in range(5000):
    deep = [deep]
LIBRARIES = {"np": np, "pd": pd, "pa": pa, "pl": pl, "dt": dt}
STANDARD = {"Decimal": Decimal, "UUID": UUID, "deque": deque, "UserDict": UserDict}
CLASSES = {kind.__name__: kind for kind in (Color, Point, Site, Tower, Load, Sample)}
NAMES = {**LIBRARIES, **STANDARD, **CLASSES, "loop": loop, "deep": deep}


def rows(*, rejected: bool) -> list[Any]:
    """Return the rows of the tables."""
    found = []
    kept, _, refused = PAGE.partition("## Rejected values")
    for line in (refused if rejected else kept).splitlines():
        if line.startswith("| `"):
            row = ROW.fullmatch(line)
            assert row, line
            found.append(pytest.param(*row.group("value", "text", "counted"), id=row["value"]))
    return found


def value_of(expression: str) -> Any:
    """Evaluate an expression of the page."""
    return eval(expression, NAMES)


@pytest.mark.parametrize(("expression", "text", "counted"), rows(rejected=False))
def test_values_are_encoded_as_on_the_page(expression: str, text: str, counted: str | None) -> None:
    """Alone, nested, and by the slow encoder, next to values that orjson can't write."""
    encoded = encode(value_of(expression))
    assert encoded.data.decode() == text
    assert encoded.nulls_written == int(counted or 0)
    slow = encode({"value": [value_of(expression)], "beyond": BEYOND_ORJSON})
    assert decode(slow.data) == {"value": [decode(text.encode())], "beyond": BEYOND_ORJSON}
    assert slow.nulls_written == int(counted or 0)


@pytest.mark.parametrize(("expression", "text", "counted"), rows(rejected=True))
def test_values_are_rejected_as_the_page_says(expression: str, text: str, counted: None) -> None:
    """The error names the place and the remedy."""
    with pytest.raises(EncodingError) as caught:
        encode({"a": [0, value_of(expression)]})
    assert caught.value.path.startswith("results.a[1]") or text == "nested too deeply"
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, {"b": float("nan")}]}, "parameters.a[1].b"),
        ({"a": np.array([[1, np.inf]])}, "parameters.a[0][1]"),
        ({"a": np.array(["2026-01-01", "NaT"], dtype="M8[D]")}, "parameters.a[1]"),
        ({"a": Decimal("NaN")}, "parameters.a"),
        ({"a": pd.DataFrame({"b": [0, np.nan]})}, "parameters.a.b[1]"),
        ({"a": pd.NaT}, "parameters.a"),
        ({"a": np.float32("nan")}, "parameters.a"),
    ],
    ids=str,
)
def test_numbers_that_json_lacks_are_named_where_none_may_be(value: Any, path: str) -> None:
    """Parameters have no receipt that would count them."""
    with pytest.raises(EncodingError, match="be represented in JSON") as caught:
        encode(value, path="parameters", only_finite=True)
    assert caught.value.path == path
    assert caught.value.args[0].startswith(path) if caught.value.args else str(caught.value).startswith(path)


def test_large_arrays_are_not_copied_into_the_document() -> None:
    """They are separate parts of the body, and the document is complete."""
    value = {"a": np.arange(100_000) / 7, "ÿ\xff": ["text"], "b": [np.arange(100_000, dtype="f4"), None]}
    encoded = encode(value)
    assert len(encoded.parts) == 5
    assert json.loads(encoded.data) == {
        "a": value["a"].tolist(),
        "ÿ\xff": ["text"],
        "b": [value["b"][0].tolist(), None],
    }


def test_ctrl_c_during_a_conversion_is_not_swallowed() -> None:
    """orjson converts exceptions of conversions to its own."""

    class Slow(UserDict[str, int]):
        def __iter__(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode({"a": Slow()})


def test_errors_of_other_people_s_code_become_ours() -> None:
    """A property that raises is an error with the path and its reason."""

    class Broken(UserDict[str, int]):
        def __iter__(self) -> Any:
            raise RuntimeError("no database")

    with pytest.raises(EncodingError, match=r"results.a.*Broken.*RuntimeError: no database"):
        encode({"a": Broken()})


def test_subclasses_are_encoded_like_their_base_class() -> None:
    """Including subclasses in other libraries, such as tables that derive from pandas."""

    class Table(pd.DataFrame):
        pass

    class Vector(np.ndarray):  # type: ignore[type-arg]
        pass

    class Text(str):
        def __str__(self) -> str:
            return "wrong"

    value = [Table({"a": [1]}), np.arange(2).view(Vector), Text("right"), {Text("key"): 1}]
    assert encode(value).data == b'[{"a":[1]},[0,1],"right",{"key":1}]'


def test_cached_properties_of_a_dataclass_are_not_encoded() -> None:
    """Other attributes in addition to its fields are."""
    read, unread = Tower(1.5, 2), Tower(1.5, 2)
    assert read.volume == 3
    read.note = unread.note = "beside"  # type: ignore[attr-defined]
    expected = {"x": 1.5, "height": 2, "state": "new", "note": "beside"}
    assert decode(encode([read]).data) == decode(encode([unread, BEYOND_ORJSON]).data)[:1] == [expected]


def test_an_unset_field_is_omitted() -> None:
    """It has no value."""

    @dataclasses.dataclass
    class Run:
        id: int
        ended: float = dataclasses.field(init=False)

    assert encode([Run(1)]).data == b'[{"id":1}]'


def test_secrets_of_pydantic_stay_secret() -> None:
    """They are rejected, and the error doesn't show them."""

    class Login(pydantic.BaseModel):
        password: pydantic.SecretStr

    with pytest.raises(EncodingError) as caught:
        encode(Login(password=pydantic.SecretStr("hush")))
    assert "hush" not in str(caught.value)
    assert caught.value.path == "results.password"
