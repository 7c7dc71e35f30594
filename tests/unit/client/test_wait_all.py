"""callback_sdk.client.wait_all"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk.client import Client, Task, tasks
from callback_sdk.errors import ConfigurationError, TaskTimeoutError

PATH = "/algorithms/tasks/42"
SOON = timedelta(milliseconds=20)
PENDING = {"job_id": "42", "status": "Pending", "success": None}
RUNNING = {"job_id": "42", "status": "In Progress"}
DONE = {"job_id": "42", "status": "Finished", "success": True}
DELIVERING = {**DONE, "deliveries": [{"url": "https://b/k?***", "status": "pending", "attempt_count": 1}]}


@pytest.fixture
def client(service: Any, clean_environment: pytest.MonkeyPatch) -> Iterator[Client]:
    """Make a client of the scripted service that never asks twice by itself."""
    with Client(service.url, token="a-token", retries=0, timeout=timedelta(minutes=1)) as made:
        yield made


def the_task(client: Client, service: Any, first: Any, *others: Any) -> Task:
    """Return a task of a service with these responses, of which the first one has arrived."""
    service.on("GET", PATH, service.Say(data=first))
    task = client.get_task("42")
    service.on("GET", PATH, *(service.Say(data=answer) for answer in others))
    service.requests.clear()
    return task


def test_several_tasks_are_waited_for_together(client: Client, service: Any) -> None:
    """Each is asked for until it has ended, and at the end for deliveries that are still to be made."""
    done = the_task(client, service, DONE)
    task = the_task(client, service, PENDING, PENDING, DELIVERING, DONE)
    assert client.wait_all(iter([done, task]), timedelta(minutes=1)) == [done, task]
    assert [one.success for one in (done, task)] == [True, True]
    assert len(service.requests) == 3


def test_several_tasks_that_take_too_long_are_counted(client: Client, service: Any) -> None:
    """The error has the number of ended tasks; the others continue."""
    done = the_task(client, service, DONE)
    late = the_task(client, service, *[RUNNING] * 100)
    with pytest.raises(TaskTimeoutError, match="1 of 2 tasks have ended"):
        client.wait_all([done, late], SOON)
    with pytest.raises(ConfigurationError, match="timeout"):
        client.wait_all([done], timedelta(0))


def test_an_interrupt_leaves_several_tasks_running(
    client: Client, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C cancels none of them, and the message has a hint."""
    task = the_task(client, service, RUNNING, RUNNING)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"The tasks continue.*client\.get_tasks\(\)"):
        client.wait_all([task])
    assert service.paths("DELETE") == []
