"""callback_sdk.outbox.async_outbox"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
import logging
import select
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest
import uvicorn
from fastapi import FastAPI
from nbclient import NotebookClient

from callback_sdk import AsyncOutbox, AsyncResultsWriter, JobResult, Outbox, ResultsWriter, S3Signer, Timeouts
from callback_sdk.errors import ConfigurationError, OutboxError
from callback_sdk.outbox.state import folder_of
from callback_sdk.testing import ObjectStore, WebhookReceiver
from callback_sdk.transport import retry
from tests.eventloops import LOOPS, execute, until
from tests.forks import in_child
from tests.rawserver import RawServer, answer, read_request

RESULT = JobResult(job_id="42", success=True, results={"life": [7.5]})
PATIENT = Timeouts(connect=60, read=60, attempt=60)

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Run:
    """Run coroutines in each kind of loop."""
    return lambda main: execute(main, request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that doesn't exist yet."""
    return tmp_path / "outbox.sqlite3"


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once."""
    monkeypatch.setattr(retry, "service_delay", lambda attempts, delays: timedelta(0))


class Holding:
    """A server that answers no request until it is told to.

    Attributes:
        arrived: Number of requests.
        gone: Number of clients that have disconnected without an answer.
        release: Set to answer.
    """

    def __init__(self) -> None:
        self.arrived = self.gone = 0
        self.release = threading.Event()
        self.server = RawServer(self._script)

    def _script(self, connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            self.arrived += 1
            while not self.release.is_set():
                if select.select([connection], [], [], 0.01)[0] and not connection.recv(1):
                    self.gone += 1
                    return
            connection.sendall(answer("200 OK"))


@pytest.fixture
def holding() -> Iterator[Holding]:
    """Give a server that doesn't answer."""
    made = Holding()
    with made.server:
        yield made
        made.release.set()


@pytest.fixture
def signer() -> Iterator[S3Signer]:
    """Give a signer of targets in an object store."""
    with ObjectStore() as store:
        yield S3Signer("b", client=store.client())


@asynccontextmanager
async def patient(path: Path) -> AsyncIterator[AsyncOutbox]:
    writer = AsyncResultsWriter(attempt_timeouts=PATIENT)
    async with writer, AsyncOutbox(path, writer=writer) as outbox:
        yield outbox


def claims(outbox: AsyncOutbox) -> list[str]:
    return outbox._process_state().sender.running_ids()


def test_both_outboxes_have_the_same_methods() -> None:
    """By names, signatures and docstrings; those of one are coroutine functions."""
    own = {name: found for name, found in vars(Outbox).items() if not name.startswith("_")}
    others = {name: found for name, found in vars(AsyncOutbox).items() if not name.startswith("_")}
    assert own.keys() == others.keys() == {"write", "run", "entries", "redeliver", "purge", "close"}
    for name, function in own.items():
        assert inspect.signature(function) == inspect.signature(others[name])
        assert function.__doc__ == others[name].__doc__
        assert inspect.iscoroutinefunction(others[name])
        assert not inspect.iscoroutinefunction(function)
    assert inspect.signature(Outbox) == inspect.signature(AsyncOutbox)


def test_each_outbox_takes_the_writer_of_its_driver(path: Path) -> None:
    """The other one would block the loop, or never be awaited."""
    wrong: Any = ResultsWriter()
    with pytest.raises(ConfigurationError, match="ResultsWriter") as caught:
        AsyncOutbox(path, writer=wrong)
    assert "an AsyncResultsWriter" in caught.value.hint
    wrong = AsyncResultsWriter()
    with pytest.raises(ConfigurationError, match="AsyncResultsWriter"):
        Outbox(path, writer=wrong)


