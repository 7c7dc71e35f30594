"""callback_sdk.documents.decoding: JSON as it was written, or an error."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given

from callback_sdk.documents.decoding import decode, has_lone_surrogate
from tests.growth import assert_linear
from tests.property.strategies import json_values

LIMITS = (2**53 + 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**300, -(10**4000))


@pytest.mark.parametrize("number", LIMITS, ids=lambda number: f"{number:.3e}" if abs(number) < 1e300 else "long")
@pytest.mark.parametrize("layout", ["%d", "[%d]", '{"a":%d}', "[1, %d]", "[\n\t%d]", "[0.5,%d]"])
def test_integers_of_any_size_are_exact(number: int, layout: str) -> None:
    """None becomes a float, wherever in the text it stands."""
    text = layout % number
    found = decode(text.encode())
    assert found == json.loads(text)
    assert json.dumps(found) == json.dumps(json.loads(text))


@given(json_values)
def test_every_json_value_comes_back(value: Any) -> None:
    """With and without ASCII escapes, also those of lone surrogates."""
    assert decode(json.dumps(value).encode()) == value


def test_a_number_keeps_its_sign_and_its_type() -> None:
    """Negative zero, floats without a fraction and floats of many digits stay floats."""
    found = decode(b"[-0.0,1e2,0.1000000000000000055511151231257827,12345678901234567890.0]")
    assert [*map(type, found)] == [float] * 4
    assert math.copysign(1, found[0]) == -1
    assert found[1:] == [100.0, 0.1, 12345678901234567890.0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"1e400", "beyond the range of a float"),
        (b"[-1e400, 12345678901234567890123]", "beyond the range of a float"),
        (b"[NaN]", "NaN"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b"1" * 4301, "more than 4300 digits"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":', "Expecting value"),
        (b"", "Expecting value"),
        (b"\xff", "utf-8"),
        (b"\xed\xa0\x80", "utf-8"),
        ("[1]".encode("utf-16"), "utf-8"),
        (b"\xef\xbb\xbf[1]", "BOM"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_json_that_can_not_be_decoded_exactly_is_an_error(data: bytes, reason: str) -> None:
    """Numbers beyond the range of floats, constants of JavaScript and malformed texts."""
    with pytest.raises(ValueError, match=reason):
        decode(data)


@pytest.mark.parametrize(
    ("data", "has_one"),
    [(b'"\\ud83d\\ude00"', False), (b'[["\\ud83d"]]', True), (b'{"\\udc00":1}', True), (b'{"a":["\xc3\xa4"]}', False)],
)
def test_lone_surrogates_are_found(data: bytes, has_one: bool) -> None:
    """In texts and in keys; a pair of them is a character like any other."""
    assert has_lone_surrogate(decode(data)) is has_one


def test_a_text_twice_as_long_takes_about_twice_as_long() -> None:
    """Also the kinds that are parsed a second time: with long integers, and with a number out of range at their end."""

    def attempt(data: bytes) -> None:
        with contextlib.suppress(ValueError):
            decode(data)

    for end in (b"2]", b"1e400]"):
        small, large = (b"[" + b"99999999999999999999,0.5," * count + end for count in (2_500, 40_000))
        assert_linear(attempt, small, large, ratio=16)
