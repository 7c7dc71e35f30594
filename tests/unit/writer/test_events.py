"""Events of a job: in order, throttled, and none after the end."""

from __future__ import annotations

import json
import queue
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk import JobResult, Outbox, ResultsWriter, S3Signer
from callback_sdk.errors import CallbackParamError, ConfigurationError, DeliveryError, OutputError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.testing import ObjectStore, WebhookReceiver
from callback_sdk.writer.delivery import PreparedDelivery
from callback_sdk.writer.events import EVENTS_OF_RUN, JobEvents
from tests.forks import Child
from tests.topology import wait_until

ALL = ["started", "progress", "completed"]
URL = "https://example.org/done"
TRANSIENT = DeliveryError("503", retryable=True)
PERMANENT = DeliveryError("404", retryable=False)
PATIENCE = 60.0
HOUR = timedelta(hours=1)


class Wire:
    """What `JobEvents` sends with: records the events, and holds them back or fails on demand."""

    def __init__(self, *errors: Exception | None) -> None:
        self.arrived: queue.SimpleQueue[PreparedDelivery] = queue.SimpleQueue()
        self.open = threading.Event()
        self.open.set()
        self._errors = deque(errors)

    def __call__(self, delivery: PreparedDelivery) -> None:
        self.arrived.put(delivery)
        assert self.open.wait(PATIENCE)
        if self._errors and (error := self._errors.popleft()) is not None:
            raise error

    def next(self) -> dict[str, Any]:
        """Wait for the next event, and return its document."""
        return document(self.arrived.get(timeout=PATIENCE))

    def rest(self) -> list[dict[str, Any]]:
        """Return the events that have been sent, and were not asked for yet."""
        return [document(self.arrived.get()) for _ in range(self.arrived.qsize())]


def document(delivery: PreparedDelivery) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(delivery.body.read())
    return found


def target(events: list[str], url: str = URL) -> Target:
    (callback,) = parse_callbacks(url, {"events": events})
    return plan(callback)


def messages(documents: list[dict[str, Any]]) -> list[str]:
    return [each["progress"]["message"] for each in documents]


@pytest.fixture
def webhook() -> Any:
    with WebhookReceiver() as receiver:
        yield receiver


def test_events_arrive_in_order_and_before_the_result(webhook: WebhookReceiver) -> None:
    """The result has no sequence number, and is what a target without events gets."""
    param = {"run": 7, "events": ALL}
    result = JobResult(job_id="42", success=True, results={"life": 7.5})
    with ResultsWriter() as writer:
        with writer.events("42", webhook.url, param, interval=0) as events:
            events.started()
            events.progress(0.5, "counting")
        writer.write(result, webhook.url, param)
        writer.write(result, webhook.url, {"run": 7})
    *before, with_events, without = webhook.requests
    found = [each.document for each in before]
    assert messages(found) == ["", "counting"]
    assert [each["sequence"] for each in found] == [1, 2]
    assert len({each.delivery_id for each in before}) == 2
    assert with_events.body == without.body
    assert list(with_events.document) == ["job_id", "status", "callback_param", "success", "results"]


def test_newest_progress_replaces_what_was_not_sent_yet() -> None:
    """A slow receiver gets few events, and not the old ones late."""
    wire = Wire()
    wire.open.clear()
    with JobEvents("42", [target(ALL)], send=wire, interval=0) as events:
        events.progress(0.0, "0")
        assert messages([wire.next()]) == ["0"]
        for step in range(1, 1000):
            events.progress(step / 1000, str(step))
        wire.open.set()
    assert messages(wire.rest()) == ["999"]


def test_last_progress_is_sent_at_the_end() -> None:
    """Although the interval isn't over."""
    wire = Wire()
    with JobEvents("42", [target(ALL)], send=wire, interval=HOUR) as events:
        events.progress(0.1, "first")
        assert messages([wire.next()]) == ["first"]
        events.progress(0.9, "second")
        events.progress(1.0, "last")
    assert messages(wire.rest()) == ["last"]


def test_progress_that_has_not_changed_is_not_sent_again() -> None:
    """A receiver has it already."""
    wire = Wire()
    with JobEvents("42", [target(ALL)], send=wire, interval=0) as events:
        events.progress(0.1, "same")
        wire.next()
        events.progress(0.1, "same")
    assert wire.rest() == []


def test_no_event_is_sent_after_the_end() -> None:
    """It would overtake the result, or arrive after it."""
    wire = Wire()
    events = JobEvents("42", [target(ALL)], send=wire, interval=0)
    events.started()
    events.close()
    assert len(wire.rest()) == 1
    events.started()
    events.progress(0.5)
    events.close()
    assert wire.rest() == []