def test_results_are_delivered(loop: Run, path: Path, webhook: WebhookReceiver, no_pauses: None) -> None:
    """At once, or by `run`, over the connections of one writer."""
    webhook.respond(503)

    async def main() -> None:
        async with AsyncOutbox(path) as outbox:
            written = await outbox.write(RESULT, [f"{webhook.url}/{number}" for number in range(20)])
            assert (len(written.receipts), len(written.pending)) == (19, 1)
            await outbox.run(until_empty=True)
            assert {entry.status for entry in await outbox.entries()} == {"delivered"}

    loop(main())
    assert len(webhook.accepted) == 20


def test_any_number_of_tasks_write_at_once(loop: Run, path: Path, webhook: WebhookReceiver) -> None:
    """Also the same result: each is sent once."""

    async def main() -> None:
        async with AsyncOutbox(path) as outbox:
            results = [JobResult(job_id=str(number % 25), success=True) for number in range(50)]
            await asyncio.gather(*(outbox.write(result, webhook.url) for result in results))
            assert len(await outbox.entries(status="delivered")) == 25

    loop(main())
    assert len(webhook.accepted) == 25


def test_the_loop_runs_while_another_process_writes(loop: Run, path: Path, webhook: WebhookReceiver) -> None:
    """SQLite has one writer at a time, and waits for the other one in a thread."""

    async def main() -> None:
        async with AsyncOutbox(path) as outbox:
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            task = asyncio.ensure_future(outbox.write(RESULT, webhook.url))
            await asyncio.sleep(0.1)
            assert not task.done()
            other.execute("COMMIT")
            other.close()
            assert len((await task).receipts) == 1

    loop(main())


