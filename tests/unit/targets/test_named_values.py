"""Names and values in the forms in which SDKs return them."""

from __future__ import annotations

from typing import Any

import pytest

from callback_sdk.redaction import Secret
from callback_sdk.targets.named_values import by_name, join_values, not_text
from tests.growth import assert_linear


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"a": "1"}, {"a": "1"}),
        ([{"name": "a", "value": "1"}, {"value": "2", "name": "b"}], {"a": "1", "b": "2"}),
        ([("a", "1"), ["a", "2"]], {"a": ["1", "2"]}),
        ([], {}),
        ([("a", "1"), "b"], None),
        ([{"name": "a"}], None),
        ([(1, "a")], None),
        ("a=1", None),
        (None, None),
    ],
)
def test_values_are_found_by_name(given: Any, found: Any) -> None:
    """A dict, objects with name and value, or pairs; nothing else is guessed."""
    result = by_name(Secret(given))
    assert (result.reveal() if result is not None else None) == found


def test_several_strings_are_joined_and_nothing_else() -> None:
    """A list of something else is an error later, with the name."""
    given = {"a": ["1", "2"], "b": ["1"], "c": "1", "d": [], "e": [1]}
    assert join_values(Secret(given)).reveal() == {"a": "1,2", "b": "1", "c": "1", "d": [], "e": [1]}


def test_names_and_values_that_are_no_text_are_named() -> None:
    """Numbers are text; booleans, lone surrogates and very large numbers aren't."""
    fine = {"a": "1", "b": 1, "c": 1.5, "d": "日"}
    wrong = {"e": True, "f": None, "g": "\ud800", "h": 10**5000, 1: "a", "i": ["1"]}
    assert not_text(Secret({**fine, **wrong})) == list(wrong)


def test_a_long_list_takes_linear_time() -> None:
    """It comes from outside, also with one name only."""
    for name in ("a", "a{number}"):
        small, large = ([(name.format(number=number), "1") for number in range(size)] for size in (500, 16_000))
        assert_linear(lambda given: by_name(Secret(given)), small, large, ratio=32)
