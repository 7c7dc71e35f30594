"""Stands in for httptools in the archive: a parser of HTTP/1.1 responses (RFC 9112) with the same methods.

httptools is compiled for each platform and version of Python. This has what `callback_sdk/transport/response.py` uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_START = b"HTTP/"
_STATUS = re.compile(rb"HTTP/([0-9])\.([0-9]) ([0-9]+)")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: .*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.DOTALL)
_LINE_END = re.compile(rb"[\r\n]")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)
_LENGTH = re.compile(rb"[0-9]{1,18}")

_WITHOUT_BODY = (204, 304)
_SWITCHING_PROTOCOLS = 101


class HttpParserError(Exception):
    """The bytes are not an HTTP response."""


class HttpParserInvalidStatusError(HttpParserError):
    """The status is not a number of three digits."""


class HttpParserUpgrade(Exception):  # noqa: N818 - the name in httptools
    """The connection changes to another protocol."""


class HttpResponseParser:
    """Incremental parser, which calls methods of an object as httptools does.

    Args:
        protocol: Has the methods `on_message_begin`, `on_header`, `on_headers_complete`, `on_body` and
            `on_message_complete`.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._data = bytearray()
        self._status = 0
        self._state: Callable[[], bool] = self._begin

    def set_dangerous_leniencies(self, **leniencies: bool) -> None:
        """Accept what httptools is told to accept: this parser always does."""

    def get_status_code(self) -> int:
        """Return the status as far as it has been received."""
        return self._status

    def should_keep_alive(self) -> bool:
        """Return whether the connection can be used again after this response."""
        return self._is_persistent and self._body != self._until_end

    def feed_data(self, data: bytes) -> None:
        """Parse more bytes.

        Raises:
            HttpParserError: They are not HTTP.
            HttpParserUpgrade: They are no longer HTTP.
        """
        self._data += data
        while self._state():
            pass

    # Each state returns whether it is complete, so that the next one can use the rest of the data.

    def _begin(self) -> bool:
        del self._data[: len(self._data) - len(self._data.lstrip(b"\r\n"))]
        if not self._data:
            return False
        self._status, self._is_persistent, self._body = 0, False, self._until_end
        self._fields: dict[bytes, list[bytes]] = {}
        self._protocol.on_message_begin()
        return self._continue(self._status_line)

    def _status_line(self) -> bool:
        if not self._data.startswith(_START[: len(self._data)]):
            raise HttpParserError("Expected HTTP/")
        if (begin := _STATUS.match(self._data)) is not None and len(self._data) > begin.end():
            if len(begin[3]) != 3:
                raise HttpParserInvalidStatusError("Invalid status code")
            self._status = int(begin[3])
        if (line := self._line()) is None:
            return False
        if (found := _STATUS_LINE.fullmatch(line)) is None:
            problem = HttpParserInvalidStatusError if line.startswith(_START) else HttpParserError
            raise problem("Invalid status line")
        self._status, self._is_persistent = int(found[2]), found[1] == b"1"
        return self._continue(self._field)

    def _field(self) -> bool:
        if (line := self._line()) is None:
            return False
        if not line:
            return self._end_of_head()
        if (found := _FIELD.fullmatch(line)) is None:
            raise HttpParserError("Invalid header field")
        self._fields.setdefault(found[1].lower(), []).append(found[2])
        self._protocol.on_header(found[1], found[2])
        return True

    def _end_of_head(self) -> bool:
        codings = self._words(b"transfer-encoding")
        lengths = self._fields.get(b"content-length", [])
        # RFC 9112, section 6.3: a response with both, or with several lengths, may be two.
        if len(lengths) > 1 or (lengths and codings) or not all(map(_LENGTH.fullmatch, lengths)):
            raise HttpParserError("Invalid Content-Length")
        connection = self._words(b"connection")
        if b"close" in connection or (not self._is_persistent and b"keep-alive" not in connection):
            self._is_persistent = False
        else:
            self._is_persistent = True
        self._left = int(lengths[0]) if lengths else 0
        is_interim = 100 <= self._status < 200
        if is_interim or self._status in _WITHOUT_BODY or (lengths and not self._left):
            self._body = self._end
        elif codings[-1:] == [b"chunked"]:
            self._body = self._chunk_size
        elif lengths:
            self._body = self._part
        else:
            self._body = self._until_end
        self._protocol.on_headers_complete()
        if self._status == _SWITCHING_PROTOCOLS:
            self._protocol.on_message_complete()
            raise HttpParserUpgrade
        return self._continue(self._body)

    def _words(self, name: bytes) -> list[bytes]:
        return [word.strip().lower() for value in self._fields.get(name, []) for word in value.split(b",")]

    def _part(self) -> bool:
        """Pass on the rest of a body, or of a chunk."""
        if not self._data:
            return False
        part = bytes(self._data[: self._left])
        del self._data[: self._left]
        self._left -= len(part)
        self._protocol.on_body(part)
        if self._left:
            return False
        return self._continue(self._end if self._body == self._part else self._chunk_end)

    def _until_end(self) -> bool:
        if self._data:
            self._protocol.on_body(bytes(self._data))
            self._data.clear()
        return False

    def _chunk_size(self) -> bool:
        if (line := self._line()) is None:
            return False
        if (found := _CHUNK_SIZE.fullmatch(line)) is None:
            raise HttpParserError("Invalid chunk size")
        self._left = int(found[1], 16)
        return self._continue(self._part if self._left else self._trailer)

    def _chunk_end(self) -> bool:
        line = self._line()
        if line:
            raise HttpParserError("Expected the end of a chunk")
        return line is not None and self._continue(self._chunk_size)

    def _trailer(self) -> bool:
        line = self._line()
        if line:
            return True
        return line is not None and self._continue(self._end)

    def _end(self) -> bool:
        self._protocol.on_message_complete()
        return self._continue(self._begin if self._is_persistent else self._discard)

    def _discard(self) -> bool:
        if self._data:
            raise HttpParserError("Data after a response with Connection: close")
        return False

    def _continue(self, state: Callable[[], bool]) -> bool:
        self._state = state
        return True

    def _line(self) -> bytes | None:
        """Return the next line without its end; None if it is incomplete. A line feed alone ends one, too."""
        if (end := _LINE_END.search(self._data)) is None:
            return None
        place, size = end.start(), 1
        if end[0] == b"\r":
            if len(self._data) == place + 1:
                return None
            if self._data[place + 1] != 0x0A:
                raise HttpParserError("Expected a line feed")
            size = 2
        line = bytes(self._data[:place])
        del self._data[: place + size]
        return line
