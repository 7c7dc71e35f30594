"""callback_sdk.program.watch"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import Outbox
from callback_sdk.outbox.jobs import begin_job
from callback_sdk.outbox.open_jobs import OpenJob
from callback_sdk.outbox.owner import ClaimOwner
from callback_sdk.outbox.state import folder_of
from callback_sdk.outbox.temporary import TemporaryOutbox
from callback_sdk.program import watch
from callback_sdk.program.watched import WatchedJob, WatchedOutbox
from callback_sdk.redaction import Secret
from callback_sdk.testing import WebhookReceiver
from tests.topology import wait_until

LIMIT = "The job has reached its time limit of 0:00:05."


class _Worker:
    """The worker's side of a watch that runs in a thread, with a job in a temporary outbox."""

    def __init__(self, webhook: WebhookReceiver, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        directory.mkdir()
        self.directory, self.path = directory, directory / "outbox.sqlite3"
        with TemporaryOutbox(self.path):
            self.owner = ClaimOwner(folder_of(self.path))
            self.owner.acquire_lock()
        self._webhook = webhook
        self._channel, other = socket.socketpair()
        monkeypatch.setattr(watch, "_CHANNEL", other.detach())
        self.watch = watch._WorkerWatch(os.getpid())
        self.thread = threading.Thread(target=self.watch.run)
        self._outbox = WatchedOutbox(str(self.path), str(self.owner.path), str(directory))
        self.send(outbox=self._outbox._asdict())

    def send(self, **message: Any) -> None:
        self._channel.sendall(json.dumps(message).encode() + b"\n")

    def begin(self, key: str = "k", limit: float | None = 5.0, **options: Any) -> None:
        """Begin a job that reaches its limit at once."""
        job = OpenJob(
            key=key, job_id=key, callbacks=Secret([{"url": self._webhook.url}]), owner=self.owner.name, **options
        )
        with TemporaryOutbox(self.path) as outbox:
            begin_job(outbox, job)
        self.send(begun=WatchedJob(key, str(self.path), limit, None if limit is None else 0.0)._asdict())

    def hand_over(self, error: str, key: str = "k") -> None:
        self.send(handed={"path": str(self.path), "key": key, "error": error, "status": "Finished"})

    def end(self) -> None:
        self._channel.close()
        self.thread.join(60)
        assert not self.thread.is_alive()

    def break_outbox(self) -> None:
        self.path.rename(self.path.with_suffix(".away"))

    def mend_outbox(self) -> None:
        self.path.with_suffix(".away").rename(self.path)


@pytest.fixture
def worker(webhook: WebhookReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Worker]:
    worker = _Worker(webhook, tmp_path / "temporary", monkeypatch)
    yield worker
    worker._channel.close()
    if worker.thread.ident is not None:
        worker.thread.join(60)
    worker.watch._channel.close()
    worker.owner._release_lock()


def _seen(name: str, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return an event that is set when a delivery has failed."""
    failed = threading.Event()
    deliver: Callable[..., bool] = getattr(watch, name)

    def delivering(*arguments: Any) -> bool:
        succeeded = deliver(*arguments)
        if not succeeded:
            failed.set()
        return succeeded

    monkeypatch.setattr(watch, name, delivering)
    return failed


def _errors(webhook: WebhookReceiver) -> dict[str, str]:
    return {request.document["job_id"]: request.document["error"] for request in webhook.requests}


@pytest.mark.parametrize("reports_loss", [True, False])
def test_a_limit_that_could_not_be_recorded_is_delivered_at_the_death_of_the_worker(
    worker: _Worker, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, reports_loss: bool
) -> None:
    """The document names the limit, and another job that the worker had open has failed with it."""
    failed = _seen("_fail_at_limit", monkeypatch)
    monkeypatch.setattr(watch, "_RETRY_AFTER", 3600.0)
    worker.begin(reports_loss=reports_loss)
    worker.begin("other", limit=None)
    worker.break_outbox()
    worker.thread.start()
    assert failed.wait(60)
    wait_until(worker.watch._ends["k"].outcome.done, what="the outcome")
    worker.mend_outbox()
    worker.end()
    errors = _errors(webhook)
    assert errors.pop("k") == LIMIT
    assert errors.keys() == {"other"}
    assert len(webhook.requests) == 2
    assert not worker.directory.exists()


@pytest.mark.parametrize("is_handed_over", [False, True])
def test_an_end_that_could_not_be_recorded_is_tried_again_while_the_worker_runs(
    worker: _Worker, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, is_handed_over: bool
) -> None:
    """Such as on a full disk. Of a job that has reached its limit and failed after that, the limit is named."""
    failed = _seen("_fail_at_limit", monkeypatch)
    monkeypatch.setattr(watch, "_RETRY_AFTER", 0.05)
    worker.begin()
    worker.break_outbox()
    worker.thread.start()
    assert failed.wait(60)
    if is_handed_over:
        worker.hand_over("The outbox has failed.")
    worker.mend_outbox()
    webhook.wait_for(1)
    worker.end()
    assert [request.document["error"] for request in webhook.requests] == [LIMIT]
    assert not worker.directory.exists()


def test_a_job_that_was_handed_over_is_tried_again(
    worker: _Worker, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the worker has ended, and has no other job open."""
    failed = _seen("_finish", monkeypatch)
    monkeypatch.setattr(watch, "_RETRY_AFTER", 0.05)
    monkeypatch.setattr(watch, "_LAST_RETRIES", 10_000)
    worker.begin(limit=None)
    worker.break_outbox()
    worker.hand_over("ValueError: no convergence")
    worker._channel.close()
    worker.thread.start()
    assert failed.wait(60)
    worker.mend_outbox()
    worker.thread.join(60)
    assert _errors(webhook) == {"k": "ValueError: no convergence"}
    assert not worker.directory.exists()


def test_a_temporary_outbox_that_is_not_empty_stays(
    worker: _Worker, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A message says how to send what it has."""
    monkeypatch.setattr(watch, "_RETRY_AFTER", 0.0)
    worker.begin(limit=None)
    worker.break_outbox()
    worker.thread.start()
    worker.end()
    worker.owner._release_lock()
    worker.mend_outbox()
    assert f"callback-sdk outbox run {worker.path} --until-empty" in caplog.text
    # Not that of a generator.
    assert f"The outbox {worker.path} does not exist." in caplog.text
    with Outbox(worker.path) as outbox:
        outbox.run(until_empty=True)
    assert _errors(webhook).keys() == {"k"}


def test_jobs_that_have_ended_are_forgotten(worker: _Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that reach their limits, those that were handed over, and those that the worker ends itself."""
    monkeypatch.setattr(watch, "_RETRY_AFTER", 0.0)
    monkeypatch.setattr(watch, "_fail_at_limit", lambda *_: True)
    monkeypatch.setattr(watch, "_finish", lambda *_: True)
    watched = worker.watch
    watched._receive()
    for number in range(100):
        job = {"path": str(worker.path), "limit": 0.0, "ends_at": 0.0}
        for how in ("ends", "handed", "waits"):
            watched._handle({"begun": job | {"key": f"{how}{number}"}})
        watched._end_due()
        watched._handle({"ended": f"ends{number}"})
        watched._handle({"handed": {"path": job["path"], "key": f"handed{number}", "error": "", "status": "Finished"}})
        watched._handle({"ended": f"handed{number}"} if number % 2 else {})
    for end in watched._ends.values():
        assert end.outcome.result(60)
    watched._end_due()
    assert (watched._ends, watched._limits) == ({}, {})
    # The worker still has these open.
    assert watched._open == {f"waits{number}" for number in range(100)}


@pytest.mark.parametrize("has_thread", [True, False])
def test_a_delivery_runs_once_at_the_limit_of_threads(
    worker: _Worker, monkeypatch: pytest.MonkeyPatch, has_thread: bool
) -> None:
    """A pool queues a call before it starts a thread for it."""
    gate, runs = threading.Event(), []

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def step() -> bool:
        runs.append(threading.current_thread())
        return True

    if has_thread:
        worker.watch._start("first", watch._JobEnd(lambda: gate.wait(60)))
    end = watch._JobEnd(step)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        worker.watch._start("second", end)
    gate.set()
    worker.watch._start("third", watch._JobEnd(lambda: True))
    assert end.outcome.result(60)
    worker.watch._finish_ends()
    assert [thread is threading.current_thread() for thread in runs] == [not has_thread]
