"""What a server says to a request (RFC 9112): read with llhttp, by `httptools`, and bounded in every direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httptools
from attrs import define, field

from callback_sdk.redaction import SecretURL

MAX_BODY = 64 * 1024
"""Bytes that are read of an answer's body."""

_MAX_HEAD = 64 * 1024
"""Bytes that an answer's head may have, together with the interim ones before it."""

_MAX_HEADERS = 100
"""Lines that a head may have."""

_MAX_FRAMED = 8 * MAX_BODY
"""Bytes that are received in all: an answer may come in chunks of one byte, each with five around it."""

_PIECE = 16 * 1024


_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""How an alert and a handshake of TLS begin (RFC 8446, section 5.1)."""


class InvalidResponseError(OSError):
    """What a server sent is no answer, or it stopped in the middle of its head.

    Attributes:
        received: How many bytes came.
        is_tls: Whether the server speaks TLS, and was spoken to without.
    """

    def __init__(self, message: str, *, received: int = 0, is_tls: bool = False) -> None:
        super().__init__(message)
        self.received = received
        self.is_tls = is_tls


@define(frozen=True, kw_only=True)
class Response:
    """What a server said.

    Attributes:
        status: HTTP status.
        headers: Names in lower case; the first value of each.
        body: Its first 64 KiB.
        url: Who answered: the last of the redirects.
    """

    status: int
    # A server may quote the request in either.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: SecretURL

    def decoded_body(self) -> bytes:
        """Return the body without its content encoding, at most 64 KiB of it.

        Nobody asked for an encoding, but some proxies compress whatever passes, and an error's code is in there.
        """
        if self.headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip", "deflate"):
            return self.body
        import zlib

        try:
            # 32 + 15: both zlib's header and gzip's. What was cut off at 64 KiB decodes as far as it goes.
            return zlib.decompressobj(wbits=47).decompress(self.body, MAX_BODY)
        except zlib.error:
            return self.body


class ResponseParser:
    """An answer on its way in.

    Attributes:
        status: HTTP status, once the head is there.
        headers: Names in lower case; the first value of each.
        body: What has come of it.
        has_head: Whether the head is there.
        is_whole: Whether all of it is there.
        is_last: Whether the server sends no further answer over the connection.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.has_head = self.is_whole = False
        self.is_last = True
        self._received = self._lines = 0
        self._parser = httptools.HttpResponseParser(self)
        # Servers that are some lines in a script end theirs with a mere line feed, and everybody understands them.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)

    def read(self, receive: Callable[[int], bytes], *, head_only: bool = False) -> None:
        """Read to the end, or as far as it matters.

        Args:
            receive: Gives some bytes, at most so many, and none at the end of the connection.
            head_only: Whether what follows the head isn't HTTP, as behind a CONNECT.

        Raises:
            InvalidResponseError: There is no whole head.
            OSError: The connection broke.
        """
        try:
            while not self.is_whole and not (head_only and self.has_head):
                data = receive(_PIECE)
                if not data:
                    break
                self._feed(data)
                if len(self.body) > MAX_BODY or self._received > _MAX_FRAMED:
                    self.is_last = True
                    break
        finally:
            # The two would hold each other.
            del self._parser
        if not self.has_head:
            # RFC 9112, section 8: a head that was cut off is no response, whatever its status line says.
            raise InvalidResponseError("the connection ended before there was an answer", received=self._received)

    def _feed(self, data: bytes) -> None:
        is_tls = not self._received and data[:2] in _TLS_RECORDS
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if isinstance(error.__context__, BaseException) and not isinstance(error.__context__, Exception):
                # A Ctrl-C inside one of the methods that llhttp calls.
                raise error.__context__ from None
            # In "2000 OK" the parser takes 200 for the status.
            has_status = not isinstance(error, httptools.HttpParserInvalidStatusError)
            self._end_here(has_status=has_status, is_tls=is_tls, error=error)
        if not self.has_head and (self._received > _MAX_HEAD or self._lines > _MAX_HEADERS):
            self._end_here()

    def _end_here(self, *, has_status: bool = True, is_tls: bool = False, error: Exception | None = None) -> None:
        """Take the status for the whole answer, and use the connection no more.

        The request is through and the server has decided. What is wrong behind its status line, a header that no
        parser accepts or an endless head, must not make us send the same result again and again.
        """
        self.is_last = self.is_whole = True
        status = self._parser.get_status_code()
        if self.has_head:
            return
        if not has_status or not 200 <= status <= 599:
            raise InvalidResponseError("the answer is no HTTP", received=self._received, is_tls=is_tls) from error
        self.status, self.has_head = status, True

    # What llhttp calls:

    def on_message_begin(self) -> None:
        # Nobody asked for a second one.
        self.is_last = self.has_head or self.is_last

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:
            self._lines += 1
            self.headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        if self.has_head:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            # An interim answer; the final one follows.
            self.headers.clear()
        else:
            self.status, self.has_head = status, True
            self.is_last = not self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        if not self.is_whole:
            self.body += body

    def on_message_complete(self) -> None:
        self.is_whole = self.has_head


def read_response(receive: Callable[[int], bytes], url: SecretURL) -> tuple[Response, bool]:
    """Read an answer, and tell whether another request can go over the same connection.

    Args:
        receive: Gives some bytes, at most so many, and none at the end of the connection.
        url: Who answers.

    Raises:
        InvalidResponseError: There is none.
        OSError: The connection broke.
    """
    parser = ResponseParser()
    parser.read(receive)
    body = bytes(memoryview(parser.body)[:MAX_BODY])
    response = Response(status=parser.status, headers=parser.headers, body=body, url=url)
    return response, parser.is_whole and not parser.is_last
