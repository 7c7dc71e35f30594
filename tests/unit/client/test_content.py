"""callback_sdk.client.content"""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from callback_sdk.client import Client
from callback_sdk.errors import InvalidRequestError, ResponseTooLargeError, ServiceConnectionError, ServiceError
from tests.unit.client.jobs import ACCEPTED, DATA, PREDICT, TOKEN

MIB = 1024 * 1024
BOMB = gzip.compress(b"[" + b" " * (64 * MIB) + b"]", 1)
BODIES = {
    "chunks": (b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "length": (b"Content-Length: 1000000000000\r\n\r\n", b" " * 65536),
    "until it closes": (b"\r\n", b" " * 65536),
}


@contextlib.contextmanager
def endless(head: bytes, piece: bytes) -> Iterator[str]:
    """Serve one piece again and again after a head, until the client closes the connection."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, contextlib.suppress(ConnectionError):
                    connection.recv(65536)
                    connection.sendall(head)
                    while True:
                        connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/api/v2"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(60)


@pytest.fixture(autouse=True)
def small_limit(clean_environment: pytest.MonkeyPatch) -> None:
    """Let a client read one MiB."""
    clean_environment.setenv("CALLBACK_SDK_MAX_RESPONSE_BYTES", "1MiB")


@pytest.mark.parametrize("body", list(BODIES))
def test_an_endless_result_ends_at_the_limit(body: str) -> None:
    """With any framing; the error has the limit and a hint to raise it."""
    head, piece = BODIES[body]
    with (
        endless(b"HTTP/1.1 200 OK\r\n" + head, piece) as url,
        Client(url, token=TOKEN, retries=0) as client,
        pytest.raises(ResponseTooLargeError, match=r"more than 1048576 bytes.*CALLBACK_SDK_MAX_RESPONSE_BYTES"),
    ):
        client.get_task("42")


@pytest.mark.parametrize(("status", "error"), [("400 Bad", InvalidRequestError), ("307 There", ServiceError)])
@pytest.mark.parametrize("body", list(BODIES))
def test_an_endless_refusal_is_still_a_refusal(body: str, status: str, error: type[ServiceError]) -> None:
    """Its start is read, and the error has its status."""
    head, piece = BODIES[body]
    location = b" \r\nLocation: http://127.0.0.1:1/\r\n"
    with (
        endless(f"HTTP/1.1 {status}".encode() + location + head, piece) as url,
        Client(url, token=TOKEN, retries=0) as client,
        pytest.raises(error) as caught,
    ):
        client.get_task("42")
    assert caught.value.status == int(status[:3])


def test_an_endless_error_is_retried_like_any_other() -> None:
    """The content that urllib3 reads before a retry is limited too."""
    head, piece = BODIES["chunks"]
    with (
        endless(b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\n" + head, piece) as url,
        Client(url, token=TOKEN, retries=1) as client,
        pytest.raises(ServiceError) as caught,
    ):
        client.get_task("42")
    assert caught.value.status == 503


def test_endless_interim_responses_end() -> None:
    """A head is bounded as well: http.client skips any number of `100 Continue`."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * 4096
    with (
        endless(interim, interim) as url,
        Client(url, token=TOKEN, retries=0) as client,
        pytest.raises(ServiceConnectionError, match="head of more than"),
    ):
        client.get_task("42")


@pytest.mark.parametrize(("status", "error"), [(200, ResponseTooLargeError), (400, InvalidRequestError)])
def test_a_small_body_that_becomes_a_large_one_is_not_decompressed_whole(
    service: Any, status: int, error: type[ServiceError]
) -> None:
    """The limit counts decompressed bytes, and memory stays near it."""
    service.on("GET", "/algorithms/tasks/42", service.Say(status, raw=BOMB, headers={"Content-Encoding": "gzip"}))
    with Client(service.url, token=TOKEN, retries=0) as client:
        tracemalloc.start()
        try:
            with pytest.raises(error):
                client.get_task("42")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 32 * MIB


def test_a_submission_with_too_large_a_response_names_its_key(service: Any) -> None:
    """The task may have been accepted, so the error has the key that makes no second one."""
    service.on("POST", PREDICT, service.Say(202, raw=b" " * (2 * MIB)))
    with Client(service.url, token=TOKEN) as client, pytest.raises(ResponseTooLargeError) as caught:
        client.run_algorithm("an-algorithm", DATA)
    assert caught.value.idempotency_key


def test_a_response_of_the_limits_size_is_read(service: Any) -> None:
    """And the connection is used again, for a compressed one too."""
    text = b'{"job_id": "42"' + b" " * MIB
    whole = text[: MIB - 1] + b"}"
    service.on("GET", "/algorithms/tasks/42", service.Say(raw=whole))
    with Client(service.url, token=TOKEN) as client:
        assert client.get_task("42").job_id == "42"
        zipped = gzip.compress(whole)
        service.on("GET", "/algorithms/tasks/42", service.Say(raw=zipped, headers={"Content-Encoding": "gzip"}))
        assert client.get_task("42").job_id == ACCEPTED["job_id"] == "42"
