"""Receivers that mean harm: a response costs bounded time and memory, and no other target loses its receipt."""

from __future__ import annotations

import gzip
import socket
import tracemalloc
from collections.abc import Callable
from datetime import timedelta

import pytest

from callback_sdk import JobResult, ResultsWriter
from callback_sdk.errors import CallbackSDKError, DeliveryError
from callback_sdk.testing import WebhookReceiver
from callback_sdk.transport.http import Timeouts
from tests.rawserver import RawServer, answer, read_request

MINUTE = timedelta(minutes=1)
BOMB = gzip.compress(b"<Code>SlowDown</Code>" + bytes(40_000_000))
MUCH = 2_000


def repeat(connection: socket.socket, first: bytes, then: bytes) -> None:
    """Send data, then other data repeatedly."""
    connection.sendall(first)
    for _ in range(MUCH):
        connection.sendall(then)


HOSTILE: dict[str, Callable[[socket.socket], None]] = {
    "a body that expands": lambda connection: connection.sendall(
        answer("403 Forbidden", "Content-Encoding: gzip", body=BOMB)
    ),
    "a body without end": lambda connection: repeat(connection, b"HTTP/1.1 403 No\r\n\r\n", b"x" * 64_000),
    "a header without end": lambda connection: repeat(connection, b"HTTP/1.1 403 No\r\nX: ", b"x" * 64_000),
    "headers without end": lambda connection: repeat(connection, b"HTTP/1.1 403 No\r\n", b"X: y\r\n" * 10_000),
    "a status line without end": lambda connection: repeat(connection, b"HTTP/1.1 403 ", b"x" * 64_000),
    "interim responses without end": lambda connection: repeat(connection, b"", b"HTTP/1.1 103 No\r\n\r\n" * 3_000),
    "chunk extensions without end": lambda connection: repeat(
        connection, b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 64_000
    ),
    "trailers without end": lambda connection: repeat(
        connection, b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 10_000
    ),
    "a length that is no number": lambda connection: connection.sendall(
        b"HTTP/1.1 403 No\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n"
    ),
    "a pause of a thousand years": lambda connection: connection.sendall(
        answer("503 Busy", "Retry-After: " + "9" * 1_000)
    ),
    "a date that is none": lambda connection: connection.sendall(
        answer("503 Busy", "Retry-After: Thu, 01 Jan 2026 00:00:00 " + "(" * 10_000)
    ),
    "TLS in the place of HTTP": lambda connection: connection.sendall(b"\x15\x03\x03\x00\x02\x02\x46" * 1_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_response_is_a_typed_error_of_its_own_target(webhook: WebhookReceiver, name: str) -> None:
    """One attempt reads little of it and keeps less, and the other target has its receipt."""
    attempts = 0

    def script(connection: socket.socket, number: int) -> None:
        nonlocal attempts
        read_request(connection)
        attempts += 1
        HOSTILE[name](connection)

    with (
        RawServer(script) as server,
        ResultsWriter(
            timeout=timedelta(0), attempt_timeouts=Timeouts(connect=MINUTE, read=MINUTE, attempt=MINUTE)
        ) as writer,
    ):
        writer.write(JobResult(job_id="warm", success=True), webhook.url)
        tracemalloc.start()
        with pytest.raises(CallbackSDKError) as caught:
            writer.write(JobResult(job_id="1", success=True), [server.url, webhook.url])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert isinstance(caught.value, DeliveryError)
    assert (attempts, len(caught.value.receipts)) == (1, 1)
    assert (caught.value.retry_after or 0) <= 3600
    # The bomb itself is made before; a response leaves less than this.
    assert peak < 8_000_000
