"""Stands in for ijson in the archive: reads JSON (RFC 8259) in constant memory, and reports each value as an event.

ijson's fast parser is compiled for each platform and version of Python, and its slow one accepts texts that are not
JSON. This has what `callback_sdk/documents` uses, which removes the inside of long strings before.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

_TOKEN = re.compile(
    r'[ \t\n\r]*(?:"([^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*)"'
    r"|(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)|(true|false|null)|([\[\]{}:,]))"
)
_STRING, _NUMBER, _LITERAL, _MARK = 1, 2, 3, 4

_CUT = re.compile(r'[ \t\n\r]*(?:"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*\\?|[a-z]{1,5}|-?[0-9.eE+-]*)?', re.DOTALL)
"""What may be the beginning of a token."""

_END_OF_NUMBER = frozenset(",]} \t\n\r")
_MAX_DIGITS = 4300
"""Digits of an integer that every Python version converts from text, as ijson does."""

_VALUE, _FIRST_ITEM, _FIRST_KEY, _KEY, _COLON, _AFTER_ITEM, _AFTER_MEMBER, _NOTHING = range(8)
"""What is expected next."""

_BEGINNINGS = {"[": ("start_array", _FIRST_ITEM), "{": ("start_map", _FIRST_KEY)}
_ENDS = {
    ("]", _FIRST_ITEM): "end_array",
    ("]", _AFTER_ITEM): "end_array",
    ("}", _FIRST_KEY): "end_map",
    ("}", _AFTER_MEMBER): "end_map",
}
_SEPARATORS = {(",", _AFTER_ITEM): _VALUE, (",", _AFTER_MEMBER): _KEY, (":", _COLON): _VALUE}

Event = tuple[str, Any]


def sendable_list() -> list[Event]:
    """Return a list to which the parser appends events."""
    return []


def basic_parse_coro(events: list[Event], *, use_float: bool = False) -> Parser:
    """Return a parser.

    Args:
        events: To which events are appended.
        use_float: Numbers have no values here, and so no limits.
    """
    return Parser(events)


class Parser:
    """Reads one JSON text in chunks.

    Args:
        events: To which the events are appended. Values have none but keys.
    """

    def __init__(self, events: list[Event]) -> None:
        self._events = events
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._rest = ""
        self._expected = _VALUE
        self._parents: list[int] = []

    def send(self, chunk: bytes) -> None:
        """Read more bytes.

        Raises:
            ValueError: They are not JSON.
        """
        text = self._rest + self._decode(chunk)
        self._rest = text[self._read(text) :]
        if _CUT.fullmatch(self._rest) is None:
            raise ValueError("lexical error: invalid token")

    def close(self) -> None:
        """End the text.

        Raises:
            ValueError: It is incomplete.
        """
        self._decode(b"", final=True)
        if self._rest.strip(" \t\n\r") or self._expected != _NOTHING:
            raise ValueError("parse error: premature EOF")

    def _read(self, text: str) -> int:
        """Read the tokens that are whole, and return where the rest begins."""
        place = 0
        while (token := _TOKEN.match(text, place)) is not None:
            kind, end = token.lastindex, token.end()
            # A number at the end of the chunk may go on in the next one.
            if kind == _NUMBER and text[end : end + 1] not in _END_OF_NUMBER:
                break
            place = end
            if kind == _MARK:
                self._mark(token[_MARK])
            elif kind == _STRING and self._expected in (_FIRST_KEY, _KEY):
                self._events.append(("map_key", json.loads(f'"{token[_STRING]}"')))
                self._expected = _COLON
            else:
                self._value(token, kind)
        return place

    def _value(self, token: re.Match[str], kind: int | None) -> None:
        if self._expected not in (_VALUE, _FIRST_ITEM):
            raise ValueError("parse error: unallowed token at this point in JSON text")
        if kind == _NUMBER and len(token[_NUMBER]) > _MAX_DIGITS and token[_NUMBER].lstrip("-").isdigit():
            raise ValueError("parse error: integer overflow")
        self._expected = self._parents[-1] if self._parents else _NOTHING

    def _mark(self, mark: str) -> None:
        if mark in _BEGINNINGS:
            self._value_begins(*_BEGINNINGS[mark])
        elif (end := _ENDS.get((mark, self._expected))) is not None:
            self._events.append((end, None))
            self._parents.pop()
            self._expected = self._parents[-1] if self._parents else _NOTHING
        elif (following := _SEPARATORS.get((mark, self._expected))) is not None:
            self._expected = following
        else:
            raise ValueError("parse error: unallowed token at this point in JSON text")

    def _value_begins(self, event: str, expected: int) -> None:
        if self._expected not in (_VALUE, _FIRST_ITEM):
            raise ValueError("parse error: unallowed token at this point in JSON text")
        self._events.append((event, None))
        self._parents.append(_AFTER_ITEM if expected == _FIRST_ITEM else _AFTER_MEMBER)
        self._expected = expected
