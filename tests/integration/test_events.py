"""Events of tasks: sent by the service before the result, never after it, and none that changes it."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from callback_sdk import BatchItem, Client, S3Signer
from callback_sdk.errors import CallbackParamError, ConflictError
from callback_sdk.testing import SeaweedFS, WebhookReceiver
from callback_sdk.writer.events import EVENTS_OF_RUN
from tests.topology import Topology, kill_tree, wait_until

TABLE = {"a": [1, 2, 3]}
ALL = ["started", "progress", "completed"]


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run the service."""
    settings = {"RETRY_DELAYS": " ".join(["0.2s"] * 30)}
    with Topology(tmp_path_factory.mktemp("events"), "service_jobs:registry", settings=settings) as topology:
        yield topology


@pytest.fixture
def client(topology: Topology) -> Iterator[Client]:
    """Give a client."""
    with topology.client() as client:
        yield client


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    """Receive events and results."""
    with WebhookReceiver() as webhook:
        yield webhook


def documents(webhook: WebhookReceiver) -> list[dict[str, Any]]:
    return [request.document for request in webhook.requests]


def submit_to_form(topology: Topology, **fields: Any) -> requests.Response:
    """Submit a task with the fields of a form, as programs in other languages do."""
    address = (topology.data / "address").read_text().strip()
    token = (topology.data / "token").read_text().strip()
    return requests.post(
        f"{address}/api/v2/algorithms/sum/predict",
        data={name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()},
        files={"features": json.dumps(TABLE)},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )


def test_events_precede_the_result_which_is_that_of_other_targets(client: Client, webhook: WebhookReceiver) -> None:
    """The run starts, reports 0.5, and ends at once: its last progress isn't lost."""
    param = {"note": "x"}
    task = client.run_algorithm(
        "sum", TABLE, callbacks=[(webhook.url, param | {"events": ALL}), (webhook.url + "/plain", param)]
    )
    task.wait(timeout=60, delivery_timeout=60)
    requests_of = {
        path: [each for each in webhook.requests if each.path == path] for path in ("/webhook", "/webhook/plain")
    }
    (plain,) = requests_of["/webhook/plain"]
    *events, result = requests_of["/webhook"]
    assert result.body == plain.body
    found = [event.document for event in events]
    assert [(each["sequence"], each["progress"]) for each in found] == [
        (1, {"fraction": None, "message": ""}),
        (2, {"fraction": 0.5, "message": "adding"}),
    ]
    assert {(each["status"], each["success"], each["results"]) for each in found} == {("In Progress", None, None)}
    assert all(each["callback_param"] == param for each in found)
    assert len({each.delivery_id for each in events} | {result.delivery_id}) == 3
    assert [(each.events, each.status, each.attempt_count) for each in task.deliveries] == [
        (tuple(ALL), "delivered", 1),
        (("completed",), "delivered", 1),
    ]


def test_run_after_a_kill_starts_again_with_greater_numbers(topology: Topology, tmp_path: Path) -> None:
    """The receiver can tell late events of the first run from those of the second."""
    parameters = {"starts": str(tmp_path / "starts"), "go": str(tmp_path / "go")}
    with WebhookReceiver() as webhook, topology.client() as client:
        job_id = client.run_algorithm("wait", TABLE, parameters, callbacks=[(webhook.url, {"events": ALL})]).job_id
        wait_until(lambda: [each["sequence"] for each in documents(webhook)] == [1, 2], what="progress")
        kill_tree(topology.service)
        topology.start_service()
        wait_until(lambda: len(documents(webhook)) >= 4, what="progress of the second run")
        (tmp_path / "go").touch()
        with topology.client() as again:
            task = again.get_task(job_id)
            task.wait(timeout=60, delivery_timeout=60)
        *events, result = documents(webhook)
    assert [each["sequence"] for each in events] == [1, 2, EVENTS_OF_RUN + 1, EVENTS_OF_RUN + 2]
    assert [each["progress"]["fraction"] for each in events] == [None, 0.25, None, 0.25]
    assert result["results"]["predictions"] == "done"


def test_canceled_task_ends_its_events(client: Client, webhook: WebhookReceiver, tmp_path: Path) -> None:
    """Its document is the last request."""
    parameters = {"starts": str(tmp_path / "starts"), "go": str(tmp_path / "go")}
    task = client.run_algorithm("wait", TABLE, parameters, callbacks=[(webhook.url, {"events": ALL})])
    webhook.wait_for(2)
    task.cancel()
    task.wait(timeout=60, delivery_timeout=60)
    # The worker notices the cancellation before it takes its next task.
    client.run_algorithm("sum", TABLE).wait(timeout=60)
    assert [each["status"] for each in documents(webhook)] == ["In Progress", "In Progress", "Canceled"]


