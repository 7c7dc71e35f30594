"""Example values for schemas: valid values of different kinds, which people replace by theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

ROWS = 3
"""Number of rows of example features: one row hides that a column has several values."""

_MAX_DEPTH = 8
"""Maximum depth of an example."""

_MAX_LENGTH = 200
"""Maximum characters or items that a schema can demand of an example."""

_TEXT = "text"

_LOWER, _UPPER = {"minimum": 0, "exclusiveMinimum": 1}, {"maximum": 0, "exclusiveMaximum": 1}
"""Names of bounds, and whether they exclude their value."""

_BY_FORMAT = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "name@example.org",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
"""Texts by the formats of JSON Schema, section 7.3."""


def columns(schema: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return columns whose rows are examples for the schema of one record."""
    rows = [members(schema, row) for row in range(ROWS)]
    return {name: [row[name] for row in rows] for name in rows[0]}


def members(schema: Mapping[str, Any], row: int = 0) -> dict[str, Any]:
    """Return an example for the schema of an object.

    Args:
        schema: The schema.
        row: Number of the example, from 0: different ones have different values.
    """
    return _members(schema, schema.get("$defs", {}), row, _MAX_DEPTH)


def arrow_columns(schema: pyarrow.Schema) -> dict[str, list[Any]]:
    """Return columns that are an example for an Arrow schema."""
    return {one.name: [_arrow_value(one.type, row) for row in range(ROWS)] for one in schema}


def _members(schema: Mapping[str, Any], shared: Mapping[str, Any], row: int, depth: int) -> dict[str, Any]:
    return {name: _value(one, shared, row, depth) for name, one in schema.get("properties", {}).items()}


def _value(schema: Any, shared: Mapping[str, Any], row: int, depth: int) -> Any:
    """Return an example value for a schema: a value that the schema names, or one of its type.

    Args:
        schema: The schema.
        shared: Schemas to which it may refer as `#/$defs/NAME`.
        row: Number of the example.
        depth: Maximum number of further references and levels: a schema may refer to itself.
    """
    if not isinstance(schema, Mapping) or not depth:
        return None
    if (named := _named_values(schema)) is not None:
        return named[row % len(named)]
    for inner in [shared.get(str(schema["$ref"]).rpartition("/")[2])] if "$ref" in schema else schema.get("anyOf", ()):
        return _value(inner, shared, row, depth - 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return _members(schema, shared, row, depth - 1)
    if kind == "array":
        return _items(schema, shared, row, depth - 1)
    if kind in ("number", "integer"):
        return _number(schema, row, is_whole=kind == "integer")
    if kind == "string":
        return _text(schema)
    return row % 2 == 0 if kind == "boolean" else None


def _named_values(schema: Mapping[str, Any]) -> Sequence[Any] | None:
    """Return the values that a schema names; None if it names none."""
    single = next(([schema[name]] for name in ("default", "const") if name in schema), None)
    return single or next((schema[name] for name in ("examples", "enum") if schema.get(name)), None)


def _items(schema: Mapping[str, Any], shared: Mapping[str, Any], row: int, depth: int) -> list[Any]:
    if "items" not in schema and not schema.get("minItems"):
        return []
    count = min(max(1, schema.get("minItems", 1)), schema.get("maxItems", _MAX_LENGTH), _MAX_LENGTH)
    return [_value(schema.get("items"), shared, row + number, depth) for number in range(count)]


def _number(schema: Mapping[str, Any], row: int, *, is_whole: bool) -> float:
    """Return a number within the bounds of a schema."""
    step = schema.get("multipleOf", 1)
    low = max((_first(schema[name], step, gap) for name, gap in _LOWER.items() if name in schema), default=None)
    high = min((-_first(-schema[name], step, gap) for name, gap in _UPPER.items() if name in schema), default=None)
    if low is not None and high is not None:
        value = _between(schema, low, high, row, step, is_whole=is_whole)
    elif high is not None:
        value = high - row * step
    else:
        # The lowest value is often a special case, such as 0.
        value = (0 if low is None else low) + (row + 1) * step
    return int(value) if is_whole else float(value)


def _first(bound: float, step: float, is_excluded: int) -> float:
    """Return the lowest multiple of a step from a bound on."""
    value = -(-bound // step) * step
    return value + step if is_excluded and value == bound else value


def _between(schema: Mapping[str, Any], low: float, high: float, row: int, step: float, *, is_whole: bool) -> float:
    """Return a number between two bounds: a multiple of the step, unless the bounds are too close for that."""
    share = (row + 1) / (ROWS + 1)
    if is_whole or "multipleOf" in schema or high - low >= ROWS * step:
        return low + round((high - low) / step * share) * step
    low, high = (next(schema[name] for name in names if name in schema) for names in (_LOWER, _UPPER))
    return low + (high - low) * share


def _text(schema: Mapping[str, Any]) -> str:
    text = _BY_FORMAT.get(str(schema.get("format")), _TEXT)
    shortest, longest = (schema.get(name, default) for name, default in (("minLength", 0), ("maxLength", _MAX_LENGTH)))
    return text.ljust(min(shortest, _MAX_LENGTH), "x")[:longest]


def _arrow_value(kind: Any, row: int) -> Any:
    import pyarrow.types as kinds

    if kinds.is_boolean(kind):
        return row % 2 == 0
    if kinds.is_integer(kind):
        return row + 1
    if kinds.is_floating(kind) or kinds.is_decimal(kind):
        return row + 1.0
    if kinds.is_timestamp(kind):
        return f"2026-01-31T{row:02d}:00:00"
    if kinds.is_date(kind):
        return f"2026-01-{row + 1:02d}"
    return _TEXT if kinds.is_string(kind) or kinds.is_large_string(kind) else None
