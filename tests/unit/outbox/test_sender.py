"""Deliveries that are interrupted, and those that an earlier version accepted and this one can't use."""

from __future__ import annotations

import inspect
import json
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from callback_sdk import JobResult, Outbox
from callback_sdk.concurrency.attempts import RunningAttempts
from callback_sdk.concurrency.host_slots import HostSlots
from callback_sdk.errors import DeliveryError, OutboxError
from callback_sdk.outbox.sender import OutboxSender
from callback_sdk.outbox.state import SHUTDOWN_TIMEOUT
from callback_sdk.outbox.store import OutboxStore
from callback_sdk.testing import WebhookReceiver
from callback_sdk.transport.driver import run
from callback_sdk.transport.http import HTTPSender
from tests.signedurls import v2

RESULT = JobResult(job_id="42", success=True, results={"life": [7.5]})
CLOSED = "http://127.0.0.1:9/closed"


@pytest.mark.parametrize(
    "url",
    [
        "https://s3" + "-a" * 32,
        "https://s3" + "-a" * 100_000,
        "https://a" + "\u0315\u0300" * 100_000,
        f"http://127.0.0.1:9/b/k?{v2(expires=4000000000)}&partNumber=1&uploadId=u",
    ],
    ids=["a long label", "a long host", "combining characters", "a part of an upload"],
)
def test_stored_target_that_is_unusable_is_given_up(tmp_path: Path, webhook: WebhookReceiver, url: str) -> None:
    """It is dead with the reason, and the deliveries beside it are made."""
    path = tmp_path / "outbox.sqlite3"
    with Outbox(path) as outbox:
        (entry,) = outbox.write(RESULT, CLOSED).pending
    with closing(sqlite3.connect(path)) as database, database:
        change = "UPDATE deliveries SET target = ?, next_attempt_at = 0"
        database.execute(change, (json.dumps({"url": url, "param": {}}),))
    with Outbox(path) as outbox:
        outbox.write(RESULT, webhook.url)
        outbox.run(until_empty=True)
        states = {each.delivery_id: each.status for each in outbox.entries()}
        (dead,) = outbox.entries(status="dead")
    assert dead.delivery_id == entry.delivery_id
    assert "callback URL" in str(dead.error) or "was signed for" in str(dead.error)
    assert sorted(states.values()) == ["dead", "delivered"]


class Signal:
    """Simulates a signal handler that raises KeyboardInterrupt around one call of a method.

    Args:
        monkeypatch: What replaces the method; undone at the call.
        owner: The class.
        method: Its name.
        after: Whether the method runs first.
        thread: The name of the only thread, if it is one's own method.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, *, after: bool, thread: str | None = None
    ) -> None:
        real = getattr(owner, method)

        def interrupted(this: Any, *args: Any, **kwargs: Any) -> Any:
            if thread is not None and this.name != thread:
                return real(this, *args, **kwargs)
            monkeypatch.undo()
            if after:
                called = real(this, *args, **kwargs)
                if inspect.iscoroutine(called):
                    run(called)
            raise KeyboardInterrupt

        monkeypatch.setattr(owner, method, interrupted)


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize(
    ("owner", "method", "after", "thread"),
    [
        (OutboxSender, "_begin_attempts", False, None),
        (HostSlots, "begin", False, None),
        (threading.Thread, "start", False, "callback-sdk-heartbeat"),
        (threading.Thread, "start", True, "callback-sdk-heartbeat"),
        (OutboxSender, "_begin_attempts", True, None),
        (OutboxSender, "_make_attempt", False, None),
        (OutboxSender, "_make_attempt", True, None),
        (OutboxStore, "record_receipt", False, None),
        (OutboxStore, "record_receipt", True, None),
        (HostSlots, "end", True, None),
        (OutboxSender, "_end_attempt", True, None),
    ],
)
def test_signal_at_any_moment_of_a_write_leaves_no_claim_behind(
    tmp_path: Path,
    webhook: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
    targets: int,
    owner: type,
    method: str,
    after: bool,
    thread: str | None,
) -> None:
    """Each delivery is made, or due at once, and its host counts no attempt that doesn't run."""
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        Signal(monkeypatch, owner, method, after=after, thread=thread)
        with pytest.raises(KeyboardInterrupt):
            outbox.write(RESULT, [f"{webhook.url}/{number}" for number in range(targets)])
        sender = outbox._states.get().sender
        assert sender.running_ids() == []
        assert len(sender._attempts) == 0
        assert not any(entry.sending for entry in outbox.entries())
        outbox.run(until_empty=True)
        assert {entry.status for entry in outbox.entries()} == {"delivered"}
        assert len(outbox.entries()) == targets


