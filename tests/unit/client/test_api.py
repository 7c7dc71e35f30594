"""Lists of tasks, deliveries with their attempts, and redelivery."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.client import Client, DeliveryAttempt, DeliveryCounts, Progress
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.errors import ConflictError, InvalidRequestError, NotFoundError, ServiceError, TargetError
from callback_sdk.receipt import Receipt
from tests.unit.client.jobs import DATA

TASK = "/algorithms/tasks/42"
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
RECEIPT = Receipt(
    target_kind="webhook", url="https://h/x", status=200, size=2, sha256="00", started_at=NOON, finished_at=NOON
)
SUMMARY = {
    "job_id": "42",
    "algorithm": "an-algorithm",
    "version": "1.0.0",
    "kind": "predict",
    "status": "Finished",
    "success": True,
    "error": None,
    "error_code": None,
    "progress": {"fraction": 1.0, "message": "done"},
    "priority": 5,
    "owner": "anna",
    "created_at": "2026-01-01T12:00:00Z",
    "started_at": "2026-01-01T12:00:00.250000+00:00",
    "finished_at": None,
    "expires_at": "2026-01-01T13:00:00+00:00",
    "deliveries": {"pending": 1, "delivered": 2, "dead": 3},
}
DEAD = {
    "delivery_id": "d-1",
    "url": "https://h/x",
    "status": "dead",
    "attempt_count": 2,
    "next_attempt_at": None,
    "error": "410: gone",
    "receipt": None,
    "attempts": [
        {"number": 1, "started_at": "2026-01-01T12:00:00+00:00", "finished_at": None, "error": "The worker died."},
        {
            "number": 2,
            "started_at": "2026-01-01T12:00:00Z",
            "finished_at": "2026-01-01T12:00:00Z",
            "error": "410: gone",
        },
    ],
}
DELIVERED = {**DEAD, "delivery_id": "d-2", "status": "delivered", "error": None, "receipt": RECEIPT.to_dict()}
AGAIN = {**DEAD, "status": "pending", "next_attempt_at": "2026-01-01T12:00:00Z"}


def page(service: Any, ids: str, cursor: str | None = None) -> Any:
    return service.Say(data={"tasks": [{**SUMMARY, "job_id": job_id} for job_id in ids], "next_cursor": cursor})


def listed(query: str = "limit=200") -> str:
    return f"/algorithms/tasks?{query}"


def test_a_task_of_a_list_has_every_member(client: Client, service: Any) -> None:
    """It tells how the task stands, with times and counts, and has no results."""
    service.on("GET", listed(), service.Say(data={"tasks": [{**SUMMARY, "new": 1}], "next_cursor": None}))
    (task,) = client.get_tasks()
    assert (task.job_id, task.algorithm, task.version, task.kind) == ("42", "an-algorithm", "1.0.0", "predict")
    assert (task.status, task.success, task.error, task.priority) == ("Finished", True, None, 5)
    assert task.progress == Progress(fraction=1.0, message="done")
    assert task.deliveries == DeliveryCounts(pending=1, delivered=2, dead=3)
    assert (task.created_at, task.finished_at) == (NOON, None)
    assert task.started_at == NOON.replace(microsecond=250_000)
    assert task.to_dict() | {"created_at": SUMMARY["created_at"]} == {**SUMMARY, "outcome": "Succeeded"}


def test_pages_are_requested_lazily(client: Client, service: Any) -> None:
    """Each page is one request, made when its tasks are needed."""
    service.on("GET", listed(), page(service, "ab", "c 1"))
    service.on("GET", listed("limit=200&cursor=c+1"), page(service, "cd", "c2"))
    service.on("GET", listed("limit=200&cursor=c2"), page(service, "e"))
    found = client.get_tasks()
    assert len(service.requests) == 1
    assert [next(found).job_id for _ in range(3)] == ["a", "b", "c"]
    assert len(service.requests) == 2
    assert [task.job_id for task in found] == ["d", "e"]


def test_a_list_can_be_narrowed(client: Client, service: Any) -> None:
    """By status, by algorithm, and by number."""
    query = "status=In+Progress&algorithm=an%2Falgorithm&id_prefix=3f&limit=3"
    service.on("GET", listed(query), page(service, "ab", "x"))
    service.on("GET", listed(f"{query}&cursor=x"), page(service, "cd", "y"))
    found = client.get_tasks(status="In Progress", algorithm_id="an/algorithm", id_prefix="3f", limit=3)
    assert [task.job_id for task in found] == ["a", "b", "c"]
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("limit", value) for value in (0, -1, 1.5, True, "7")),
        *(("status", value) for value in ("pending", 7)),
        ("id_prefix", 7),
    ],
)
def test_invalid_filters_are_rejected(client: Client, service: Any, name: str, value: Any) -> None:
    """A limit that is not a number, and an unknown status, are rejected without a request."""
    with pytest.raises(InvalidRequestError, match=rf"{name} is"):
        client.get_tasks(**{name: value})
    assert service.requests == []


@pytest.mark.parametrize("data", [[], {}, {"tasks": {}}, {"tasks": [{}]}, {"tasks": [{**SUMMARY, "created_at": "?"}]}])
def test_a_response_that_is_not_a_page_is_an_error(client: Client, service: Any, data: Any) -> None:
    """It isn't treated as an empty list."""
    service.on("GET", listed(), service.Say(data=data))
    with pytest.raises(ServiceError, match=r"not a (page of tasks|task)"):
        list(client.get_tasks())


