"""callback_sdk.service.algorithms.examples"""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import pytest

from callback_sdk.service.algorithms import examples
from callback_sdk.service.algorithms.schema_validation import Schema

LOW = [{}, {"minimum": 0}, {"minimum": -3}, {"exclusiveMinimum": 0}, {"minimum": 100}]
HIGH = [{}, {"maximum": 1000}, {"exclusiveMaximum": 1003}, {"maximum": 101}]
STEP = [{}, {"multipleOf": 5}]


def example(schema: dict[str, Any], row: int = 0) -> Any:
    return examples.members({"properties": {"a": schema}}, row)["a"]


@pytest.mark.parametrize(
    "bounds", [low | high | step for low, high, step in itertools.product(LOW, HIGH, STEP)], ids=repr
)
@pytest.mark.parametrize("kind", ["number", "integer"])
def test_numbers_are_within_their_bounds(kind: str, bounds: dict[str, Any]) -> None:
    """All rows are valid."""
    schema = {"type": kind, **bounds}
    for row in range(examples.ROWS):
        assert Schema({"properties": {"a": schema}}).problems({"a": example(schema, row)}, 1) == []


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        ({"type": "number"}, [1.0, 2.0, 3.0]),
        ({"type": "integer"}, [1, 2, 3]),
        ({"type": "number", "minimum": 0, "maximum": 1}, [0.25, 0.5, 0.75]),
        ({"type": "integer", "minimum": 0, "maximum": 1}, [0, 0, 1]),
        ({"type": "number", "minimum": -90, "maximum": 60}, [-52.0, -15.0, 22.0]),
        ({"type": "integer", "minimum": 0}, [1, 2, 3]),
        ({"type": "integer", "exclusiveMaximum": 0}, [-1, -2, -3]),
        ({"type": "boolean"}, [True, False, True]),
        ({"type": "string"}, ["text"] * 3),
        ({"type": "string", "maxLength": 2}, ["te"] * 3),
        ({"type": "string", "minLength": 6}, ["textxx"] * 3),
        ({"type": "string", "format": "date"}, ["2026-01-31"] * 3),
        ({"enum": ["a", "b"]}, ["a", "b", "a"]),
        ({"type": "number", "default": 7}, [7, 7, 7]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [[1, 2], [2, 3], [3, 4]]),
        ({"type": "array"}, [[], [], []]),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 0}, [[], [], []]),
        ({"type": ["number", "null"]}, [1.0, 2.0, 3.0]),
        ({}, [None, None, None]),
    ],
    ids=repr,
)
def test_rows_differ(schema: dict[str, Any], values: list[Any]) -> None:
    """A sample of one row, or of zeros, says little about an algorithm."""
    assert examples.columns({"properties": {"a": schema}}) == {"a": values}


def test_a_schema_may_refer_to_itself() -> None:
    """The sample ends at some depth."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    assert examples.members({"properties": {"a": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}})["a"]["next"]


def test_a_sample_is_bounded() -> None:
    """Whatever a schema demands."""
    schema = {"type": "array", "items": {"type": "string", "minLength": 10**9}, "minItems": 10**9}
    assert len(str(example(schema))) < 100_000


def test_arrow_columns_have_rows_too() -> None:
    """Of their types."""
    schema = pa.schema([("n", pa.int64()), ("x", pa.float64()), ("t", pa.string()), ("b", pa.bool_())])
    assert examples.arrow_columns(schema) == {
        "n": [1, 2, 3],
        "x": [1.0, 2.0, 3.0],
        "t": ["text"] * 3,
        "b": [True, False, True],
    }
