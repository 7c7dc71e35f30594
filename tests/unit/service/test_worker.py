"""callback_sdk.service.worker: one process of a Celery worker."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.apps import worker as celery_worker
from kombu.asynchronous import Hub, get_event_loop, set_event_loop

from callback_sdk.service.engines.celery import RUN
from callback_sdk.service.engines.stalls import MessageCounter
from callback_sdk.service.supervision.reports import Reporter, Reports
from callback_sdk.service.worker import _FatalErrors, _register_run, _silence_celery

PREPARED: Any = SimpleNamespace(child=None, complete=lambda: None)


class Runner:
    """Records the tasks to run."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def run(self, job_id: str, child: Any, stop: Any) -> None:
        """Note a task."""
        self.ran.append(job_id)


@pytest.fixture
def task_service() -> Iterator[Hub]:
    """Give the loop of a worker, as Celery makes it."""
    before, task_service = get_event_loop(), Hub()
    set_event_loop(task_service)
    yield task_service
    task_service.close()
    set_event_loop(before)


def test_the_loop_does_not_rest_before_a_task_is_acknowledged(task_service: Hub) -> None:
    """Kombu acknowledges in the loop's next round, and RabbitMQ sends no other task before that."""
    app, runner = Celery("test", set_as_current=False), Runner()
    _register_run(app, runner, preparation=PREPARED, messages=MessageCounter(1))
    resting = task_service.fire_timers(min_delay=1)
    app.tasks[RUN]("42")
    assert runner.ran == ["42"]
    assert task_service.fire_timers(min_delay=1) < resting == 1


def test_a_task_runs_without_an_event_loop() -> None:
    """Some transports of kombu have none."""
    app, runner = Celery("test", set_as_current=False), Runner()
    _register_run(app, runner, preparation=PREPARED, messages=MessageCounter(1))
    before = get_event_loop()
    set_event_loop(None)
    try:
        app.tasks[RUN]("42")
    finally:
        set_event_loop(before)
    assert runner.ran == ["42"]


def test_fatal_errors_of_celery_are_reported_and_not_logged() -> None:
    """The supervisor logs them in one line, instead of Celery's traceback."""
    reader, writer = os.pipe()
    reports, reporter = Reports(reader), Reporter(writer)
    errors = _FatalErrors(reporter)
    error = RuntimeError("You can't write against a read only replica.")
    fatal = logging.LogRecord("x", 50, "f", 1, "Unrecoverable error: %r", (error,), (RuntimeError, error, None))
    assert not errors.filter(fatal)
    assert errors.filter(logging.LogRecord("x", 50, "f", 1, "Another line.", (), None))
    report = reports.read()
    assert report.failure == "its consumer ended by RuntimeError: You can't write against a read only replica."
    assert not report.permanent
    reports.close()
    os.close(writer)


def test_celery_writes_nothing_to_stdout(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of its signal handlers would not be JSON records."""
    monkeypatch.setattr(celery_worker, "safe_say", celery_worker.safe_say)
    monkeypatch.setattr("celery.utils.log.worker_logger", logging.Logger("worker"))
    # Celery's own default is the stream that the interpreter started with, which is the descriptor 1.
    with open(1, "w", closefd=False) as stdout:
        celery_worker.safe_say("raw", stdout)
        assert "raw" in capfd.readouterr().out
        _silence_celery(Reporter(None))
        celery_worker.safe_say("worker: Warm shutdown (MainProcess)", stdout)
    assert capfd.readouterr() == ("", "")
