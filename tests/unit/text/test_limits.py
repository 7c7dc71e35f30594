"""Untrusted input that is too long is rejected before it is parsed, with an error that names the limit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import check_target
from callback_sdk.errors import CallbackParamError, InvalidS3FieldsError, InvalidTargetError, TargetError
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.text import limits
from tests.growth import assert_linear

DOCUMENTED = Path(__file__).parents[3] / "docs" / "limits.md"
SECRET = "MARKER7f3a"
FIELDS = {"key": "k", "policy": "e30=", "x-amz-signature": "s"}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"https://h/?{'a' * limits.MAX_URL}={SECRET}", "more than 16384 characters"),
        (f"https://{'a.' * 130}example.org/?x={SECRET}", "host of more than 253"),
        (f"https://{'a' * 64}.example.org/?x={SECRET}", "label of more than 63"),
        (f"https://h/{'a' * limits.MAX_PATH}?x={SECRET}", "path of more than 8192"),
        ("https://a" + "\u0315\u0300" * 200 + f"/?x={SECRET}", "host of more than 253"),
        (f"https://[{'1:' * 300}]/?x={SECRET}", "host"),
    ],
)
def test_long_part_of_a_url_is_rejected(url: str, words: str) -> None:
    """In targets, redirects and settings."""
    with pytest.raises(InvalidTargetError, match=words) as caught:
        SecretURL(url)
    assert SECRET not in str(caught.value)
    with pytest.raises(InvalidTargetError):
        check_target(url)


@pytest.mark.parametrize(
    "url",
    [
        f"https://h/?{'a' * (limits.MAX_URL - 11)}",
        f"https://{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}/",
        f"https://h/{'a' * (limits.MAX_PATH - 1)}",
        "https://bücher.example.org:8443/",
    ],
)
def test_longest_parts_pass(url: str) -> None:
    """The limits themselves are allowed."""
    assert SecretURL(url).reveal() == url


@pytest.mark.parametrize(
    ("param", "error", "words"),
    [
        (
            {"s3_fields": {**FIELDS, **{f"x-amz-meta-{n}": "" for n in range(limits.MAX_FIELDS)}}},
            InvalidS3FieldsError,
            "103 members; 100 are allowed",
        ),
        ({"s3_fields": {**FIELDS, "x": "a" * limits.MAX_FORM}}, InvalidS3FieldsError, "65536 are allowed"),
        ({"s3_fields": {**FIELDS, "a" * limits.MAX_FORM: ""}}, InvalidS3FieldsError, "65536 are allowed"),
        ({"s3_headers": dict.fromkeys(map(str, range(101)), "")}, CallbackParamError, "101 members; 100 are allowed"),
        ({"s3_headers": {"x": "a" * limits.MAX_HEADERS_SIZE}}, CallbackParamError, "16384 are allowed"),
        ({"s3_fields": {**FIELDS, "x": 10**5000}}, InvalidS3FieldsError, "neither a string nor a number"),
    ],
)
def test_large_parameter_is_refused(param: dict[str, Any], error: type[TargetError], words: str) -> None:
    """Fields of a form and headers of a PUT: their number, and their characters together."""
    with pytest.raises(error, match=words):
        parse_callbacks("https://h/b", param)


GROWING: dict[str, Callable[[int], str]] = {
    "query": lambda size: "https://h/?" + "a=b&" * size,
    "checksums": lambda size: "https://h/?" + "".join(f"x-amz-checksum-{number}&" for number in range(size // 6)),
    "path": lambda size: "https://h/" + "a/" * size,
    "dots": lambda size: "https://h/" + "../" * size,
    "combining characters": lambda size: "https://h/" + "\u0315\u0300" * size,
    "combining characters in the host": lambda size: "https://a" + "\u0315\u0300" * size,
    "at signs": lambda size: "https://" + "@" * size,
    "brackets": lambda size: "https://[" + ":" * size,
}


@pytest.mark.parametrize("name", GROWING)
def test_time_is_linear_in_the_url(name: str) -> None:
    """For parsing and detection, beyond the limits too."""

    def work(url: str) -> None:
        try:
            found = SecretURL(url)
        except InvalidTargetError:
            return
        for query_name in found.query_names():
            found.query(query_name)
        found.scrub(url)

    assert_linear(work, GROWING[name](150), GROWING[name](150 * 16), ratio=16)
    if name == "combining characters in the host":
        assert_linear(work, GROWING[name](150 * 16), GROWING[name](150 * 16 * 16), ratio=16)


@pytest.mark.checkout
def test_every_limit_is_documented() -> None:
    """The page has a row for each, with its value."""
    rows = dict(re.findall(r"^\| `(MAX_\w+)` \| ([\d,]+) \|", DOCUMENTED.read_text(), re.MULTILINE))
    values = {name: value for name, value in vars(limits).items() if name.startswith("MAX_")}
    assert {name: int(value.replace(",", "")) for name, value in rows.items()} == values
