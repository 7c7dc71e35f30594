"""callback_sdk.writer.deliveries: one result to several targets, in the calling thread."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from pathlib import Path

import pytest

from callback_sdk import AddressGuard, JobResult, ResultsWriter, Timeouts
from callback_sdk.errors import MultipleDeliveryErrors
from callback_sdk.testing import WebhookReceiver
from callback_sdk.transport.call_threads import SMALL
from tests.forks import in_child
from tests.rawserver import RawServer, answer, read_request
from tests.tlsserver import Authority, TLSServer
from tests.waits import interrupt_wait

RESULT = JobResult(job_id="42", success=True, results={"life": [7.5]})
PATIENT = Timeouts(connect=60, read=60, attempt=60)


def targets(url: str, count: int = 3) -> list[str]:
    return [f"{url}/{number}" for number in range(count)]


def test_all_targets_are_sent_to_at_once_without_threads() -> None:
    """A server that answers when all requests are there gets them all."""
    everyone, started = threading.Barrier(16), []
    # Other writers of this process may keep idle threads.
    earlier = set(threading.enumerate())

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            everyone.wait(60)
            started.extend(one for one in {*threading.enumerate()} - earlier if one.name == "callback-sdk")
            connection.sendall(answer("200 OK"))

    with RawServer(script) as server, ResultsWriter(attempt_timeouts=PATIENT) as writer:
        receipts = writer.write(RESULT, targets(server.url, 16))
    assert [receipt.url for receipt in receipts] == targets(server.url, 16)
    assert started == []


def test_an_interrupt_closes_all_connections_and_names_the_targets(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they have the result isn't known; the connections aren't used again."""
    arrived, gone = threading.Semaphore(0), threading.Semaphore(0)

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        arrived.release()
        assert connection.recv(1) == b""
        gone.release()

    interrupt_wait(monkeypatch, arrived, 3)
    with RawServer(script) as server, ResultsWriter(attempt_timeouts=PATIENT) as writer:
        with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.WARNING):
            writer.write(RESULT, targets(server.url))
        for _ in range(3):
            assert gone.acquire(timeout=60)
    for url in targets(server.url):
        assert f"the request to {url} was interrupted; it may have been processed" in caplog.text


def test_a_writer_sends_to_several_targets_wherever_it_is() -> None:
    """In a coroutine of asyncio, in several threads at once, and in the child of a fork."""
    with WebhookReceiver() as webhook, ResultsWriter() as writer:

        def write() -> int:
            return len(writer.write(RESULT, targets(webhook.url)))

        async def main() -> int:
            return write()

        assert [write(), asyncio.run(main()), in_child(write), write()] == [3] * 4
        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(webhook.accepted) == 3 * (4 + len(threads))


def test_errors_keep_the_other_receipts() -> None:
    """One target refuses connections, and one has a path that HTTP can't send."""
    with WebhookReceiver() as webhook, ResultsWriter(timeout=0) as writer:
        with pytest.raises(MultipleDeliveryErrors) as caught:
            writer.write(RESULT, ["http://127.0.0.1:9/?token=MARKER", webhook.url, "http://h/\ud800"])
        assert [receipt.url for receipt in caught.value.receipts] == [webhook.url]
        assert "MARKER" not in str(caught.value)


def test_tls_and_the_address_guard_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate is verified, large documents are sent whole, and a private address is refused."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            connection.sendall(answer("200 OK"))

    big = JobResult(job_id="1", success=True, results={"a": "x" * 10 * SMALL})
    with TLSServer(script, authority.context("127.0.0.1")) as server:
        with ResultsWriter(timeout=0, max_webhook_bytes=10**7) as writer:
            assert [len(writer.write(each, targets(server.url))) for each in (RESULT, big, RESULT)] == [3] * 3
        assert server.connections == 3
        with (
            ResultsWriter(guard=AddressGuard(), timeout=0) as guarded,
            pytest.raises(MultipleDeliveryErrors, match="not public"),
        ):
            guarded.write(RESULT, targets(server.url))
        assert server.connections == 3
