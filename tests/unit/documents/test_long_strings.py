"""Long strings are checked and removed, wherever the chunks of the text end."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.documents.long_strings import LongStrings
from callback_sdk.documents.result_files import _check_json
from callback_sdk.errors import EncodingError
from tests.growth import assert_linear

PIECES = [
    *(b'"', b"\\", b'\\"', b"\\\\", b"\\n", b"\\u00e9", b"\\ud83d", b"\\u12", b"\\x", b"\n", b"\x1f", b"\x00", b"\x7f"),
    *(
        b"\xc3\xa9",
        b"\xc3",
        b"\xa9",
        b"\xf0\x9f\x98\x80",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
        b"a",
        b"1",
    ),
    *(b'"a"', b'",', b'":', b"[", b"]", b"{", b"}", b",", b":", b"-1.5e+3", b" ", b"NaN", b"true"),
]


class Chunks(Body):
    """A body that is read in the given chunks."""

    def __init__(self, chunks: list[bytes]) -> None:
        super().__init__(b"".join(chunks))
        self._given = chunks

    def chunks(self) -> Iterator[bytes]:
        yield from self._given


def cut(text: bytes, numbers: random.Random) -> list[bytes]:
    """Cut a text at up to five random places."""
    places = sorted({0, len(text), *(numbers.randrange(len(text) + 1) for _ in range(numbers.randint(0, 5)))})
    return [text[a:b] for a, b in pairwise(places)]


def is_json(text: bytes) -> bool:
    """Tell whether Python parses the text."""
    try:
        json.loads(text.decode(), parse_constant=int)
    except ValueError:
        return False
    return True


def passes(chunks: list[bytes]) -> bool:
    """Tell whether the chunks pass the check of result files."""
    try:
        _check_json(Chunks(chunks), "the file")
    except EncodingError:
        return False
    return True


def test_same_texts_pass_as_python_parses_wherever_they_are_cut() -> None:
    """Valid and invalid ones: random pieces in random places of a document."""
    numbers = random.Random(7)
    valid = 0
    for _ in range(20_000):
        text = rb'{"a\"": [1, "x\u00e9\n\ud83d\ude00 \\", "' + "é😀".encode() + rb'", true], "b": {"\\\\": ""}} '
        for _ in range(numbers.randint(0, 2)):
            place = numbers.randint(0, len(text))
            text = text[:place] + numbers.choice(PIECES) + text[place + numbers.choice([0, 0, 1, 3]) :]
        assert passes(cut(text, numbers)) is is_json(text), text
        valid += is_json(text)
    assert 2_000 < valid < 18_000


@pytest.mark.parametrize("token", [b'"' + b"x\\n" * 40 + b'"', '"é😀"'.encode(), rb'["\\", "\"", "\ud83d\ude00"]'])
def test_every_cut_passes(token: bytes) -> None:
    """Also one after each byte."""
    assert all(passes([token[:place], token[place:]]) for place in range(1, len(token)))
    assert passes([bytes([byte]) for byte in token])


def test_characters_of_a_cut_string_are_removed() -> None:
    """So that the parser keeps none of them."""
    strings = LongStrings()
    given = [b'{"a": "xx', b"xxx\\", b'"xx\\u12', b"34", b'x", "b": "c"} ']
    assert [strings.remove(chunk) for chunk in given] == [b'{"a": "', b"", b"", b"", b'", "b": "c"} ']


@pytest.mark.parametrize(
    "text",
    [
        lambda size: b'"' + b"x" * size + b'"',
        lambda size: b'{"' + b"x" * size + b'": 1}',
        lambda size: b"[" + b"1" * size + b"]",
        lambda size: b"[0." + b"1" * size + b"]",
        lambda size: b'["' + b'\\"' * (size // 2) + b'"]',
    ],
)
def test_time_of_a_long_token_is_linear(text: Callable[[int], bytes]) -> None:
    """Numbers may be rejected, but as fast."""

    def check(body: bytes) -> None:
        try:
            _check_json(Chunks([body[at : at + 16_384] for at in range(0, len(body), 16_384)]), "the file")
        except EncodingError:
            assert body[:2] in (b"[1", b"[0")

    assert_linear(check, text(1024**2), text(16 * 1024**2), ratio=16)
