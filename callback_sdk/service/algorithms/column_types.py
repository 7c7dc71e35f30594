"""Types of whole columns: a quick proof that all values match a schema, without a look at each value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

_ANNOTATIONS = frozenset({"type", "title", "description", "default", "examples", "deprecated", "format"})
"""Keywords that don't restrict values beyond their type; `format` is not asserted."""

_OF_RECORD = frozenset({"type", "properties", "required", "title", "description", "$defs"})
"""Keywords of a record that restrict nothing but the columns."""

_JSON_TYPES: Mapping[type, frozenset[str]] = {
    type(None): frozenset({"null"}),
    bool: frozenset({"boolean"}),
    int: frozenset({"integer", "number"}),
    float: frozenset({"number"}),
    Decimal: frozenset({"number"}),
    **dict.fromkeys((str, datetime, date, time), frozenset({"string"})),
    list: frozenset({"array"}),
    dict: frozenset({"object"}),
}

_ANY = frozenset().union(*_JSON_TYPES.values())


def fit(schema: Mapping[str, Any], table: Mapping[str, Any]) -> bool:
    """Return whether the types of the columns prove that each row matches a schema of one record.

    Args:
        schema: JSON Schema of one record.
        table: Lists or Arrow arrays, by name.

    Returns:
        False if the values have to be validated one by one.
    """
    if not _OF_RECORD.issuperset(schema) or not all(name in table for name in schema.get("required", ())):
        return False
    properties = schema.get("properties", {})
    return all(_fits(one, table[name]) for name, one in properties.items() if name in table)


def _fits(schema: Any, column: Any) -> bool:
    allowed = _allowed_types(schema)
    if not allowed:
        return False
    if isinstance(column, list):
        return all(_JSON_TYPES.get(kind, frozenset()) & allowed for kind in set(map(type, column)))
    kinds = _arrow_types(column.type)
    return bool(kinds & allowed) and (not column.null_count or "null" in allowed)


def _allowed_types(schema: Any) -> frozenset[str]:
    """Return the types that a schema allows; empty if it has further rules."""
    if not isinstance(schema, Mapping):
        return frozenset()
    if "anyOf" in schema and _ANNOTATIONS.issuperset(schema.keys() - {"anyOf"}) and "type" not in schema:
        alternatives = list(map(_allowed_types, schema["anyOf"]))
        # A type that one alternative doesn't restrict is allowed as a whole.
        return frozenset().union(*alternatives)
    if not _ANNOTATIONS.issuperset(schema):
        return frozenset()
    kind = schema.get("type", list(_ANY))
    return frozenset([kind] if isinstance(kind, str) else kind)


def _arrow_types(kind: Any) -> frozenset[str]:
    import pyarrow.types as kinds

    if kinds.is_boolean(kind):
        return _JSON_TYPES[bool]
    if kinds.is_integer(kind):
        return _JSON_TYPES[int]
    if kinds.is_floating(kind) or kinds.is_decimal(kind):
        return _JSON_TYPES[float]
    is_text = kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_timestamp(kind) or kinds.is_date(kind)
    return _JSON_TYPES[str] if is_text else frozenset()