@pytest.mark.parametrize("after", [False, True])
def test_signal_while_a_run_starts_an_attempt_leaves_no_claim_behind(
    tmp_path: Path, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """Claims without a started attempt are released, and started attempts are awaited."""
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        webhook.respond(503)
        webhook.respond(503)
        outbox.write(RESULT, [f"{webhook.url}/{number}" for number in range(2)])
        outbox.redeliver()
        Signal(monkeypatch, threading.Thread, "start", after=after, thread="callback-sdk")
        with pytest.raises(KeyboardInterrupt):
            outbox.run(until_empty=True)
        assert outbox._states.get().sender.running_ids() == []
        assert not any(entry.sending for entry in outbox.entries())
        outbox.run(until_empty=True)
        assert {entry.status for entry in outbox.entries()} == {"delivered"}


class Limit(Exception):
    """The time limit of a task queue."""


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Limit])
@pytest.mark.parametrize(("status", "method"), [(200, "record_receipt"), (503, "record_failure")])
@pytest.mark.parametrize("after", [False, True])
def test_signal_while_an_outcome_is_stored_does_not_lose_it(
    tmp_path: Path,
    webhook: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[BaseException],
    status: int,
    method: str,
    after: bool,
) -> None:
    """It is stored then, as this process may never run the outbox; nothing is claimed, and nothing is sent twice."""
    real = getattr(OutboxStore, method)

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise kind

    def interrupted(*args: Any) -> Any:
        monkeypatch.undo()
        if after:
            real(*args)
        signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with Outbox(tmp_path / "outbox.sqlite3") as outbox:
            webhook.respond(status, times=1)
            monkeypatch.setattr(OutboxStore, method, interrupted)
            with pytest.raises(kind):
                outbox.write(RESULT, webhook.url)
            (entry,) = outbox.entries()
            assert (entry.status, entry.sending) == ("delivered" if status == 200 else "pending", False)
            assert outbox._states.get().sender.running_ids() == []
            outbox.run(until_empty=True)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(webhook.requests) == (1 if status == 200 else 2)


def test_signal_while_an_outcome_is_kept_later_does_not_lose_it(
    tmp_path: Path, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept by the next run, and nothing is sent twice."""

    def full(*args: Any) -> Any:
        raise OutboxError("full")

    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        with monkeypatch.context() as patch:
            patch.setattr(OutboxStore, "record_receipt", full)
            outbox.write(RESULT, webhook.url)
        Signal(monkeypatch, OutboxStore, "record_receipt", after=False)
        sender = outbox._states.get().sender
        with pytest.raises(KeyboardInterrupt):
            sender.save_pending_outcomes()
        outbox.run(until_empty=True)
        assert outbox.entries()[0].status == "delivered"
        assert sender.running_ids() == []
    assert len(webhook.requests) == 1


def test_attempt_that_hangs_is_waited_for_once(
    tmp_path: Path, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` waits before it returns, and `close` doesn't wait for the same attempt again."""
    started, release, stop, waits = threading.Event(), threading.Event(), threading.Event(), []
    grace, wait = SHUTDOWN_TIMEOUT.total_seconds(), RunningAttempts.wait_for

    def hang(sender: HTTPSender, upload: Any) -> Any:
        started.set()
        release.wait()
        raise DeliveryError("it hung")

    def wait_for(attempts: RunningAttempts[Any], holds: Callable[[], bool], timeout: float) -> bool:
        if timeout != grace:
            return wait(attempts, holds, timeout)
        waits.append(timeout)
        return False

    webhook.respond(503)
    outbox = Outbox(tmp_path / "outbox.sqlite3")
    outbox.write(RESULT, webhook.url)
    outbox.redeliver()
    monkeypatch.setattr(HTTPSender, "exchange", hang)
    monkeypatch.setattr(RunningAttempts, "wait_for", wait_for)
    thread = threading.Thread(target=outbox.run, kwargs={"stop": stop})
    thread.start()
    started.wait()
    stop.set()
    thread.join()
    outbox.close()
    release.set()
    assert waits == [grace]
