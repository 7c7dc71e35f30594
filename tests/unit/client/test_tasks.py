"""Tasks: their state, their results, and the waiting for them."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from callback_sdk import progress
from callback_sdk.client import Client, tasks
from callback_sdk.client.tasks import Task
from callback_sdk.errors import (
    ConfigurationError,
    NotFoundError,
    TaskFailedError,
    TaskTimeoutError,
)
from callback_sdk.progress import ProgressBar
from callback_sdk.receipt import Receipt
from callback_sdk.text.html import HTMLList

PATH = "/algorithms/tasks/42"
SOON = timedelta(milliseconds=20)
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
RECEIPT = Receipt(
    target_kind="s3-put", url="https://b/k", status=200, size=2, sha256="00", started_at=NOW, finished_at=NOW
)
PENDING = {"job_id": "42", "status": "Pending", "success": None}
RUNNING = {"job_id": "42", "status": "In Progress", "progress": {"fraction": 0.5, "message": "counting"}}
DONE = {
    "job_id": "42",
    "status": "Finished",
    "success": True,
    "error": None,
    "predictions": {"damage": 0.1},
    "evaluations": {"rmse": 1.0},
    "monitors": None,
    "callback_param": {"n": 1},
    "progress": {"fraction": 1.0, "message": ""},
    "receipts": [RECEIPT.to_dict()],
}


def delivery(state: str) -> dict[str, Any]:
    return {"url": "https://b/k?***", "status": state, "attempt_count": 1, "error": None}


@pytest.fixture
def client(service: Any, clean_environment: pytest.MonkeyPatch) -> Iterator[Client]:
    """Make a client of the scripted service that never asks twice by itself."""
    with Client(service.url, token="a-token", retries=0, timeout=timedelta(minutes=1)) as made:
        yield made


def the_task(client: Client, service: Any, *answers: Any) -> Task:
    """Return a pending task of a service with these responses."""
    service.on("GET", PATH, service.Say(data=PENDING))
    task = client.get_task("42")
    service.on(
        "GET", PATH, *(answer if isinstance(answer, service.Say) else service.Say(data=answer) for answer in answers)
    )
    service.requests.clear()
    return task


def test_a_task_has_all_members_of_the_response(client: Client, service: Any) -> None:
    """Every member of the JSON form is an attribute."""
    service.on("GET", PATH, service.Say(data=DONE))
    task = client.get_task("42")
    assert (task.job_id, task.status, task.success, task.error) == ("42", Task.STATUS_FINISHED, True, None)
    assert (task.predictions, task.evaluations, task.monitors) == ({"damage": 0.1}, {"rmse": 1.0}, None)
    assert task.callback_param == {"n": 1}
    assert (task.progress.fraction, task.progress.message) == (1.0, "")
    assert task.receipts == [RECEIPT]
    assert repr(task) == "Task('42', status='Finished', success=True)"
    assert task.result().predictions == {"damage": 0.1}


def test_refresh_brings_the_present_state(client: Client, service: Any) -> None:
    """Each call requests it again."""
    task = the_task(client, service, RUNNING, DONE)
    assert task.refresh() is task
    assert (task.status, task.progress.message) == ("In Progress", "counting")
    assert task.refresh().status == "Finished"


def test_cancel_stops_the_task(client: Client, service: Any) -> None:
    """The state afterwards is the service's."""
    task = the_task(client, service, PENDING)
    service.on("DELETE", PATH, service.Say(202, {"job_id": "42", "status": "Canceled", "success": False}))
    assert task.cancel().status == Task.STATUS_CANCELED
    with pytest.raises(TaskFailedError, match="42 was canceled"):
        task.result()


def test_a_failed_task_has_no_result(client: Client, service: Any) -> None:
    """`wait` returns it like any other, and `result` raises its error."""
    failed = {"job_id": "42", "status": "Finished", "success": False, "error": "No rows."}
    task = the_task(client, service, failed)
    with pytest.raises(TaskFailedError, match="has not ended"):
        task.result()
    assert task.wait(poll_interval=SOON).success is False
    with pytest.raises(TaskFailedError, match=r"42 failed: No rows\. Fix the cause"):
        task.result()


def test_waiting_ends_with_the_task(client: Client, service: Any) -> None:
    """The task is asked after until it has ended."""
    task = the_task(client, service, PENDING, RUNNING, DONE)
    assert task.wait(timeout=timedelta(minutes=1), poll_interval=SOON) is task
    assert task.success is True
    assert len(service.requests) == 3