def test_a_list_never_ends_early_without_an_error(client: Client, service: Any) -> None:
    """A later page that fails raises."""
    service.on("GET", listed(), page(service, "a", "c1"))
    found = client.get_tasks()
    assert next(found).job_id == "a"
    with pytest.raises(NotFoundError):
        next(found)


def test_finished_tasks_are_filtered_by_their_outcome(client: Client, service: Any) -> None:
    """`failed` and `succeeded` are the service's to select."""
    for status, found in (("failed", ["1"]), ("succeeded", ["2", "3"])):
        service.on("GET", listed(f"status={status}&limit=200"), page(service, "".join(found)))
        assert [task.job_id for task in client.get_tasks(status=status)] == found


def test_deliveries_have_their_attempts(client: Client, service: Any) -> None:
    """Each attempt has its times and error, each delivery its receipt."""
    service.on("GET", f"{TASK}/deliveries", service.Say(data=[DEAD, DELIVERED]))
    dead, delivered = client.get_deliveries("42")
    assert (dead.delivery_id, dead.url, dead.status, dead.attempt_count) == ("d-1", "https://h/x", "dead", 2)
    assert (dead.error, dead.receipt, dead.next_attempt_at) == ("410: gone", None, None)
    assert dead.attempts == (
        DeliveryAttempt(number=1, started_at=NOON, finished_at=None, error="The worker died."),
        DeliveryAttempt(number=2, started_at=NOON, finished_at=NOON, error="410: gone"),
    )
    assert delivered.receipt == RECEIPT
    assert json.loads(json.dumps(delivered.to_dict()))["receipt"] == RECEIPT.to_dict()


@pytest.mark.parametrize("data", [{}, [{}], [{**DEAD, "attempts": [{}]}], None])
def test_an_answer_without_deliveries_is_an_error(client: Client, service: Any, data: Any) -> None:
    """It isn't taken for none."""
    service.on("GET", f"{TASK}/deliveries", service.Say(data=data))
    with pytest.raises(ServiceError, match="not a"):
        client.get_deliveries("42")


def test_a_delivery_is_made_anew(client: Client, service: Any) -> None:
    """The answer is the delivery as it then stands; a lost answer is asked for again."""
    service.on("POST", f"{TASK}/deliveries/d-1/redeliver", service.Say(drop=True), service.Say(202, AGAIN))
    delivery = client.redeliver("42", "d-1")
    assert (delivery.status, delivery.next_attempt_at) == ("pending", NOON)
    assert len(service.requests) == 2