def test_event_that_hangs_at_the_end_is_the_last_one() -> None:
    """The result doesn't wait for the receiver, and what is still waiting is dropped."""
    wire = Wire()
    wire.open.clear()
    events = JobEvents("42", [target(ALL)], send=wire, interval=0)
    events.started()
    wire.next()
    events.progress(0.5)
    events.close(timeout=0)
    wire.open.set()
    events._streams[0].join(PATIENCE)
    assert wire.rest() == []


def test_event_that_failed_is_not_retried_at_the_end() -> None:
    """A failed event never delays the result."""
    wire = Wire(TRANSIENT)
    with JobEvents("42", [target(ALL)], send=wire, interval=HOUR) as events:
        events.started()
        wire.next()
        events.progress(1.0, "last")
    assert wire.rest() == []


def test_event_that_failed_is_sent_again_unless_there_is_a_newer_one() -> None:
    """The same event has the same number and id, and a newer one another."""
    wire = Wire(TRANSIENT, TRANSIENT)
    with JobEvents("42", [target(ALL)], send=wire, interval=0) as events:
        events.progress(0.1, "first")
        first, again, third = (wire.arrived.get(timeout=PATIENCE) for _ in range(3))
        events.progress(0.2, "second")
        newer = wire.arrived.get(timeout=PATIENCE)
    assert document(first) == document(again) == document(third)
    assert first.delivery_id == again.delivery_id == third.delivery_id != newer.delivery_id
    assert [document(each)["sequence"] for each in (third, newer)] == [1, 2]


def test_target_that_rejects_an_event_gets_no_more() -> None:
    """And the others get theirs."""
    wires = {"a": Wire(PERMANENT), "b": Wire()}

    def send(delivery: PreparedDelivery) -> None:
        wires[str(delivery.target.callback.url)[-1]](delivery)

    with JobEvents("42", [target(ALL, URL + "/a"), target(ALL, URL + "/b")], send=send, interval=0) as events:
        events.started()
        for wire in wires.values():
            wire.next()
        events.progress(0.5)
    assert len(wires["a"].rest()) == 0
    assert len(wires["b"].rest()) == 1


def test_fault_of_the_sender_does_not_end_the_events() -> None:
    """As when a database with the signing secrets is away for a moment."""
    wire = Wire(RuntimeError("the database is away"))
    with JobEvents("42", [target(ALL)], send=wire, interval=0) as events:
        events.started()
        assert [wire.next()["sequence"], wire.next()["sequence"]] == [1, 1]


def test_target_gets_the_events_that_it_subscribes_to() -> None:
    """And no others."""
    wires = {"a": Wire(), "b": Wire()}

    def send(delivery: PreparedDelivery) -> None:
        wires[str(delivery.target.callback.url)[-1]](delivery)

    targets = [target(["started"], URL + "/a"), target(["progress"], URL + "/b")]
    with JobEvents("42", targets, send=send, interval=0) as events:
        events.started()
        events.progress(0.5, "half")
    assert messages(wires["a"].rest()) == [""]
    assert messages(wires["b"].rest()) == ["half"]


def test_target_that_may_not_be_sent_to_gets_nothing() -> None:
    """As one whose host is paused: the end doesn't wait for it."""
    wire, asked = Wire(), threading.Event()

    @contextmanager
    def admit(callback: Callback) -> Iterator[bool]:
        asked.set()
        yield False

    with JobEvents("42", [target(ALL)], send=wire, interval=0, admit=admit) as events:
        events.started()
        assert asked.wait(PATIENCE)
    assert wire.rest() == []


def test_last_progress_is_sent_although_the_end_came_while_it_was_not_admitted() -> None:
    """As a task that ends in the database between the question and its answer."""
    wire, asked, ended = Wire(), threading.Event(), threading.Event()
    answers = iter([False])

    @contextmanager
    def admit(callback: Callback) -> Iterator[bool]:
        asked.set()
        assert ended.wait(PATIENCE)
        yield next(answers, True)

    events = JobEvents("42", [target(ALL)], send=wire, interval=0, admit=admit)
    events.progress(0.5, "last")
    assert asked.wait(PATIENCE)
    closing = threading.Thread(target=events.close, args=(PATIENCE,))
    closing.start()
    wait_until(lambda: events._streams[0]._is_ending)
    ended.set()
    closing.join(PATIENCE)
    assert messages(wire.rest()) == ["last"]


def test_numbers_of_a_later_run_are_greater() -> None:
    """Events of both runs may be on their way at the same time."""
    wire = Wire()
    for run in (1, 2):
        with JobEvents("42", [target(ALL)], send=wire, run=run) as events:
            events.started()
    assert [each["sequence"] for each in wire.rest()] == [1, EVENTS_OF_RUN + 1]


