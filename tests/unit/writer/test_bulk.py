"""callback_sdk.writer.bulk: `write_many` of both writers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from callback_sdk import AsyncResultsWriter, JobResult, ResultsWriter, S3Signer, Timeouts, WriteOutcome, progress
from callback_sdk.errors import (
    CallbackParamError,
    ConfigurationError,
    DeliveryError,
    EncodingError,
    MultipleDeliveryErrors,
    TargetError,
)
from callback_sdk.testing import ObjectStore, WebhookReceiver
from callback_sdk.writer import delivery
from tests.eventloops import execute
from tests.forks import in_child
from tests.rawserver import RawServer, answer, read_request
from tests.waits import interrupt_wait

PATIENT = Timeouts(connect=60, read=60, attempt=60)

WriteMany = Callable[..., list[WriteOutcome]]


def result(number: int) -> JobResult:
    return JobResult(job_id=str(number), success=True, results={"number": number})


def blocking(items: Any, *, options: dict[str, Any] | None = None, **given: Any) -> list[WriteOutcome]:
    with ResultsWriter(**(options or {})) as writer:
        return writer.write_many(items, **given)


def asynchronous(items: Any, *, options: dict[str, Any] | None = None, **given: Any) -> list[WriteOutcome]:
    async def main() -> list[WriteOutcome]:
        async with AsyncResultsWriter(**(options or {})) as writer:
            return await writer.write_many(items, **given)

    return execute(main())


@pytest.fixture(params=[blocking, asynchronous])
def write_many(request: pytest.FixtureRequest) -> WriteMany:
    """Give `write_many` of each writer."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    """Receive webhooks."""
    with WebhookReceiver() as receiver:
        yield receiver


class Stop(Exception):
    """Raised by a test's iterable or callback."""


def test_each_result_arrives_at_its_target(write_many: WriteMany, webhook: WebhookReceiver) -> None:
    """The outcomes have the order of the items, whatever the order of their ends."""
    outcomes = write_many((result(number), f"{webhook.url}/{number}") for number in range(100))
    assert [(one.job_id, one.error, len(one.receipts)) for one in outcomes] == [(str(n), None, 1) for n in range(100)]
    assert [one.receipts[0].url for one in outcomes] == [f"{webhook.url}/{number}" for number in range(100)]
    assert {each.path.rpartition("/")[2]: each.document["job_id"] for each in webhook.accepted} == {
        str(number): str(number) for number in range(100)
    }
    assert write_many([]) == []


def test_items_have_what_write_takes(write_many: WriteMany) -> None:
    """Parameters, several targets, and what a signer returns."""
    with ObjectStore() as store, WebhookReceiver() as webhook:
        signer = S3Signer("b", client=store.client())
        post = signer.presign_post("post.json")
        outcomes = write_many(
            [
                (result(0), signer.presign_put("put.json")),
                (result(1), post.url, {"s3_fields": post.fields}),
                [result(2), [(webhook.url, {"run": 7}), signer.presign_put("both.json")], None],
            ]
        )
        assert [one.error for one in outcomes] == [None] * 3
        assert [[receipt.target_kind for receipt in one.receipts] for one in outcomes] == [
            ["s3-put"],
            ["s3-post"],
            ["webhook", "s3-put"],
        ]
        assert json.loads(store.objects["b/post.json"].body)["job_id"] == "1"
        assert webhook.accepted[0].document["callback_param"] == {"run": 7}


def test_the_error_of_one_result_is_in_its_outcome(write_many: WriteMany, webhook: WebhookReceiver) -> None:
    """With the receipts of its other targets, and without credentials. The other results arrive."""
    outcomes = write_many(
        [
            (result(0), webhook.url),
            (result(1), "http://127.0.0.1:9/?token=MARKER"),
            (JobResult(job_id="2", success=True, results=object()), webhook.url),
            (result(3), [webhook.url, "http://127.0.0.1:9/?token=MARKER"]),
            (result(4), None),
            (result(5), [webhook.url], [{}, {}]),
            (result(6), [webhook.url, "http://h/\ud800", "http://127.0.0.1:9/"]),
            "MARKER",
            (result(8),),
            ("MARKER", webhook.url),
            (result(10), webhook.url),
        ],
        options={"timeout": 0},
    )
    assert [type(one.error) for one in outcomes] == [
        type(None),
        DeliveryError,
        EncodingError,
        DeliveryError,
        TargetError,
        CallbackParamError,
        MultipleDeliveryErrors,
        CallbackParamError,
        CallbackParamError,
        CallbackParamError,
        type(None),
    ]
    assert [len(one.receipts) for one in outcomes] == [1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1]
    assert [one.job_id for one in outcomes] == [*map(str, range(7)), None, "8", None, "10"]
    for one in outcomes:
        trace = one.error.__traceback__ if one.error else None
        while trace is not None:
            assert "MARKER" not in repr([repr(value) for value in trace.tb_frame.f_locals.values()])
            trace = trace.tb_next
        assert "MARKER" not in str(one.error)


