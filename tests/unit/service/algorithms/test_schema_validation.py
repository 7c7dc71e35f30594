"""callback_sdk.service.algorithms.schema_validation"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from callback_sdk.service.algorithms.schema_validation import Schema, SchemaProblemError, TooComplexError, check_schema
from tests.growth import assert_linear

VALUES: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "pattern": ({"pattern": "(a+)+$"}, lambda size: "a" * 20 * size + "!"),
    "pattern of a name": (
        {"patternProperties": {"^(a|a)*$": {}}, "additionalProperties": False},
        lambda size: {"a" * 20 * size + "!": 1},
    ),
    "name by a pattern": ({"propertyNames": {"pattern": r"(.*)*\d$"}}, lambda size: {"x" * 20 * size: 1}),
    "unique objects": ({"uniqueItems": True}, lambda size: [{"a": number} for number in range(size)]),
    "unique mixture": (
        {"uniqueItems": True},
        lambda size: [item for number in range(size) for item in (number, str(number), [number], {})],
    ),
    "long enum": ({"items": {"enum": list(range(1000))}}, lambda size: [999] * size),
}


@pytest.mark.parametrize("name", VALUES)
def test_time_is_linear(name: str) -> None:
    """Patterns that backtrack in other engines, and comparisons of items, take linear time."""
    schema, value = VALUES[name]
    check_schema(schema)
    assert_linear(lambda found: Schema(schema).problems(found, 1), value(250), value(4000), ratio=16)


def tree(depth: int) -> Any:
    value: Any = {"bad": True}
    for _ in range(depth):
        value = {"child": value}
    return value


BRANCHES = {
    "$defs": {
        "node": {
            "anyOf": [
                {"properties": {"child": {"$ref": "#/$defs/node"}, "bad": False}, "title": str(n)} for n in (1, 2)
            ]
        }
    },
    "$ref": "#/$defs/node",
}


def test_references_are_bounded() -> None:
    """Two recursive references would take 2**60 steps; a deep value that needs few is validated."""
    check_schema(BRANCHES)
    with pytest.raises(TooComplexError):
        Schema(BRANCHES).problems(tree(60), 1)
    assert Schema(BRANCHES).problems({"child": {"child": {}}}, 1) == []


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}])
def test_a_reference_to_itself_ends(schema: Any) -> None:
    """It isn't an error of the service."""
    check_schema(schema)
    with pytest.raises(TooComplexError):
        Schema(schema).problems(1, 1)


REFUSED = {
    "look-ahead": {"pattern": "^(?=a)b"},
    "back reference": {"properties": {"a": {"pattern": r"(a)\1"}}},
    "pattern of a name": {"items": {"patternProperties": {"(?<!a)b": {}}}},
    "long repetition": {"anyOf": [{"pattern": "^.{5000}$"}]},
    "no pattern": {"$defs": {"a": {"pattern": "("}}},
    "unevaluated": {"allOf": [{"unevaluatedProperties": False}]},
    "reference elsewhere": {"$ref": "http://192.0.2.1/schema"},
    "reference to nothing": {"properties": {"a": {"$ref": "#/$defs/a"}}},
    "no schema": {"type": "nonsense"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_schemas_without_linear_time_are_rejected(name: str) -> None:
    """At registration, with the reason."""
    with pytest.raises(SchemaProblemError, match=r"linear time|quadratic time|doesn't contain|not a valid JSON Schema"):
        check_schema(REFUSED[name])


def test_names_of_properties_are_not_keywords() -> None:
    """A property may have the name of a keyword, and so may a value."""
    schema = {
        "properties": {"pattern": {"type": "string"}, "$ref": {"const": {"pattern": "("}}},
        "default": {"$ref": "x"},
    }
    check_schema(schema)
    assert Schema(schema).problems({"pattern": "(", "$ref": {"pattern": "("}}, 1) == []


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        (r"^\p{L}+$", "Größe", True),
        (r"^\u00e9$", "é", True),
        (r"^\\u00e9$", "é", False),
        (r"^a$", "a\n", False),
        (r"^\d$", "٣", False),
        (r"^.$", "\ud800", True),
    ],
)
def test_patterns_are_those_of_json_schema(pattern: str, text: str, fits: bool) -> None:
    """ECMA-262's, as far as RE2 has them: also where Python's own differ."""
    check_schema({"pattern": pattern})
    assert (Schema({"pattern": pattern}).problems(text, 1) == []) is fits


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, 1.5])
    | st.sampled_from(["", "a", "b1"]),
    lambda child: st.lists(child, max_size=4) | st.dictionaries(st.sampled_from(["a", "b1", "c"]), child, max_size=3),
    max_leaves=8,
)


@given(plain, st.lists(plain, min_size=1, max_size=4))
def test_validation_agrees_with_jsonschema(value: Any, enum: list[Any]) -> None:
    """The replaced keywords have the same results as the library's."""
    for schema in (
        {"uniqueItems": True},
        {"enum": enum},
        {"items": {"enum": enum}},
        {"patternProperties": {"^[ab]": {"type": "number"}}, "additionalProperties": {"type": "null"}},
        {"patternProperties": {r"\d": True}, "additionalProperties": False},
    ):
        assert (Schema(schema).problems(value, 1) == []) is Draft202012Validator(schema).is_valid(value)