def test_fraction_outside_of_its_limits_is_an_error() -> None:
    """Where it is reported."""
    with JobEvents("42", [target(ALL)], send=Wire()) as events, pytest.raises(ConfigurationError, match="fraction"):
        events.progress(50)


def test_forked_child_sends_nothing() -> None:
    """Its parent does, whose job it is."""
    wire = Wire()
    with JobEvents("42", [target(ALL)], send=wire, interval=0) as events:

        def report() -> int:
            events.started()
            events.close()
            return wire.arrived.qsize()

        assert Child(report).result() == 0
        events.started()
    assert len(wire.rest()) == 1


@pytest.mark.parametrize("kind", ["writer", "outbox"])
def test_result_ends_the_events(kind: str, webhook: WebhookReceiver, tmp_path: Any) -> None:
    """Also when it is written within the block."""
    sender: Any = ResultsWriter() if kind == "writer" else Outbox(tmp_path / "outbox.sqlite3")
    param = {"events": ALL}
    with sender, sender.events("42", webhook.url, param, interval=HOUR) as events:
        events.progress(0.1)
        webhook.wait_for(1)
        events.progress(1.0)
        sender.write(JobResult(job_id="42", success=True, results={}), webhook.url, param)
        events.progress(0.5)
    found = [each.document for each in webhook.requests]
    assert [each["status"] for each in found] == ["In Progress", "In Progress", "Finished"]
    assert found[1]["progress"]["fraction"] == 1.0


def test_failed_events_leave_the_result_as_it_is(webhook: WebhookReceiver) -> None:
    """Its attempts, its retries and its receipt."""
    webhook.respond(404)
    param = {"events": ALL}
    with ResultsWriter() as writer:
        with writer.events("42", webhook.url, param) as events:
            events.started()
            webhook.wait_for(1)
            events.progress(0.5)
        (receipt,) = writer.write(JobResult(job_id="42", success=True, results={}), webhook.url, param)
    assert receipt.attempts == 1
    assert [each.status for each in webhook.requests] == [404, 200]


def test_target_of_events_only_gets_no_result(webhook: WebhookReceiver) -> None:
    """And no receipt."""
    param = {"events": ["started"]}
    with ResultsWriter() as writer:
        with writer.events("42", webhook.url, param) as events:
            events.started()
        assert writer.write(JobResult(job_id="42", success=True, results={}), webhook.url, param) == []
    assert [each.document["status"] for each in webhook.requests] == ["In Progress"]


def test_events_below_a_prefix_never_replace_the_result() -> None:
    """Each is an object of its own."""
    with ObjectStore() as store, ResultsWriter(storage_endpoints=[store.endpoint_url]) as writer:
        prefix = S3Signer("results", client=store.client()).presign_prefix("runs/42/")
        targets = [(prefix, {"events": ALL})]
        with writer.events("42", targets, interval=0) as events:
            events.started()
            store.wait_for(1)
            events.progress(1.0)
        writer.write(JobResult(job_id="42", success=True, results={}), targets)
        names = [
            f"results/runs/42/result.json{rest}" for rest in ("", ".events/00000001.json", ".events/00000002.json")
        ]
        assert sorted(store.objects) == names
        assert [store.objects[name].document["status"] for name in names] == ["Finished", "In Progress", "In Progress"]


def test_output_file_has_no_name_of_an_event() -> None:
    """The event would replace it."""
    with ObjectStore() as store, ResultsWriter(storage_endpoints=[store.endpoint_url]) as writer:
        prefix = S3Signer("results", client=store.client()).presign_prefix("runs/42/")
        outputs = {"result.json.events/00000001.json": b"{}"}
        with pytest.raises(OutputError, match="event"):
            writer.write(
                JobResult(job_id="42", success=True, outputs=outputs), [(prefix, {"events": ALL})]
            )  # fmt: skip


def test_target_that_takes_no_events_is_an_error_before_the_job() -> None:
    """Not when the first event is lost."""
    with ResultsWriter() as writer, pytest.raises(CallbackParamError, match="single object"):
        writer.events("42", URL, {"http": {"method": "PUT"}, "events": ALL})


def test_thousand_reports_wake_the_thread_once() -> None:
    """Progress may be reported in a tight loop: nothing grows while a receiver is slow."""
    wire = Wire()
    wire.open.clear()
    with JobEvents("42", [target(ALL)], send=wire, interval=0) as events:
        events.progress(0.0)
        wire.next()
        for step in range(1000):
            events.progress(step / 1000)
        (stream,) = events._streams
        assert stream._wakings.qsize() <= 2
        wire.open.set()