def test_the_pauses_grow_to_their_limit(client: Client, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first polls are fast, and long tasks are polled rarely."""
    pauses: list[float] = []
    monkeypatch.setattr(tasks.time, "sleep", pauses.append)
    the_task(client, service, *[RUNNING] * 12, DONE).wait()
    assert pauses[0] == pytest.approx(0.1)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 2.0


def test_waiting_includes_the_deliveries(client: Client, service: Any, caplog: pytest.LogCaptureFixture) -> None:
    """So the receipts are complete afterwards. A delivery that was given up is logged, as the task succeeds without."""
    task = the_task(
        client,
        service,
        {**DONE, "receipts": [], "deliveries": [delivery("pending"), delivery("dead")]},
        {**DONE, "deliveries": [delivery("delivered"), delivery("dead")]},
    )
    task.wait(poll_interval=SOON)
    assert task.receipts == [RECEIPT]
    assert [one.status for one in task.deliveries] == ["delivered", "dead"]
    (text,) = [record.getMessage() for record in caplog.records]
    assert text.startswith(f"The result of task {task.job_id} was not delivered to ")


def test_a_delivery_that_takes_long_is_not_waited_for(client: Client, service: Any) -> None:
    """After the grace the task is returned as it is."""
    task = the_task(client, service, {**DONE, "receipts": [], "deliveries": [delivery("pending")]})
    assert task.wait(poll_interval=SOON, delivery_timeout=timedelta(milliseconds=50)).receipts == []
    service.requests.clear()
    task.wait(poll_interval=SOON, delivery_timeout=timedelta(0))
    assert len(service.requests) == 1
    assert task.wait(timeout=timedelta(milliseconds=50), poll_interval=SOON).success is True


def test_waiting_has_a_timeout(client: Client, service: Any) -> None:
    """The error says that the task continues, and how to wait again."""
    task = the_task(client, service, RUNNING)
    with pytest.raises(TaskTimeoutError, match=r'In Progress and continues.*client.get_task\("42"\)'):
        task.wait(timeout=timedelta(milliseconds=100), poll_interval=SOON)
    with pytest.raises(TimeoutError):
        task.wait(timeout=timedelta(milliseconds=1))


def test_a_service_that_is_away_is_waited_for(client: Client, service: Any) -> None:
    """Lost connections, 5xx answers and a 429 don't end the waiting."""
    say = service.Say
    task = the_task(client, service, say(drop=True), say(502), say(500), say(429), say(data=DONE, cut=3), DONE)
    assert task.wait(poll_interval=SOON).success is True
    assert len(service.requests) == 6


def test_a_task_that_is_unknown_ends_the_waiting(client: Client, service: Any) -> None:
    """An answer that won't change is not waited out."""
    task = the_task(client, service, service.Say(404, {"error": "No such task."}))
    with pytest.raises(NotFoundError, match="No such task"):
        task.wait()


def test_durations_are_checked(client: Client, service: Any) -> None:
    """A duration that is not a number or a timedelta, or not positive, is rejected before the first request."""
    task = the_task(client, service, DONE)
    with pytest.raises(ConfigurationError, match="timeout is of type str"):
        task.wait(timeout="30")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="delivery_timeout"):
        task.wait(delivery_timeout=timedelta(-1))
    assert service.requests == []


def test_an_interrupt_leaves_the_task_running(client: Client, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C doesn't cancel the task, and the message has a hint."""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r'The task continues.*get_task\("42"\)'):
        the_task(client, service, RUNNING).wait()
    assert service.paths("DELETE") == []


def test_a_notebook_shows_a_task_and_its_deliveries(client: Client, service: Any) -> None:
    """As tables with escaped text and without credentials."""
    state = {
        **RUNNING,
        "algorithm": "<b>an algorithm",
        "error": "<script>alert(1)</script>" + "x" * 1000,
        "created_at": NOW.isoformat(),
        "deliveries": [delivery("pending")],
    }
    task = the_task(client, service, state).refresh()
    html = task._repr_html_()
    assert '<progress value="0.500"' in html
    assert "2026-01-01 00:00:00 UTC" in html
    assert "https://b/k?***" in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html
    assert "x" * 300 not in html
    assert task.deliveries._repr_html_() in html


def test_a_notebook_shows_a_list_as_one_table(client: Client, service: Any) -> None:
    """With a column for each attribute that any item has, and a limited number of rows."""
    task = the_task(client, service, DONE).refresh()
    (receipt,) = task.receipts
    assert receipt == RECEIPT
    html = task.receipts._repr_html_()
    assert html.count("<tr>") == 2
    assert '<th scope="col">sha256</th>' in html
    assert "etag" not in html
    assert receipt._repr_html_().startswith("<table><caption>Receipt</caption>")
    assert "The first 50 of 60" in HTMLList([receipt] * 60)._repr_html_()
    assert HTMLList([receipt] * 60)._repr_html_().count("<tr>") == 51
    assert HTMLList([receipt] * 60)[:2]._repr_html_().count("<tr>") == 3
    assert HTMLList([])._repr_html_() == "<table><caption>0 in all</caption><tr></tr></table>"


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_bar(client: Client, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the fraction, the message and the end."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    # Each state is drawn, however short the time between two.
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=count(0.0, 1.0).__next__))
    the_task(client, service, PENDING, RUNNING, DONE).wait(poll_interval=SOON)
    text = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "Task 42" in text
    assert "50%" in text
    assert "counting" in text
    assert "100%" in text


@pytest.mark.parametrize("case", ["no terminal", "no tqdm", "not wanted", "no stderr"])
def test_a_progress_bar_is_shown_in_terminals_only(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs contain no bars, and tqdm is optional."""
    stderr = io.StringIO() if case == "no terminal" else Terminal()
    monkeypatch.setattr(sys, "stderr", None if case == "no stderr" else stderr)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    if case == "no tqdm":
        monkeypatch.setitem(sys.modules, "tqdm", None)
    with ProgressBar("Task 42", wanted=case != "not wanted") as bar:
        bar.show(0.5, "counting")
    assert stderr.getvalue() == ""
