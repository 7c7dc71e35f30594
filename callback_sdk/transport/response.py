"""Parse HTTP/1.1 responses (RFC 9112) with llhttp, through `httptools`, bounded in every size."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

import httptools
from attrs import define, field

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import is_interrupt
from callback_sdk.redaction import SecretFields, SecretURL
from callback_sdk.targets.upload import Upload
from callback_sdk.text.quoted_secrets import without_secrets

MAX_BODY = 64 * 1024
"""Bytes of a response body that are read."""

_MAX_HEAD = 64 * 1024
"""Bytes that a response's head may have, interim responses included."""

_MAX_HEADERS = 100
"""Fields that a head may have."""

_MAX_FRAMED = 8 * MAX_BODY
"""Bytes that are received in all: a body may come in chunks of one byte, with five bytes of framing each."""

_PIECE = 16 * 1024

Receive = Callable[[int], Awaitable[bytes]]
"""Returns at most as many bytes as its argument says, none at the end of the connection."""

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Control characters, which RFC 9110, section 5.5, forbids in the value of a field."""


TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""First bytes of a TLS record with an alert or a handshake (RFC 8446, section 5.1)."""


class InvalidResponseError(OSError):
    """The server's bytes are not an HTTP response, or end inside its head.

    Attributes:
        received: Number of bytes received.
        is_tls: Whether they are TLS, at a port that was sent plain HTTP.
    """

    def __init__(self, message: str, *, received: int = 0, is_tls: bool = False) -> None:
        super().__init__(message)
        self.received = received
        self.is_tls = is_tls


@define(frozen=True, kw_only=True, eq=False, repr=False)
class Response:
    """An HTTP response.

    Attributes:
        status: HTTP status.
        headers: First value of each field, by lower-case name.
        body: Its first 64 KiB.
        url: URL that responded, after redirects.
        added_headers: Headers of the request with credentials that didn't come with the target, but are for a proxy or
            a cluster. Either may quote them.
    """

    status: int
    # Not in the repr: a server may quote the request, credentials included, in either.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: SecretURL
    added_headers: SecretFields = field(factory=lambda: SecretFields({}))

    def scrub(self, text: str, upload: Upload) -> str:
        """Remove the credentials of a request from a text of this response, which may quote them.

        Args:
            text: A part of the response.
            upload: The request.
        """
        if not text:
            return text
        redirected = () if self.url is upload.url else self.url.secrets().reveal()
        own = (*redirected, *self.added_headers.reveal().values())
        return without_secrets(text, (*upload.secrets().reveal(), *own))

    def decoded_body(self) -> bytes:
        """Return the body without its content encoding, at most 64 KiB of it.

        The request asks for `identity`, but some proxies compress anyway, and the body has the error's code.
        """
        if self.headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip", "deflate"):
            return self.body
        with no_fork:
            import zlib

        try:
            # 32 + 15: detects zlib's and gzip's header (zlib.h, inflateInit2). A body cut at 64 KiB decodes in part.
            return zlib.decompressobj(wbits=47).decompress(self.body, MAX_BODY)
        except zlib.error:
            return self.body


class ResponseParser:
    """Incremental parser of one response.

    Attributes:
        status: HTTP status, once the head is complete.
        headers: First value of each field, by lower-case name.
        body: Body received so far.
        has_head: Whether the head is complete.
        is_whole: Whether the response is complete.
        is_last: Whether the connection can't be reused.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.has_head = self.is_whole = False
        self.is_last = True
        self._is_malformed = False
        self._received = self._lines = 0
        self._parser = httptools.HttpResponseParser(self)
        # A bare LF ends a line too: RFC 9112, section 2.2, lets a recipient accept it, and small servers send it.
        # AIStore writes the key of an object unescaped into `Location`, with its control characters.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_headers=True)

    async def read(self, receive: Receive, *, head_only: bool = False) -> None:
        """Read the response up to its end or its limits.

        Args:
            receive: Returns the next bytes.
            head_only: Stop after the head: the bytes after a response to CONNECT are not HTTP.

        Raises:
            InvalidResponseError: The head is incomplete or not HTTP.
            OSError: The connection failed.
        """
        try:
            while not self.is_whole and not (head_only and self.has_head):
                data = await receive(_PIECE)
                if not data:
                    break
                self._feed(data)
                if len(self.body) > MAX_BODY or self._received > _MAX_FRAMED:
                    self.is_last = True
                    break
        finally:
            # Parser and callbacks refer to each other: without this only the garbage collector frees them.
            del self._parser
        if not self.has_head:
            # RFC 9112, section 8: a response without a complete head is incomplete, regardless of its status line.
            raise InvalidResponseError("the connection ended before the response", received=self._received)

    def _feed(self, data: bytes) -> None:
        is_tls = not self._received and data[:2] in TLS_RECORDS
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if error.__context__ is not None and is_interrupt(error.__context__):
                # Ctrl-C or a time limit in a callback: httptools raises its own error with it as the context.
                raise error.__context__ from None
            # For "2000 OK" the parser's status is 200.
            has_status = not isinstance(error, httptools.HttpParserInvalidStatusError)
            self._end_here(has_status=has_status, is_tls=is_tls, error=error)
        if not self.has_head and (self._received > _MAX_HEAD or self._lines > _MAX_HEADERS):
            self._end_here()

    def _end_here(self, *, has_status: bool = True, is_tls: bool = False, error: Exception | None = None) -> None:
        """Reduce a malformed response to its status, and don't reuse the connection.

        The server has processed the request. A malformed field or an endless head after the status line must not cause
        the same result to be sent again.
        """
        self.is_last = self.is_whole = True
        status = self._parser.get_status_code()
        if self.has_head:
            return
        if not has_status or not 200 <= status <= 599:
            raise InvalidResponseError("the response is not HTTP", received=self._received, is_tls=is_tls) from error
        self.status, self.has_head = status, True

    # Callbacks of httptools.HttpResponseParser:

    def on_message_begin(self) -> None:
        # A second response without a request: bytes after a body that was longer than its Content-Length.
        self.is_last = self.has_head or self.is_last

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:
            self._lines += 1
            field = name.decode("latin-1").lower()
            if _CONTROL.search(value) is None or field == "location":
                self.headers.setdefault(field, value.decode("latin-1"))
            else:
                self._is_malformed = True

    def on_headers_complete(self) -> None:
        if self.has_head:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            # Interim: a final response follows (RFC 9110, section 15.2). After 101 it would no longer be HTTP.
            self.headers.clear()
        else:
            self.status, self.has_head = status, True
            self.is_last = self._is_malformed or not self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        if not self.is_whole:
            self.body += body

    def on_message_complete(self) -> None:
        self.is_whole = self.has_head


async def read_response(receive: Receive, url: SecretURL, *, head_only: bool = False) -> tuple[Response, bool]:
    """Read a response, and tell whether the connection can be reused.

    Args:
        receive: Returns the next bytes.
        url: URL of the request.
        head_only: Whether the response has no body, regardless of its headers.

    Raises:
        InvalidResponseError: The head is incomplete or not HTTP.
        OSError: The connection failed.
    """
    parser = ResponseParser()
    await parser.read(receive, head_only=head_only)
    body = bytes(memoryview(parser.body)[:MAX_BODY])
    response = Response(status=parser.status, headers=parser.headers, body=body, url=url)
    return response, parser.is_whole and not parser.is_last
