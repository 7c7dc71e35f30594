"""callback_sdk.transport.response"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest

from callback_sdk.redaction import SecretURL
from callback_sdk.transport.driver import run
from callback_sdk.transport.response import (
    MAX_BODY,
    InvalidResponseError,
    Receive,
    Response,
    ResponseParser,
    read_response,
)

URL = SecretURL("https://example.org/hook")
FOREVER = 100_000


def pieces(data: bytes, size: int) -> Callable[[int], bytes]:
    """Return a function that returns the data in pieces, like a socket, followed by its end."""
    left = [data[start : start + size] for start in range(0, len(data), size)]
    return lambda limit: left.pop(0) if left else b""


def waiting(receive: Callable[[int], bytes]) -> Receive:
    """Return a coroutine function that receives."""

    async def call(limit: int) -> bytes:
        return receive(limit)

    return call


def read(data: bytes, size: int = 1000) -> tuple[Response, bool]:
    return run(read_response(waiting(pieces(data, size)), URL))


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("data", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", 200, b"ab"),
        (b"HTTP/1.1 200\r\ncontent-length:0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1;x=y\r\nb\r\n0\r\nETag: no\r\n\r\n",
            200,
            b"ab",
        ),
        (b"HTTP/1.1 100 Continue\r\nETag: no\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201, b""),
        (
            b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nx",
            403,
            b"x",
        ),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab", 200, b"ab"),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nab", 200, b"ab"),
    ],
)
def test_a_response_with_a_length(data: bytes, status: int, body: bytes, size: int) -> None:
    """For any split into pieces; the connection can be reused."""
    response, reusable = read(data, size)
    assert (response.status, response.body, response.url) == (status, body, URL)
    assert "etag" not in response.headers
    assert reusable


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.1 403 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab", b"ab"),
        (b"HTTP/1.0 403 No\r\nContent-Length: 2\r\n\r\nab", b"ab"),
        (b"HTTP/1.1 403 No\r\n\r\nab", b"ab"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nab", b"ab"),
        (b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab", b"ab"),
        (b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nnonsense", b""),
        (b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ncd", b"ab"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nab and more", b"ab"),
        (b"HTTP/1.1 403 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab and more", b"ab"),
    ],
)
def test_a_response_that_ends_with_its_connection(data: bytes, body: bytes) -> None:
    """Its status counts despite later errors; the connection isn't reused."""
    response, reusable = read(data)
    assert (response.status, response.body) == (403, body)
    assert not reusable


def test_an_unrequested_upgrade_is_the_response() -> None:
    """The bytes after it aren't HTTP."""
    response, reusable = read(b"HTTP/1.1 101 Switch\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n\x00\x01")
    assert (response.status, reusable) == (101, False)


def test_the_first_of_several_headers_counts() -> None:
    """Names are in lower case, and values as they came."""
    response, _ = read('HTTP/1.1 200 OK\r\nETag: "ä"\r\netag: b\r\nContent-Length: 0\r\n\r\n'.encode("latin-1"))
    assert response.headers == {"etag": '"ä"', "content-length": "0"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nETag: ",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * FOREVER,
    ],
)
def test_a_response_without_a_head_is_an_error(data: bytes) -> None:
    """Reading stops early, regardless of the length."""
    received = 0
    give = pieces(data, 1000)

    def receive(limit: int) -> bytes:
        nonlocal received
        received += 1000
        return give(limit)

    with pytest.raises(InvalidResponseError):
        run(read_response(waiting(receive), URL))
    assert received <= 70_000


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "rest",
    [
        b" OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab",
        b" OK\r\nContent-Length: -2\r\n\r\nab",
        b" OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b" OK\r\nX y: a\r\n\r\n",
        b" OK\r\nX: a\x01b\r\n\r\n",
        b" OK\r\nno colon\r\n\r\n",
        b" OK\r\n folded\r\n\r\n",
        b" OK\rX: y\r\r",
        b" OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b" OK\r\n" + b"X: y\r\n" * FOREVER,
        b" OK\r\nX: " + b"y" * FOREVER,
    ],
)
def test_the_status_counts_despite_later_errors(rest: bytes, size: int) -> None:
    """A receiver with a malformed header has the result, so it isn't sent again; the connection isn't reused."""
    response, reusable = read(b"HTTP/1.1 200" + rest, size)
    assert (response.status, reusable) == (200, False)