def test_failed_events_leave_the_result_as_it_is(client: Client, webhook: WebhookReceiver) -> None:
    """A receiver that rejects them gets no more, and the result at the first attempt."""
    webhook.respond(422)
    task = client.run_algorithm("sum", TABLE, callbacks=[(webhook.url, {"events": ALL})])
    task.wait(timeout=60, delivery_timeout=60)
    assert [each.status for each in webhook.requests] == [422, 200]
    (delivery,) = task.deliveries
    assert (delivery.status, delivery.attempt_count) == ("delivered", 1)


def test_targets_get_the_events_that_they_subscribe_to(client: Client, webhook: WebhookReceiver) -> None:
    """A target of failures gets nothing of a success, and one of events no result."""
    targets = [(f"{webhook.url}/{name}", {"events": [name]}) for name in ("started", "progress", "succeeded", "failed")]
    task = client.run_algorithm("sum", TABLE, callbacks=targets)
    task.wait(timeout=60, delivery_timeout=60)
    paths = sorted((request.path, request.document["status"]) for request in webhook.requests)
    assert paths == [
        ("/webhook/progress", "In Progress"),
        ("/webhook/started", "In Progress"),
        ("/webhook/succeeded", "Finished"),
    ]
    deliveries = client.get_deliveries(task.job_id)
    assert [each.status for each in deliveries] == ["skipped", "skipped", "delivered", "skipped"]
    for target in (None, f"{webhook.url}/other"):
        with pytest.raises(
            ConflictError, match=r"subscribes to failed, not to this result\..*Get the result of the task, or"
        ):
            client.redeliver(task.job_id, deliveries[3].delivery_id, target=target)
    assert client.redeliver(task.job_id, deliveries[2].delivery_id).status == "pending"


def test_targets_that_are_not_sent_each_result_wait_for_new_workers(
    topology: Topology, client: Client, webhook: WebhookReceiver
) -> None:
    """A worker of an earlier version would send it, so nothing is accepted while one runs. Others don't wait.

    Nor does the repetition of a request that was accepted before.
    """
    accepted = {"callbacks": [(webhook.url, {"events": ["failed"]})], "idempotency_key": uuid.uuid4().hex}
    job_id = client.run_algorithm("sum", TABLE, **accepted).job_id
    old = "INSERT INTO workers VALUES ('old', 'host-1', 1, '0.0.9', '[]', 1, ?1, ?1, NULL)"
    with closing(sqlite3.connect(topology.data / "store.sqlite3", timeout=60)) as database:
        with database:
            database.execute(old, (time.time() + 600,))
        try:
            for events in (["progress"], ["succeeded"], ["failed", "started"]):
                with pytest.raises(ConflictError, match="workers of an earlier version") as caught:
                    client.run_algorithm("sum", TABLE, callbacks=[(webhook.url, {"events": events})])
                assert "host-1" not in str(caught.value)
            assert client.run_algorithm("sum", TABLE, **accepted).job_id == job_id
            client.run_algorithm("sum", TABLE, callbacks=[(webhook.url, {"events": ALL})]).wait(60, delivery_timeout=60)
        finally:
            with database:
                database.execute("DELETE FROM workers WHERE name = 'old'")
    task = client.run_algorithm("sum", TABLE, callbacks=[(webhook.url, {"events": ["failed"]})])
    assert task.wait(60, delivery_timeout=60).success


def test_events_below_a_prefix_are_objects_beside_the_result(client: Client, seaweedfs: SeaweedFS, bucket: str) -> None:
    """In a store that verifies signatures."""
    s3 = seaweedfs.client()
    prefix = S3Signer(bucket, client=s3).presign_prefix("runs/42/")
    client.run_algorithm("sum", TABLE, callbacks=[(prefix, {"events": ALL})]).wait(60, delivery_timeout=60)
    names = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix="runs/42/")["Contents"]]
    found = {name: json.loads(s3.get_object(Bucket=bucket, Key=name)["Body"].read()) for name in names}
    assert found.pop("runs/42/result.json")["results"]["predictions"] == {"a": 6}
    assert {name: one["sequence"] for name, one in found.items()} == {
        "runs/42/result.json.events/00000001.json": 1,
        "runs/42/result.json.events/00000002.json": 2,
    }


def test_subscription_that_can_not_be_served_is_rejected_at_submission(topology: Topology, client: Client) -> None:
    """By the client and by the service: a misspelled event, and a target for a single object."""
    with pytest.raises(CallbackParamError, match="'complete'"):
        client.run_algorithm("sum", TABLE, callbacks=[("https://example.org/", {"events": ["complete"]})])
    answer = submit_to_form(topology, callback_url="https://example.org/", callback_param={"events": ["complete"]})
    assert answer.status_code == 422
    assert all(name in answer.json()["error"] for name in ("'complete'", "started", "progress", "completed"))
    put = {"url": "https://example.org/", "param": {"http": {"method": "PUT"}, "events": ["progress"]}}
    answer = submit_to_form(topology, callbacks=[put])
    assert answer.status_code == 422
    assert "single object" in answer.json()["error"]