def test_waiting_attempts_hold_no_threads(loop: Run, path: Path, holding: Holding) -> None:
    """Neither those of `write` nor those of `run`."""

    async def main() -> None:
        async with patient(path) as outbox:
            others = set(threading.enumerate())
            tasks = [
                asyncio.ensure_future(outbox.write(JobResult(job_id=str(number), success=True), holding.server.url))
                for number in range(50)
            ]
            await until(lambda: holding.arrived == 50)
            ours = {one.name for one in set(threading.enumerate()) - others if "callback-sdk" in one.name}
            assert ours <= {"callback-sdk-asyncio", "callback-sdk-heartbeat"}
            holding.release.set()
            assert sum([len(written.receipts) for written in await asyncio.gather(*tasks)]) == 50

    loop(main())


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_a_result_that_is_stored_when_write_is_canceled_is_pending(
    loop: Run, path: Path, holding: Holding, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its request is closed, its claim released, and `run` sends it."""

    async def main() -> None:
        async with patient(path) as outbox:
            task = asyncio.ensure_future(outbox.write(RESULT, f"{holding.server.url}/hook?token=MARKER"))
            await until(lambda: holding.arrived)
            if how == "cancel":
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(task, 0.01)
            assert claims(outbox) == []
            (entry,) = await outbox.entries()
            assert (entry.status, entry.sending, entry.error) == ("pending", False, None)
            await until(lambda: holding.gone == 1)
            holding.release.set()
            await outbox.run(until_empty=True)
            assert len(await outbox.entries(status="delivered")) == 1

    with caplog.at_level(logging.WARNING):
        loop(main())
    assert holding.arrived == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"the request to {holding.server.url}/hook?*** was interrupted; it may have been processed"
    ]


def test_a_canceled_run_cancels_its_attempts(loop: Run, path: Path, holding: Holding) -> None:
    """At once, without the wait of a stopped one, and no task outlives it."""
    with Outbox(path, writer=ResultsWriter(timeout=0)) as outbox:
        for number in range(3):
            outbox.write(JobResult(job_id=str(number), success=True), f"http://127.0.0.1:9/{number}")
    with contextlib.closing(sqlite3.connect(path)) as hand, hand:
        target = f'{{"url": "{holding.server.url}", "param": {{}}}}'
        hand.execute("UPDATE deliveries SET target = ?, next_attempt_at = 0", (target,))

    async def main() -> None:
        async with patient(path) as outbox:
            task = asyncio.ensure_future(outbox.run())
            await until(lambda: holding.arrived == 3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert claims(outbox) == []
            assert {(entry.status, entry.sending) for entry in await outbox.entries()} == {("pending", False)}
            await until(lambda: holding.gone == 3)

    loop(main())


@pytest.mark.parametrize("event", [threading.Event, asyncio.Event])
def test_a_run_that_is_stopped_waits_for_its_attempts(
    loop: Run, path: Path, holding: Holding, event: Callable[[], Any]
) -> None:
    """And returns when they have ended. An event of either library stops it."""

    async def main() -> None:
        async with patient(path) as outbox:
            stop = event()
            task = asyncio.ensure_future(outbox.write(RESULT, holding.server.url))
            await until(lambda: holding.arrived)
            task.cancel()
            running = asyncio.ensure_future(outbox.run(stop=stop))
            await until(lambda: holding.arrived == 2)
            stop.set()
            await asyncio.sleep(1)
            assert not running.done()
            holding.release.set()
            await running
            assert len(await outbox.entries(status="delivered")) == 1

    loop(main())


def test_attempts_that_hang_end_with_the_run_that_started_them(
    loop: Run, path: Path, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time for running attempts they are canceled, and due again."""
    monkeypatch.setattr("callback_sdk.outbox.base.SHUTDOWN_TIMEOUT", timedelta(seconds=0.1))

    async def main() -> None:
        async with patient(path) as outbox:
            stop = asyncio.Event()
            task = asyncio.ensure_future(outbox.write(RESULT, holding.server.url))
            await until(lambda: holding.arrived)
            task.cancel()
            running = asyncio.ensure_future(outbox.run(stop=stop))
            await until(lambda: holding.arrived == 2)
            stop.set()
            await running
            assert [(entry.status, entry.sending) for entry in await outbox.entries()] == [("pending", False)]

    loop(main())


def test_closing_an_outbox_ends_its_run(loop: Run, path: Path, webhook: WebhookReceiver) -> None:
    """A service that forgets to stop `run` doesn't leave a loop behind that can never send anything."""

    async def main() -> None:
        outbox = AsyncOutbox(path)
        running = asyncio.ensure_future(outbox.run())
        await outbox.write(RESULT, webhook.url)
        await outbox.close()
        await running
        assert len(await outbox.entries(status="delivered")) == 1
        await outbox.close()

    loop(main())


class Stepping:
    """Cancels a task when any task of its loop is suspended for the nth time.

    Args:
        at: The numbers of those suspensions.
    """

    def __init__(self, *at: int) -> None:
        self._at = at
        self._count = 0
        self._main: asyncio.Task[Any] | None = None

    def is_over(self) -> bool:
        """Return whether the task has ended before the first of these suspensions."""
        return self._count < self._at[0]

    async def __call__(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Execute a coroutine with all tasks that it starts; return what it returned, or None if it was canceled."""
        running = asyncio.get_running_loop()
        running.set_task_factory(self._make)
        try:
            self._main = running.create_task(coroutine)
            return await self._main
        except asyncio.CancelledError:
            return None
        finally:
            running.set_task_factory(None)

    def _make(self, running: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(self._stepping(coroutine), loop=running, **options)
        # If the task is canceled before its first step, nothing else ends the coroutine.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    async def _stepping(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await _Steps(coroutine, self._step)

    def _step(self) -> None:
        self._count += 1
        if self._count in self._at and self._main is not None:
            self._main.cancel()


class _Steps:
    def __init__(self, coroutine: Coroutine[Any, Any, Any], step: Callable[[], None]) -> None:
        self._coroutine, self._step = coroutine, step

    def __await__(self) -> Iterator[Any]:
        error: BaseException | None = None
        while True:
            try:
                future = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
            except StopIteration as end:
                return end.value
            self._step()
            error = None
            try:
                yield future
            except BaseException as caught:  # noqa: BLE001 - it is raised in the coroutine
                error = caught


LARGE = JobResult(job_id="7", success=True, results={"x": "x" * 100_000}, outputs={"a.txt": b"a"})


def stored_files(path: Path) -> set[str]:
    return {one.name for one in folder_of(path).iterdir() if one.suffix in (".json", ".output")}


def referenced_files(path: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(path)) as hand:
        rows = hand.execute("SELECT file, outputs FROM results WHERE file IS NOT NULL").fetchall()
    return {file for file, _ in rows} | {copy["file"] for _, outputs in rows for copy in json.loads(outputs)}


@pytest.mark.parametrize("again", [(), (1,), (1, 2, 3)], ids=["once", "twice", "four times"])
def test_a_write_that_is_canceled_anywhere_is_whole_or_absent(
    loop: Run, tmp_path: Path, signer: S3Signer, again: tuple[int, ...]
) -> None:
    """At each suspension of any of its tasks: no claim, no file and no task is left, and what is stored is sent."""
    seen: Counter[int] = Counter()

    async def at(number: int) -> bool:
        path = tmp_path / f"{number}.sqlite3"
        step = Stepping(number, *(number + one for one in again))
        async with AsyncOutbox(path) as outbox:
            targets = [signer.presign_prefix(f"{number}/{target}/") for target in "ab"]
            written = await step(outbox.write(LARGE, targets))
            entries = await outbox.entries()
            assert len(entries) in ((0, 2) if written is None else (2,))
            seen[len(entries)] += 1
            assert claims(outbox) == []
            assert len(outbox._process_state().sender._attempts) == 0
            assert not any(entry.sending for entry in entries)
            assert stored_files(path) == referenced_files(path)
            await outbox.run(until_empty=True)
            assert [entry.status for entry in await outbox.entries()] == ["delivered"] * len(entries)
            assert stored_files(path) == set()
        return step.is_over()

    async def main() -> None:
        number = 1
        while not await at(number):
            number += 1

    loop(main())
    assert seen[0] >= 1
    assert seen[2] >= 5


def test_a_run_that_is_canceled_anywhere_leaves_nothing_claimed(
    loop: Run, tmp_path: Path, webhook: WebhookReceiver, no_pauses: None
) -> None:
    """At each suspension of any of its tasks, and twice in a row. The next one sends the rest."""

    async def at(number: int) -> bool:
        step = Stepping(number, number + 1)
        async with AsyncOutbox(tmp_path / f"{number}.sqlite3") as outbox:
            webhook.respond(503, times=3)
            await outbox.write(JobResult(job_id=str(number), success=True), [f"{webhook.url}/{one}" for one in "abc"])
            await step(outbox.run(until_empty=True))
            assert claims(outbox) == []
            assert len(outbox._process_state().sender._attempts) == 0
            assert not any(entry.sending for entry in await outbox.entries())
            await outbox.run(until_empty=True)
            assert {entry.status for entry in await outbox.entries()} == {"delivered"}
        return step.is_over()

    async def main() -> None:
        number = 1
        while not await at(number):
            number += 1

    loop(main())
    sent = Counter((each.document["job_id"], each.path) for each in webhook.accepted)
    # A request that was canceled may have been processed; it is sent a second time, and never a third one.
    assert set(sent.values()) <= {1, 2}


@pytest.mark.parametrize("method", ["redeliver", "purge", "entries", "close"])
def test_other_calls_that_are_canceled_take_effect(
    loop: Run, path: Path, webhook: WebhookReceiver, method: str
) -> None:
    """Or don't, but never half, and the outbox can be used."""

    async def main() -> None:
        outbox = AsyncOutbox(path)
        webhook.respond(503)
        await outbox.write(RESULT, webhook.url)
        call = outbox.purge(older_than=1) if method == "purge" else getattr(outbox, method)()
        assert await Stepping(1)(call) is None
        await outbox.redeliver()
        await outbox.run(until_empty=True)
        assert [entry.status for entry in await outbox.entries()] == ["delivered"]
        await outbox.close()

    loop(main())


@pytest.mark.parametrize("collected_in_a_loop", [False, True])
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_that_ends_with_a_write_leaves_it_pending(
    path: Path, holding: Holding, name: str, collected_in_a_loop: bool
) -> None:
    """Nobody cancels its tasks. They are closed when they are collected, perhaps while another loop is running."""
    outbox = AsyncOutbox(path)

    async def main() -> None:
        asyncio.ensure_future(outbox.write(RESULT, holding.server.url))  # noqa: RUF006 - it is dropped
        await until(lambda: holding.arrived)

    abandoned = LOOPS[name]()
    abandoned.run_until_complete(main())
    abandoned.close()
    del abandoned

    async def collect() -> None:
        gc.collect()

    if collected_in_a_loop:
        execute(collect())
    gc.collect()
    assert claims(outbox) == []
    holding.release.set()
    execute(outbox.run(until_empty=True))
    assert [entry.status for entry in execute(outbox.entries())] == ["delivered"]
    execute(outbox.close())


def test_an_async_generator_that_is_closed_may_write(loop: Run, path: Path, webhook: WebhookReceiver) -> None:
    """Its `finally` clause awaits as any other code does."""

    async def stream(outbox: AsyncOutbox) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            others = sqlite3.connect(path, isolation_level=None)
            others.execute("BEGIN IMMEDIATE")
            # In a thread: in the loop it would wait in vain.
            asyncio.get_running_loop().call_later(0.1, others.execute, "COMMIT")
            await outbox.write(RESULT, webhook.url)
            others.close()

    async def main() -> None:
        async with AsyncOutbox(path) as outbox:
            streamed = stream(outbox)
            assert await streamed.__anext__() == 1
            await streamed.aclose()  # type: ignore[attr-defined]
            assert len(await outbox.entries(status="delivered")) == 1

    loop(main())


def test_one_outbox_serves_several_loops(path: Path, webhook: WebhookReceiver) -> None:
    """One after another, and at once in several threads, one of which runs the deliveries of all."""
    outbox, stop = AsyncOutbox(path), threading.Event()
    webhook.respond(503, times=3)

    async def write(number: int) -> None:
        await outbox.write(JobResult(job_id=str(number), success=True), webhook.url)
        await outbox.redeliver()

    for number, name in enumerate((*LOOPS, *LOOPS)):
        execute(write(number), name)
    runs = [threading.Thread(target=lambda name=name: execute(outbox.run(stop=stop), name)) for name in LOOPS]
    writes = [threading.Thread(target=lambda n=n: execute(write(n))) for n in range(10, 14)]
    for thread in (*runs, *writes):
        thread.start()
    for thread in writes:
        thread.join()
    webhook.wait_for(11)
    stop.set()
    for thread in runs:
        thread.join()
    execute(outbox.run(until_empty=True))
    assert len(execute(outbox.entries(status="delivered"))) == 8
    execute(outbox.close())


def test_an_outbox_is_used_before_and_after_a_fork(path: Path, webhook: WebhookReceiver) -> None:
    """The child has a connection and threads of its own."""
    outbox = AsyncOutbox(path)

    async def write(number: int) -> int:
        written = await outbox.write(JobResult(job_id=str(number), success=True), [webhook.url, f"{webhook.url}/2"])
        return len(written.receipts)

    assert [execute(write(0)), in_child(lambda: execute(write(1))), execute(write(2))] == [2, 2, 2]
    assert len(execute(outbox.entries(status="delivered"))) == 6
    execute(outbox.close())


def test_a_child_does_not_end_the_deliveries_of_its_parent(path: Path, holding: Holding) -> None:
    """It has copies of the parent's tasks, and collects them; the parent goes on to send."""
    outbox = AsyncOutbox(path)
    copies: list[Any] = []

    def collect() -> bool:
        (task,) = copies
        coroutine = task.get_coro()
        copies.clear()
        with contextlib.suppress(RuntimeError):
            coroutine.close()
        del task, coroutine
        gc.collect()
        with contextlib.closing(sqlite3.connect(path)) as other:
            return bool(other.execute("SELECT owner FROM deliveries").fetchone()[0])

    async def main() -> None:
        copies.append(asyncio.ensure_future(outbox.write(RESULT, holding.server.url)))
        await until(lambda: holding.arrived)
        assert in_child(collect)
        holding.release.set()
        assert len((await copies[0]).receipts) == 1

    execute(main())
    execute(outbox.close())
    assert holding.arrived == 1


def test_a_service_delivers_as_long_as_it_lives(path: Path, webhook: WebhookReceiver) -> None:
    """FastAPI and uvicorn: `run` is a task of the lifespan, and endpoints write."""
    outbox = AsyncOutbox(path)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(outbox.run())
        yield
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await outbox.close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/jobs/{job_id}")
    async def finish(job_id: str) -> dict[str, int]:
        written = await outbox.write(JobResult(job_id=job_id, success=True, results=1), webhook.url)
        await outbox.redeliver()
        return {"pending": len(written.pending)}

    webhook.respond(503)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", loop="uvloop"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(b"POST /jobs/7 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            response = client.makefile("rb").read()
        webhook.wait_for(2)
        server.should_exit = True
        thread.join()
    assert response.endswith(b'{"pending":1}')
    with Outbox(path) as after:
        after.run(until_empty=True)
        assert [entry.status for entry in after.entries()] == ["delivered"]


def test_a_notebook_awaits_in_its_running_loop(path: Path, webhook: WebhookReceiver) -> None:
    """`asyncio.run` fails there, and nothing here needs it."""
    webhook.respond(503)
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell(text)
        for text in (
            "from callback_sdk import AsyncOutbox, JobResult",
            f"outbox = AsyncOutbox({str(path)!r})",
            f"await outbox.write(JobResult(job_id='1', success=True, results=[1]), {webhook.url!r})",
            "await outbox.redeliver()",
            "await outbox.run(until_empty=True)",
            "await outbox.close()",
        )
    ]
    NotebookClient(notebook, timeout=120).execute()
    assert [request.document["job_id"] for request in webhook.accepted] == ["1"]


SHUTDOWN = """
import asyncio, atexit, sys
from callback_sdk import AsyncOutbox, JobResult

outbox = AsyncOutbox(sys.argv[1])

async def write(number):
    await outbox.write(JobResult(job_id=str(number), success=True), sys.argv[2])

async def main():
    global task
    task = asyncio.ensure_future(write(0))
    while not await outbox.entries():
        await asyncio.sleep(0.01)

if sys.argv[3] == "dropped":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
elif sys.argv[3] == "exit":
    atexit.register(lambda: asyncio.run(write(1)))
    asyncio.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["canceled", "dropped", "exit"])
def test_a_process_that_ends_leaves_its_deliveries_due(path: Path, holding: Holding, how: str) -> None:
    """Its loop cancels the tasks, or nobody does, or an exit handler writes once more, without threads."""
    command = [sys.executable, "-c", SHUTDOWN, str(path), holding.server.url, how]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    if how == "exit":
        # No thread can be started any more, so the exit handler waits for this answer.
        threading.Timer(1, holding.release.set).start()
    _, errors = process.communicate(timeout=120)
    assert b"Traceback" not in errors.replace(b"Task was destroyed", b""), errors.decode()
    assert process.returncode == 0
    holding.release.set()
    with Outbox(path) as outbox:
        outbox.run(until_empty=True)
        assert {entry.status for entry in outbox.entries()} == {"delivered"}
        assert len(outbox.entries()) == (2 if how == "exit" else 1)


def test_a_file_that_disappears_ends_run(loop: Run, path: Path, webhook: WebhookReceiver) -> None:
    """It is an error, as in `Outbox.run`."""

    async def main() -> None:
        outbox = AsyncOutbox(path)
        running = asyncio.ensure_future(outbox.run())
        await outbox.write(RESULT, webhook.url)
        path.unlink()
        with pytest.raises(OutboxError, match="was deleted or replaced"):
            await running
        await outbox.close()

    loop(main())