def test_failures_are_retried(write_many: WriteMany, webhook: WebhookReceiver) -> None:
    """Each result has its own attempts."""
    for _ in range(5):
        webhook.respond(503, headers={"Retry-After": "0"})
    outcomes = write_many((result(number), webhook.url) for number in range(20))
    assert [one.error for one in outcomes] == [None] * 20
    assert sum(one.receipts[0].attempts for one in outcomes) == len(webhook.requests) == 25


@pytest.mark.parametrize("limit", [1, 3])
def test_items_are_taken_when_a_connection_is_free(limit: int, write_many: WriteMany) -> None:
    """The server never has more requests than that at once, and no more items were taken than were sent."""
    active, most, taken, done, lock = [0], [0], [0], [0], threading.Lock()

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            with lock:
                active[0] += 1
                most[0] = max(most[0], active[0])
                active[0] -= 1
            connection.sendall(answer("200 OK"))

    def items() -> Iterator[Any]:
        for number in range(20):
            taken[0] += 1
            assert taken[0] - done[0] <= limit
            yield result(number), server.url

    def count(outcome: WriteOutcome) -> None:
        done[0] += 1

    with RawServer(script) as server:
        outcomes = write_many(items(), max_concurrent=limit, on_outcome=count, options={"attempt_timeouts": PATIENT})
        assert server.connections <= limit
    assert [one.error for one in outcomes] == [None] * 20
    assert most[0] <= limit


def test_all_connections_are_used_at_once(write_many: WriteMany) -> None:
    """A server that answers when all requests are there gets them, and each connection is used again."""
    everyone = threading.Barrier(16)

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            everyone.wait(60)
            connection.sendall(answer("200 OK"))

    with RawServer(script) as server:
        outcomes = write_many(
            ((result(number), server.url) for number in range(48)), options={"attempt_timeouts": PATIENT}
        )
        assert server.connections == 16
    assert [one.error for one in outcomes] == [None] * 48


def test_an_error_of_the_iterable_is_raised_after_the_results_before_it(
    write_many: WriteMany, webhook: WebhookReceiver
) -> None:
    """Their outcomes are known from `on_outcome`."""
    seen: list[WriteOutcome] = []

    def items() -> Iterator[Any]:
        for number in range(10):
            yield result(number), webhook.url
        raise Stop

    with pytest.raises(Stop):
        write_many(items(), on_outcome=seen.append)
    assert sorted(int(one.job_id or "") for one in seen) == list(range(10))
    assert len(webhook.accepted) == 10


def test_an_error_of_the_callback_ends_the_call(write_many: WriteMany, webhook: WebhookReceiver) -> None:
    """What is being sent is finished; no further item is taken."""
    seen, taken = [], []

    def items() -> Iterator[Any]:
        for number in range(100):
            taken.append(number)
            yield result(number), webhook.url

    def fail(outcome: WriteOutcome) -> None:
        seen.append(outcome)
        if len(seen) == 3:
            raise Stop

    with pytest.raises(Stop):
        write_many(items(), max_concurrent=4, on_outcome=fail)
    assert len(webhook.accepted) == len(seen) == len(taken) < 10


def test_stop_iteration_of_the_callback_is_the_cause_of_an_error(
    write_many: WriteMany, webhook: WebhookReceiver
) -> None:
    """It doesn't look like the end of the items."""

    def fail(outcome: WriteOutcome) -> None:
        raise StopIteration

    with pytest.raises(RuntimeError) as caught:
        write_many([(result(number), webhook.url) for number in range(20)], max_concurrent=1, on_outcome=fail)
    assert isinstance(caught.value.__cause__, StopIteration)
    assert len(webhook.accepted) == 1


