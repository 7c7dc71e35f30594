"""callback_sdk.service.algorithms.column_types"""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from callback_sdk.service.algorithms import column_types

NUMBER = {"type": "number", "description": "°C"}


@pytest.mark.parametrize(
    ("schema", "column", "proven"),
    [
        (NUMBER, [1, 2.5], True),
        (NUMBER, [], True),
        (NUMBER, [1, None], False),
        (NUMBER, [1, True], False),
        (NUMBER, ["1"], False),
        ({"type": "integer"}, [1.0], False),
        ({"type": ["number", "null"]}, [1, None], True),
        ({"anyOf": [NUMBER, {"type": "null"}], "default": None}, [1, None], True),
        ({"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]}, [1], False),
        ({"type": "string", "format": "date"}, [date(2026, 1, 1)], True),
        ({"type": "number", "minimum": 0}, [1], False),
        ({"enum": [1]}, [1], False),
        ({}, [1, "x", None], True),
        (True, [1], False),
        (NUMBER, pa.chunked_array([[1, 2]]), True),
        (NUMBER, pa.chunked_array([[1, None]]), False),
        ({"type": ["integer", "null"]}, pa.chunked_array([[1, None]]), True),
        ({"type": "integer"}, pa.chunked_array([[1.0]]), False),
        ({"type": "boolean"}, pa.chunked_array([[True]]), True),
        ({"type": "string"}, pa.chunked_array([["x"]]), True),
        ({"type": "string"}, pa.chunked_array([[b"x"]]), False),
    ],
)
def test_types_prove_what_they_can(schema: Any, column: Any, proven: bool) -> None:
    """A schema with further rules, or a value of another type, has to be looked at."""
    record = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    assert column_types.fit(record, {"a": column, "b": ["other"]}) is proven


def test_rules_of_whole_records_are_not_proven() -> None:
    """Nor is a missing column."""
    assert column_types.fit({"properties": {"a": NUMBER}}, {})
    assert not column_types.fit({"properties": {"a": NUMBER}, "required": ["a"]}, {})
    assert not column_types.fit({"properties": {"a": NUMBER}, "additionalProperties": False}, {"a": [1]})
