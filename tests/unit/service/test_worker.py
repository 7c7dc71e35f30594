"""callback_sdk.service.worker: one process of a Celery worker."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu.asynchronous import Hub, get_event_loop, set_event_loop

from callback_sdk.service import worker
from callback_sdk.service.engines.celery import RUN
from callback_sdk.service.engines.stalls import MessageCounter
from callback_sdk.service.worker import _register_run

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


def test_the_loop_does_not_rest_before_a_task_is_acknowledged(
    task_service: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kombu acknowledges in the loop's next round, and RabbitMQ sends no other task before that."""
    # So long that it is not over before the loop is asked.
    monkeypatch.setattr(worker, "_LOOP_WAKEUP", 1000.0)
    app, runner = Celery("test", set_as_current=False), Runner()
    _register_run(app, runner, preparation=PREPARED, messages=MessageCounter(1))
    resting = task_service.fire_timers(min_delay=2000, max_delay=2000)
    app.tasks[RUN]("42")
    assert runner.ran == ["42"]
    assert task_service.fire_timers(min_delay=2000, max_delay=2000) < resting == 2000


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
