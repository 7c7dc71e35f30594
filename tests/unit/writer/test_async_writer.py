"""callback_sdk.writer.async_writer"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import select
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import uvicorn
from fastapi import FastAPI
from nbclient import NotebookClient
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from callback_sdk import AddressGuard, AsyncResultsWriter, JobResult, Receipt, ResultsWriter, Timeouts
from callback_sdk.errors import DeliveryError, EncodingError, MultipleDeliveryErrors
from callback_sdk.testing import WebhookReceiver
from callback_sdk.transport import connect
from callback_sdk.transport.call_threads import SMALL
from callback_sdk.writer import attempts
from tests.eventloops import LOOPS, execute, until
from tests.forks import in_child
from tests.rawserver import RawServer, answer, read_request
from tests.tlsserver import Authority, TLSServer

RESULT = JobResult(job_id="42", success=True, results={"life": [7.5]})
PATIENT = Timeouts(connect=60, read=60, attempt=60)

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Run:
    """Run coroutines in each kind of loop."""
    return lambda main: execute(main, request.param)


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    """Receive webhooks."""
    with WebhookReceiver() as receiver:
        yield receiver


class Holding:
    """A server that answers no request until it is told to.

    Attributes:
        arrived: Set when a request has arrived.
        release: Set to answer.
        gone: Set when a client has disconnected without an answer.
    """

    def __init__(self) -> None:
        self.arrived, self.release, self.gone = threading.Event(), threading.Event(), threading.Event()
        self.server = RawServer(self._script)

    def _script(self, connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            self.arrived.set()
            while not self.release.is_set():
                if select.select([connection], [], [], 0.01)[0] and not connection.recv(1):
                    self.gone.set()
                    return
            connection.sendall(answer("200 OK"))


@pytest.fixture
def holding() -> Iterator[Holding]:
    """Give a server that doesn't answer."""
    made = Holding()
    with made.server:
        yield made
        made.release.set()


def test_both_writers_have_the_same_methods() -> None:
    """By names, signatures and docstrings; those of one are coroutine functions."""
    own = {name: found for name, found in vars(ResultsWriter).items() if not name.startswith("_")}
    others = {name: found for name, found in vars(AsyncResultsWriter).items() if not name.startswith("_")}
    assert own.keys() == others.keys() == {"write", "write_many", "close"}
    for name, function in own.items():
        assert inspect.signature(function) == inspect.signature(others[name])
        assert function.__doc__ == others[name].__doc__
        assert inspect.iscoroutinefunction(others[name])
        assert not inspect.iscoroutinefunction(function)
    assert inspect.signature(ResultsWriter) == inspect.signature(AsyncResultsWriter)


def test_a_result_arrives(loop: Run, webhook: WebhookReceiver) -> None:
    """At all targets, over one connection for each."""

    async def main() -> list[Receipt]:
        async with AsyncResultsWriter() as writer:
            await writer.write(RESULT, webhook.url)
            return await writer.write(RESULT, [f"{webhook.url}/{number}" for number in range(20)])

    receipts = loop(main())
    assert [receipt.url.rpartition("/")[2] for receipt in receipts] == [str(number) for number in range(20)]
    assert len(webhook.accepted) == 21