def test_a_new_target_is_sent_with_its_credentials(client: Client, service: Any) -> None:
    """And removed from an error that quotes it."""
    new = ("https://example.org/done?token=MARKER9c2e", {"http": {"method": "PUT", "headers": {"x-key": "MARKER9c2e"}}})
    sent = {"target": {"url": new[0], "param": new[1]}}
    path = f"{TASK}/deliveries/d-1/redeliver"
    service.on("POST", path, service.Say(202, AGAIN), service.Say(422, {"error": f"No {json.dumps(sent)}"}))
    assert client.redeliver("42", "d-1", target=new).status == "pending"
    assert json.loads(service.requests[-1].body) == sent
    with pytest.raises(InvalidRequestError) as caught:
        client.redeliver("42", "d-1", target=new)
    assert "MARKER9c2e" not in str(caught.value)
    with pytest.raises(TargetError):
        client.redeliver("42", "d-1", target="s3://bucket/key")
    assert len(service.requests) == 2


def test_a_task_replaces_the_target_of_its_only_delivery(client: Client, service: Any) -> None:
    """With several deliveries the call must name one."""
    service.on("GET", TASK, service.Say(data={"job_id": "42", "status": "Finished"}))
    service.on("GET", f"{TASK}/deliveries", service.Say(data=[DELIVERED | {"delivery_id": "d-1"}]))
    service.on("POST", f"{TASK}/deliveries/d-1/redeliver", service.Say(202, AGAIN))
    task = client.get_task("42")
    assert [one.delivery_id for one in task.redeliver(target="https://example.org/done")] == ["d-1"]
    service.on("GET", f"{TASK}/deliveries", service.Say(data=[DEAD, DELIVERED]))
    with pytest.raises(InvalidRequestError, match="2 deliveries"):
        task.redeliver(target="https://example.org/done")
    assert [one.delivery_id for one in task.redeliver("d-1", target="https://example.org/done")] == ["d-1"]


def test_a_running_task_can_not_be_redelivered(client: Client, service: Any) -> None:
    """The service's 409 is raised as `ConflictError`."""
    service.on("POST", f"{TASK}/deliveries/d-1/redeliver", service.Say(409, {"error": "It has not ended."}))
    with pytest.raises(ConflictError, match="It has not ended"):
        client.redeliver("42", "d-1")


def test_a_task_begins_its_dead_deliveries_anew(client: Client, service: Any) -> None:
    """Those that were made are left alone."""
    service.on("GET", TASK, service.Say(data={"job_id": "42", "status": "Finished"}))
    service.on("GET", f"{TASK}/deliveries", service.Say(data=[DEAD, DELIVERED]))
    service.on("POST", f"{TASK}/deliveries/d-1/redeliver", service.Say(202, AGAIN))
    assert [delivery.delivery_id for delivery in client.get_task("42").redeliver()] == ["d-1"]
    assert len(service.paths("POST")) == 1


def test_a_task_has_the_attributes_of_its_summary(client: Client, service: Any) -> None:
    """Algorithm, version, kind, priority and times; the JSON form round-trips."""
    data = {
        **SUMMARY,
        "deliveries": [{"url": "https://h/x", "status": "dead", "attempt_count": 1, "error": "410"}],
        "predictions": [1],
        "receipts": [RECEIPT.to_dict()],
        "callback_param": {"n": 1},
    }
    service.on("GET", TASK, service.Say(data=data))
    task = client.get_task("42")
    assert (task.algorithm, task.version, task.kind, task.priority) == ("an-algorithm", "1.0.0", "predict", 5)
    assert (task.created_at, task.finished_at) == (NOON, None)
    assert task.started_at == NOON.replace(microsecond=250_000)
    wire = task.to_dict()
    assert (wire["predictions"], wire["deliveries"][0]["status"]) == ([1], "dead")
    assert TaskSnapshot.from_dict(json.loads(json.dumps(wire))) == task._state


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.train_algorithm("a", DATA),
        lambda client: client.run_algorithm_batch("a", [DATA]),
        lambda client: client.get_tasks(),
        lambda client: client.get_deliveries("42"),
        lambda client: client.redeliver("42", "d"),
        lambda client: client.get_template("a"),
        lambda client: client.get_graph("a"),
    ],
)
def test_every_call_raises_its_error(client: Client, call: Callable[[Client], Any]) -> None:
    """A resource that doesn't exist is a `NotFoundError` in every call."""
    with pytest.raises(NotFoundError):
        call(client)