def test_only_a_location_may_have_control_characters() -> None:
    """Any other field with them is ignored; AIStore writes those of a key unescaped."""
    head = b"HTTP/1.1 307 Redirect\r\nContent-Length: 0\r\nLocation: http://a/\x01\x1b\xc3\xbc?b\r\n"
    response, reusable = read(head + b"\r\n")
    assert (response.headers["location"].encode("latin-1"), reusable) == (b"http://a/\x01\x1b\xc3\xbc?b", True)
    response, reusable = read(head + b"ETag: \x1b[2J\r\n\r\n")
    assert ("etag" in response.headers, "location" in response.headers, reusable) == (False, True, False)


@pytest.mark.parametrize("data", [b"\x15\x03\x03\x00\x02\x02\x46", b"\x16\x03\x01"])
def test_tls_in_the_place_of_http_is_recognized(data: bytes) -> None:
    """The error can then say that the URL needs https."""
    with pytest.raises(InvalidResponseError) as caught:
        read(data)
    assert caught.value.is_tls


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "deflate"])
def test_compressed_body_is_decoded_up_to_the_limit(encoding: str) -> None:
    """The code of an error is found in it, and a small body can't expand to gigabytes."""
    text = b"<Code>SlowDown</Code>" + bytes(50_000_000)
    data = zlib.compress(text) if encoding == "deflate" else gzip.compress(text)
    response = Response(status=503, headers={"content-encoding": encoding}, body=data[:MAX_BODY], url=URL)
    assert response.decoded_body() == text[:MAX_BODY]


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity", "gzip, gzip"])
def test_body_that_can_not_be_decoded_is_returned_unchanged(encoding: str) -> None:
    """A wrong header isn't an error."""
    response = Response(status=503, headers={"content-encoding": encoding}, body=b"<Code>SlowDown</Code>", url=URL)
    assert response.decoded_body() == b"<Code>SlowDown</Code>"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 500 No\r\nContent-Length: 9999999999\r\n\r\n" + b"y" * 10_000_000,
        b"HTTP/1.1 500 No\r\n\r\n" + b"y" * 10_000_000,
        b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\ny\r\n" * 1_000_000,
        b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"y" * 10_000_000,
        b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"y" * 10_000_000,
    ],
)
def test_a_long_answer_is_not_read_to_its_end(data: bytes) -> None:
    """64 KiB of a body are enough, and framing has a limit as well."""
    left = memoryview(data)
    received = 0

    def receive(limit: int) -> memoryview:
        nonlocal received
        received += limit
        return left[received - limit : received]

    response, reusable = run(read_response(waiting(receive), URL))
    assert response.status == 500
    assert len(response.body) <= MAX_BODY
    assert not reusable
    assert received < 600_000


def test_behind_a_connect_nothing_is_read() -> None:
    """The next bytes are the tunnel's."""
    left = [b"HTTP/1.1 200 Connection established\r\n\r\n"]
    reading = ResponseParser()
    run(reading.read(waiting(lambda limit: left.pop()), head_only=True))
    assert reading.status == 200


@pytest.mark.parametrize("method", ["on_message_begin", "on_header", "on_headers_complete", "on_body"])
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_signal_while_a_response_is_parsed_is_raised(
    monkeypatch: pytest.MonkeyPatch, method: str, interruption: type[BaseException]
) -> None:
    """It isn't treated as a malformed response."""

    def interrupted(*_: object) -> None:
        raise interruption

    monkeypatch.setattr(ResponseParser, method, interrupted)
    pieces = iter([b"HTTP/1.1 200 OK\r\nETag: 1\r\nContent-Length: 1\r\n\r\n1", b""])
    with pytest.raises(interruption):
        run(ResponseParser().read(waiting(lambda _: next(pieces))))