def test_errors_are_those_of_the_blocking_writer(loop: Run, webhook: WebhookReceiver) -> None:
    """Each target's, with the receipts of the others, and without the arguments in the traceback."""

    async def main() -> None:
        async with AsyncResultsWriter(timeout=0) as writer:
            with pytest.raises(EncodingError):
                await writer.write(JobResult(job_id="1", success=True, results=object()), webhook.url)
            with pytest.raises(DeliveryError, match="refuses connections"):
                await writer.write(RESULT, "http://127.0.0.1:9/?token=MARKER")
            with pytest.raises(MultipleDeliveryErrors) as caught:
                await writer.write(RESULT, ["http://127.0.0.1:9/a", webhook.url, "http://127.0.0.1:9/b"])
            assert len(caught.value.receipts) == 1

    loop(main())


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_a_canceled_request_is_closed_and_reported(
    loop: Run, holding: Holding, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connection isn't used again: the response to the canceled request would be taken for another one's."""

    async def main() -> None:
        async with AsyncResultsWriter(attempt_timeouts=PATIENT) as writer:
            task = asyncio.ensure_future(writer.write(RESULT, f"{holding.server.url}/hook?token=MARKER"))
            await until(holding.arrived.is_set)
            if how == "cancel":
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(task, 0.01)
            await until(holding.gone.is_set)
            holding.release.set()
            (receipt,) = await writer.write(RESULT, holding.server.url)
            assert receipt.attempts == 1

    with caplog.at_level(logging.WARNING):
        loop(main())
    assert holding.server.connections == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"the request to {holding.server.url}/hook?*** was interrupted; it may have been processed"
    ]


def test_targets_that_were_reached_before_a_cancellation_keep_their_documents(
    loop: Run, holding: Holding, webhook: WebhookReceiver
) -> None:
    """All other requests end with it."""

    async def main() -> None:
        async with AsyncResultsWriter(attempt_timeouts=PATIENT) as writer:
            task = asyncio.ensure_future(writer.write(RESULT, [holding.server.url, webhook.url]))
            await until(lambda: holding.arrived.is_set() and webhook.accepted)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(holding.gone.is_set)

    loop(main())
    assert len(webhook.accepted) == 1


def test_a_pause_before_a_retry_can_be_canceled(loop: Run, webhook: WebhookReceiver) -> None:
    """Nothing is sent afterwards."""
    webhook.respond(503, headers={"Retry-After": "60"}, times=9)

    async def main() -> None:
        async with AsyncResultsWriter(timeout=600) as writer:
            task = asyncio.ensure_future(writer.write(RESULT, webhook.url))
            await until(lambda: webhook.requests)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    loop(main())
    assert len(webhook.requests) == 1


def test_many_deliveries_wait_at_once(loop: Run, holding: Holding) -> None:
    """They hold no threads."""

    async def main() -> None:
        async with AsyncResultsWriter(attempt_timeouts=PATIENT) as writer:
            # Other writers of this process may keep idle threads.
            earlier = set(threading.enumerate())
            tasks = [asyncio.ensure_future(writer.write(RESULT, holding.server.url)) for _ in range(100)]
            await until(lambda: holding.server.connections == 100)
            new = [one for one in threading.enumerate() if one not in earlier]
            assert [one.name for one in new if one.name == "callback-sdk"] == []
            holding.release.set()
            assert [len(receipts) for receipts in await asyncio.gather(*tasks)] == [1] * 100

    loop(main())


def test_the_loop_runs_while_a_name_is_resolved(
    loop: Run, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver takes up to half a minute; here it waits for another task."""
    resolved, look_up = threading.Event(), connect._look_up

    def slow(host: str, port: int) -> Any:
        assert resolved.wait(60)
        return look_up("127.0.0.1", port)

    monkeypatch.setattr(connect, "_look_up", slow)

    async def main() -> None:
        async with AsyncResultsWriter(attempt_timeouts=PATIENT) as writer:
            task = asyncio.ensure_future(writer.write(RESULT, webhook.url.replace("127.0.0.1", "receiver.test")))
            await asyncio.sleep(0.05)
            resolved.set()
            assert len(await task) == 1

    loop(main())


def test_the_loop_runs_while_a_document_is_encoded(
    loop: Run, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one, or one of unknown size; a small one is encoded at once."""
    threads: list[bool] = []
    encode = attempts.encoded_results

    def encoded(*args: Any) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return encode(*args)

    monkeypatch.setattr(attempts, "encoded_results", encoded)
    results: list[Any] = [{"a": "x" * SMALL}, list(range(2000)), {"a": 1}, Path(__file__).parent]

    async def main() -> None:
        async with AsyncResultsWriter(max_webhook_bytes=10**7) as writer:
            for each in results[:3]:
                await writer.write(JobResult(job_id="1", success=True, results=each), webhook.url)
            with pytest.raises(EncodingError):
                await writer.write(JobResult(job_id="1", success=True, results=results[3]), webhook.url)

    loop(main())
    assert threads == [False, False, True, False]


def test_one_writer_serves_several_loops(webhook: WebhookReceiver) -> None:
    """One after another, and at once in several threads, over the same connections."""
    writer = AsyncResultsWriter()

    async def main() -> list[Receipt]:
        return await writer.write(RESULT, [webhook.url, f"{webhook.url}/2"])

    for name in (*LOOPS, *LOOPS):
        assert len(execute(main(), name)) == 2
    threads = [threading.Thread(target=execute, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(writer.close())
    assert len(webhook.accepted) == 2 * (2 * len(LOOPS) + len(threads))


def test_a_writer_is_used_before_and_after_a_fork(webhook: WebhookReceiver) -> None:
    """The child has threads and connections of its own."""
    writer = AsyncResultsWriter()
    # Its size isn't known at once, so a thread encodes it.
    result = JobResult(job_id="1", success=True, results=list(range(2000)))

    async def main() -> int:
        return len(await writer.write(result, [webhook.url, f"{webhook.url}/2"]))

    assert [execute(main()), in_child(lambda: execute(main())), execute(main())] == [2, 2, 2]
    assert len(webhook.accepted) == 6
    asyncio.run(writer.close())


def test_tls_and_the_address_guard_hold(loop: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate is verified, a client certificate is sent, and a private address is refused."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            connection.sendall(answer("200 OK"))

    async def main(url: str) -> None:
        cert = authority.client_cert(tmp_path)
        async with AsyncResultsWriter(client_cert=cert, timeout=0, max_webhook_bytes=10**7) as writer:
            big = JobResult(job_id="1", success=True, results={"a": "x" * 5_000_000})
            assert [len(await writer.write(each, url)) for each in (RESULT, big, RESULT)] == [1, 1, 1]
        async with AsyncResultsWriter(timeout=0) as writer:
            with pytest.raises(DeliveryError, match="client certificate"):
                await writer.write(RESULT, url)
        async with AsyncResultsWriter(guard=AddressGuard(), timeout=0) as writer:
            with pytest.raises(Exception, match="not public"):
                await writer.write(RESULT, url)

    context = authority.context("127.0.0.1", clients=True)
    with TLSServer(script, context) as server:
        loop(main(server.url))
        assert server.connections == 2


def test_spans_belong_to_the_tasks_trace(loop: Run, webhook: WebhookReceiver) -> None:
    """Each of two tasks has its own, also for documents that are encoded in a thread."""
    tracer = TracerProvider().get_tracer("test")

    async def one(number: int) -> str:
        with tracer.start_as_current_span("job") as span:
            async with AsyncResultsWriter(max_webhook_bytes=10**7) as writer:
                await asyncio.sleep(0)
                result = JobResult(job_id=str(number), success=True, results={"a": "x" * SMALL})
                await writer.write(result, [f"{webhook.url}/a", f"{webhook.url}/b"])
            assert trace.get_current_span() is span
            return f"{span.get_span_context().trace_id:032x}"

    async def main() -> list[str]:
        return await asyncio.gather(one(0), one(1))

    traces = loop(main())
    sent = {(json.loads(each.body)["job_id"], each.headers["traceparent"].split("-")[1]) for each in webhook.accepted}
    assert sent == {("0", traces[0]), ("1", traces[1])}


def test_a_service_delivers_in_its_endpoints(webhook: WebhookReceiver) -> None:
    """FastAPI and uvicorn: one writer for all requests."""
    app, writer = FastAPI(), AsyncResultsWriter()

    @app.post("/jobs/{job_id}")
    async def finish(job_id: str) -> dict[str, Any]:
        receipts = await writer.write(JobResult(job_id=job_id, success=True, results=1), webhook.url)
        return {"attempts": [receipt.attempts for receipt in receipts]}

    webhook.respond(503, headers={"Retry-After": "0"})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", loop="uvloop"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(b"POST /jobs/7 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            response = client.makefile("rb").read()
        server.should_exit = True
        thread.join()
    assert response.endswith(b'{"attempts":[2]}')
    assert webhook.accepted[0].document["job_id"] == "7"


def test_a_notebook_awaits_in_its_running_loop(webhook: WebhookReceiver) -> None:
    """`asyncio.run` fails there, and nothing here needs it."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell(text)
        for text in (
            "from callback_sdk import AsyncResultsWriter, JobResult\nwriter = AsyncResultsWriter()",
            f"await writer.write(JobResult(job_id='1', success=True, results=[1]), {webhook.url!r})",
            f"await writer.write(JobResult(job_id='2', success=True, results=[2]), {webhook.url!r})",
            "await writer.close()",
        )
    ]
    NotebookClient(notebook, timeout=120).execute()
    assert [request.document["job_id"] for request in webhook.accepted] == ["1", "2"]
