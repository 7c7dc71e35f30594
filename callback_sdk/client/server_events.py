"""Server-sent events, as the HTML standard defines them in section 9.2.6, "Interpreting an event stream"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import define, field

MAX_EVENT = 4 * 1024 * 1024
"""Maximum bytes of an event: an output of 64 KiB in JSON has up to six times as many."""

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


class EventTooLongError(ValueError):
    """An event exceeds its maximum length."""


@define(frozen=True)
class ServerEvent:
    """An event.

    Attributes:
        name: Its type, `"message"` by default.
        data: Its data.
        last_id: The last id of the stream until now, for the header `Last-Event-ID`; may be empty.
    """

    name: str
    data: str = field(repr=False)
    last_id: str


class EventParser:
    """Parses a stream in pieces of any size.

    Lines end with CR LF, LF or CR. Other characters that `str.splitlines` takes for line ends are a part of the data.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._skip_line_feed = False
        self._is_first = True
        self._size = 0
        self._name = ""
        self._data: list[str] = []
        self._last_id = ""

    def feed(self, piece: bytes) -> Iterator[ServerEvent]:
        """Yield the events that a piece completes.

        Raises:
            EventTooLongError: An event is longer than `MAX_EVENT`.
        """
        if self._skip_line_feed and piece:
            self._skip_line_feed = False
            piece = piece.removeprefix(b"\n")
        self._size += len(piece)
        self._buffer += piece
        for line in self._lines():
            if line:
                self._field(line)
            else:
                self._size = len(self._buffer)
                if self._data:
                    yield ServerEvent(self._name or "message", "\n".join(self._data), self._last_id)
                self._name, self._data = "", []
        if self._size > MAX_EVENT:
            raise EventTooLongError(f"An event is longer than {MAX_EVENT} bytes.")

    def _lines(self) -> Iterator[bytes]:
        """Yield complete lines. One that ends with CR is complete: the LF after it, if any, is skipped."""
        text, begin = bytes(self._buffer), 0
        for end in _LINE_END.finditer(text, self._searched):
            line, begin = text[begin : end.start()], end.end()
            self._skip_line_feed = begin == len(text) and end[0] == b"\r"
            if self._is_first:
                line, self._is_first = line.removeprefix(_BOM), False
            yield line
        del self._buffer[:begin]
        self._searched = len(self._buffer)

    def _field(self, line: bytes) -> None:
        name, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._last_id = value