def test_an_interrupt_closes_all_connections_and_names_the_targets(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcomes until then are known from `on_outcome`."""
    arrived, gone = threading.Semaphore(0), threading.Semaphore(0)
    seen: list[WriteOutcome] = []

    def script(connection: socket.socket, number: int) -> None:
        path = read_request(connection)[0].split()[1]
        if path == b"/0":
            connection.sendall(answer("200 OK"))
            read_request(connection)
        arrived.release()
        assert connection.recv(1) == b""
        gone.release()

    interrupt_wait(monkeypatch, arrived, 4)
    with RawServer(script) as server, ResultsWriter(attempt_timeouts=PATIENT) as writer:
        items = ((result(number), f"{server.url}/{number}") for number in range(9))
        with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.WARNING):
            writer.write_many(items, max_concurrent=4, on_outcome=seen.append)
        for _ in range(4):
            assert gone.acquire(timeout=60)
    assert [one.job_id for one in seen] == ["0"]
    for number in range(1, 5):
        assert f"the request to {server.url}/{number} was interrupted; it may have been processed" in caplog.text


def test_a_canceled_call_ends_its_requests(webhook: WebhookReceiver) -> None:
    """As `write` of the asynchronous writer does."""
    arrived, gone = threading.Event(), threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        arrived.set()
        assert connection.recv(1) == b""
        gone.set()

    async def main() -> None:
        async with AsyncResultsWriter(attempt_timeouts=PATIENT) as writer:
            task = asyncio.ensure_future(writer.write_many([(result(1), server.url)]))
            await asyncio.to_thread(arrived.wait, 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with RawServer(script) as server:
        execute(main())
        assert gone.wait(60)


def test_asynchronous_items(webhook: WebhookReceiver) -> None:
    """A generator that awaits isn't asked for an item while it makes one."""

    async def items() -> AsyncIterator[Any]:
        for number in range(30):
            await asyncio.sleep(0.001)
            yield result(number), webhook.url

    outcomes = asynchronous(items())
    assert [one.job_id for one in outcomes] == [str(number) for number in range(30)]
    with pytest.raises(ConfigurationError, match="AsyncResultsWriter"):
        blocking(items())


@pytest.mark.parametrize(
    "given",
    [
        {"items": None},
        {"items": "text"},
        {"items": {}},
        {"items": 7},
        {"items": [], "max_concurrent": 0},
        {"items": [], "max_concurrent": 10**9},
        {"items": [], "on_outcome": 7},
    ],
    ids=str,
)
def test_wrong_arguments_are_rejected(given: dict[str, Any], write_many: WriteMany) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError):
        write_many(**given)


def test_one_writer_serves_several_calls_at_once(webhook: WebhookReceiver) -> None:
    """In threads, in a coroutine, in a callback of itself, and in the child of a fork."""
    writer = ResultsWriter()

    def write() -> list[str | None]:
        return [one.job_id for one in writer.write_many((result(number), webhook.url) for number in range(10))]

    def write_within(outcome: WriteOutcome) -> None:
        nested.append(write())

    async def main() -> list[str | None]:
        return write()

    expected, nested = [str(number) for number in range(10)], list[Any]()
    assert [write(), asyncio.run(main()), in_child(write), write()] == [expected] * 4
    writer.write_many([(result(0), webhook.url)] * 2, on_outcome=write_within)
    assert nested == [expected] * 2
    made: list[Any] = []
    threads = [threading.Thread(target=lambda: made.append(write())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [expected] * 4
    writer.close()
    assert len(webhook.accepted) == 40 + 22 + 40


def test_progress_is_shown_where_somebody_sees_it(webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the fraction, if the number of items is known."""
    shown: list[Any] = []
    monkeypatch.setattr(progress.ProgressBar, "is_shown", True)
    monkeypatch.setattr(progress.ProgressBar, "show", lambda bar, *state: shown.append(state))
    items = [(result(number), url) for number, url in enumerate([webhook.url, "http://127.0.0.1:9/", webhook.url])]
    blocking(items, max_concurrent=1, options={"timeout": 0})
    assert shown == [(1 / 3, "1 results, 0 failed"), (2 / 3, "2 results, 1 failed"), (1.0, "3 results, 1 failed")]
    shown.clear()
    blocking((item for item in items[:1]), options={"timeout": 0})
    assert shown == [(None, "1 results, 0 failed")]


def test_an_outcome_is_shown_in_a_notebook(webhook: WebhookReceiver) -> None:
    """As a table with one row for each item."""
    outcomes = blocking([(result(1), webhook.url), (result(2), "http://127.0.0.1:9/")], options={"timeout": 0})
    html = getattr(outcomes, "_repr_html_")()  # noqa: B009
    assert all(text in html for text in ("job id", "receipts", "refuses connections"))
    with contextlib.suppress(AttributeError):
        assert outcomes[0] != outcomes[1]


class Limit(Exception):
    """The soft time limit of a task queue."""


def raise_limit(number: int, frame: Any) -> None:
    """Be the handler of a signal."""
    raise Limit


@pytest.mark.parametrize("at", ["encode_results", "document"])
def test_the_exception_of_a_signal_handler_is_raised(
    write_many: WriteMany, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """It is not a failure of one result, after which the others go on."""
    original = getattr(delivery, at)
    numbers = iter(range(100))

    def interrupted(*args: Any, **options: Any) -> Any:
        if next(numbers) == 2:
            signal.raise_signal(signal.SIGUSR1)
        return original(*args, **options)

    monkeypatch.setattr(delivery, at, interrupted)
    before = signal.signal(signal.SIGUSR1, raise_limit)
    try:
        with pytest.raises(Limit):
            write_many([(result(number), webhook.url) for number in range(20)], max_concurrent=1, progress=False)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(webhook.requests) < 20