def test_subscriber_of_ogc_api_processes_is_a_target(topology: Topology, webhook: WebhookReceiver) -> None:
    """Each of its URLs gets what it is for; one URL for several is one target."""
    urls = {name: f"{webhook.url}/{name}" for name in ("successUri", "inProgressUri", "failedUri")}
    answer = submit_to_form(topology, subscriber=urls, callback_url=f"{webhook.url}/other")
    assert answer.status_code == 202
    assert [each["events"] for each in answer.json()["deliveries"]] == [
        ["completed"],
        ["succeeded"],
        ["started", "progress"],
        ["failed"],
    ]
    wait_until(lambda: len(webhook.requests) >= 4)
    found = sorted((request.path.rpartition("/")[2], request.document["status"]) for request in webhook.requests)
    assert found == [
        ("inProgressUri", "In Progress"),
        ("inProgressUri", "In Progress"),
        ("other", "Finished"),
        ("successUri", "Finished"),
    ]


@pytest.mark.parametrize(
    ("subscriber", "problem"),
    [
        ({"successUrl": "https://example.org/"}, "'successUrl'"),
        ({"successUri": 7}, "successUri"),
        ({}, "subscriber"),
        ("https://example.org/", "subscriber"),
        ({"failedUri": "mailto:anna@example.org"}, "URL"),
    ],
)
def test_invalid_subscriber_is_rejected(topology: Topology, subscriber: Any, problem: str) -> None:
    """The name that a schema of the standard once required is not a member."""
    answer = submit_to_form(topology, subscriber=json.dumps(subscriber))
    assert answer.status_code == 422
    assert problem in answer.json()["error"]


def test_batch_tells_a_target_that_all_is_done(client: Client, webhook: WebhookReceiver) -> None:
    """Once, after the documents of all of its tasks."""
    items = [BatchItem(TABLE), BatchItem(TABLE, version="2.0.0"), BatchItem({"a": ["x"]})]
    done = (f"{webhook.url}/done", {"run": 7})
    tasks = client.run_algorithm_batch("sum", items, callbacks=[webhook.url], done=done, progress=False)
    wait_until(lambda: any(request.path == "/webhook/done" for request in webhook.requests))
    *documents, last = webhook.requests
    assert {request.document["job_id"] for request in documents} == {task.job_id for task in tasks}
    assert last.document["callback_param"] == {"run": 7}
    assert last.document["results"] == {
        "tasks": {"total": 3, "succeeded": 2, "failed": 1, "expired": 0, "canceled": 0},
        "deliveries": {"delivered": 3, "dead": 0, "skipped": 0},
        "unsuccessful": [tasks[2].job_id],
    }
    assert client.get_task(last.document["job_id"]).kind == "batch"


def test_batch_goes_on_with_a_new_signature(
    client: Client, seaweedfs: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the interrupted call may have expired. A target for another object is another call."""
    monkeypatch.setattr("callback_sdk.client.batch.MAX_TASKS", 2)
    s3, items = seaweedfs.client(), [BatchItem(TABLE)] * 5
    signer = S3Signer(bucket, client=s3)
    options: dict[str, Any] = {"callbacks": [], "progress": False, "idempotency_key": uuid.uuid4().hex}
    accepted: tuple[str, ...] = ()

    def interrupted() -> Iterator[BatchItem]:
        yield from items
        raise InterruptedError

    try:
        client.run_algorithm_batch("sum", interrupted(), done=signer.presign_put("done.json"), **options)
    except InterruptedError as error:
        accepted = vars(error)["accepted_job_ids"]
    assert len(accepted) == 2
    with pytest.raises(ConflictError, match="was used for a different request"):
        client.run_algorithm_batch("sum", items, done=signer.presign_put("other.json"), **options)
    again = signer.presign_put("done.json", expires=1800)
    tasks = client.run_algorithm_batch("sum", items, done=again, **options)
    assert tuple(task.job_id for task in tasks[:2]) == accepted
    wait_until(lambda: "Contents" in s3.list_objects_v2(Bucket=bucket, Prefix="done.json"), what="the end")
    document = json.loads(s3.get_object(Bucket=bucket, Key="done.json")["Body"].read())
    assert document["results"]["tasks"]["succeeded"] == 5


def test_target_of_a_batch_is_checked_before_anything_is_submitted(client: Client) -> None:
    """An end that nobody is told of would be noticed too late."""
    with pytest.raises(CallbackParamError, match="subscribes to events"):
        client.run_algorithm_batch(
            "sum", [TABLE], done=("https://example.org/", {"events": ["started"]}), progress=False
        )  # fmt: skip
