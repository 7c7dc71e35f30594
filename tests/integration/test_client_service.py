"""The client against the service itself, over a real connection: everything that the REST API can."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import define

from callback_sdk.client import BatchItem, Client, Task
from callback_sdk.errors import AuthenticationError, ConflictError, InvalidRequestError, NotFoundError, TargetError
from callback_sdk.testing import LocalService, WebhookReceiver

DATA = {"a": [1, 2, 3]}
PATIENCE = timedelta(seconds=60)
# A picture of one grey pixel.
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==")
PASSWORD = "a password of somebody"


@define
class Running:
    """A service, and a client of its first user."""

    url: str
    data: Path
    client: Client


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run one service for all tests of this file, with a user who has a password."""
    picture = tmp_path_factory.mktemp("graphs") / "input.png"
    picture.write_bytes(PNG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIENT_JOBS_PICTURE", str(picture))
        patch.syspath_prepend(str(Path(__file__).parent))
        started = LocalService("client_jobs:registry", pass_env=["CLIENT_JOBS_PICTURE"])
        with started as service, Client(service.url, token=service.token) as client:
            data = service._folder / "data"
            command = [sys.executable, "-m", "callback_sdk.cli", "users", "add", "somebody", "--password"]
            subprocess.run(
                [*command, "--data-dir", str(data)], input=f"{PASSWORD}\n", text=True, check=True, capture_output=True
            )
            yield Running(service.url, data, client)


@pytest.fixture
def client(running: Running) -> Client:
    """Give the first user's client."""
    return running.client


def ended(task: Task) -> Task:
    return task.wait(PATIENCE, poll_interval=timedelta(seconds=0.1), delivery_timeout=PATIENCE, progress=False)


def test_a_client_logs_in_with_a_password(running: Running) -> None:
    """User name and password work like a token; a wrong password is an error that doesn't contain it."""
    with Client(running.url, username="somebody", password=PASSWORD) as client:
        assert ended(client.run_algorithm("scale", DATA)).predictions == 6
        assert [summary.algorithm for summary in client.get_tasks()] == ["scale"]
    with (
        Client(running.url, username="somebody", password=f"{PASSWORD} not") as wrong,
        pytest.raises(AuthenticationError, match="username=") as caught,
    ):
        wrong.get_algorithms()
    assert PASSWORD not in str(caught.value)


def test_a_rejected_token_is_replaced(running: Running) -> None:
    """An invalid access token, and an invalid refresh token, are replaced transparently."""
    with Client(running.url, username="somebody", password=PASSWORD) as client:
        client.get_algorithms()
        login = client._connection._credentials
        first = login._refresh
        login._access = type(first)("worn-out")
        client.get_algorithms()
        # The service gives a refresh token with each access token, and takes each of them once.
        assert login._refresh not in (None, first)
        login._access = type(first)("worn-out")
        client.get_algorithms()
        login._access = login._refresh = type(first)("worn-out")
        assert {algorithm.id for algorithm in client.get_algorithms()} >= {"scale", "fail"}
        assert login._refresh is not first


def test_numbers_and_texts_arrive_unchanged_both_ways(client: Client) -> None:
    """Integers beyond 64 bits and negative zero, in parameters, `callback_param`, a webhook and the results."""
    given = {"large": 2**70, "least": -(2**63) - 1, "zero": -0.0, "tiny": 5e-324, "text": "☃\u2028\0", "7": [[], {}]}
    with WebhookReceiver() as webhook:
        task = ended(client.run_algorithm("echo", DATA, parameters=given, callbacks=[(webhook.url, given)]))
        document = webhook.accepted[0].document
    for found in (
        task.predictions,
        document["results"]["predictions"],
        document["callback_param"],
        task.callback_param,
    ):
        assert repr(found) == repr(given)


def test_tables_and_dates_of_an_algorithm_arrive_whole(client: Client) -> None:
    """The index of pandas, nanoseconds and integers of 64 bits, in the webhook and in the task; NaT is counted."""
    with WebhookReceiver() as webhook:
        task = ended(client.run_algorithm("frames", DATA, callbacks=[webhook.url]))
        results = webhook.accepted[0].document["results"]
    days = ["2026-01-02T03:04:05.123456789", None]
    assert results["predictions"] == task.predictions == {"by machine": {"m3": 0.5, "m7": 0.5}, "days": days}
    assert results["evaluations"] == {"index": [1, 2], "machine": ["m3", "m3"], "damage": [0.25, 0.25]}
    assert results["monitors"] == {"large": [2**63]}
    assert task.receipts[0].nulls_written == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [('{"a": 1e400}', "beyond the range"), ('{"a": NaN}', "NaN"), ('{"a": "\\ud800"}', "not valid Unicode")],
)
def test_parameters_that_would_change_are_rejected(client: Client, tmp_path: Path, text: str, reason: str) -> None:
    """A file of parameters is validated as strictly as a dict."""
    path = tmp_path / "parameters.json"
    path.write_text(text)
    with pytest.raises(InvalidRequestError, match=reason):
        client.run_algorithm("echo", DATA, parameters=path)


def test_a_key_creates_one_task(client: Client) -> None:
    """The same key and content return the same task, other content is rejected; a training has separate keys."""
    one = client.run_algorithm("scale", DATA, idempotency_key="one", priority=9)
    assert client.run_algorithm("scale", DATA, idempotency_key="one", priority=9).job_id == one.job_id
    with pytest.raises(ConflictError):
        client.run_algorithm("scale", {"a": [4]}, idempotency_key="one", priority=9)
    assert (ended(one).predictions, one.priority, one.kind, one.version) == (6, 9, "predict", "1.0.0")
    assert one.created_at <= one.started_at <= one.finished_at


def test_an_algorithm_is_trained(client: Client) -> None:
    """A training is a task of another kind; an algorithm without a training is an error."""
    task = client.get_algorithm("scale").train(DATA, export_new_version=False)
    assert (ended(task).predictions, task.kind) == ("trained", "fit")
    with pytest.raises(InvalidRequestError, match="can't be trained"):
        client.train_algorithm("fail", DATA)


def test_a_batch_keeps_its_order(client: Client, webhook: WebhookReceiver) -> None:
    """Each task of several requests' worth has its own features, parameters and targets."""
    items = (
        BatchItem({"a": [n]}, parameters={"by": 2}, callbacks=[webhook.url] if n == 3 else None) for n in range(20)
    )
    tasks = client.run_algorithm_batch("scale", [*items, DATA], parameters={"by": 10}, progress=False)
    assert [ended(task).predictions for task in tasks] == [*(2 * n for n in range(20)), 60]
    (request,) = webhook.wait_for(1)
    assert json.loads(request.body)["job_id"] == tasks[3].job_id


def test_a_repeated_batch_creates_no_duplicates(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large batch is sent in several requests; the same key returns the same tasks and submits the others."""
    monkeypatch.setattr("callback_sdk.client.batch.MAX_TASKS", 4)
    items = [BatchItem(DATA, parameters={"by": n}) for n in range(10)]
    first = client.run_algorithm_batch("scale", items[:8], idempotency_key="many", progress=False)
    again = client.run_algorithm_batch("scale", items, idempotency_key="many", progress=False)
    assert [task.job_id for task in again[:8]] == [task.job_id for task in first]
    assert [ended(task).predictions for task in again] == [6 * n for n in range(10)]
    assert len({task.job_id for task in again}) == 10
    assert {task.job_id for task in again} <= {summary.job_id for summary in client.get_tasks(algorithm_id="scale")}


def test_a_batch_with_an_invalid_task_is_rejected(client: Client) -> None:
    """The service names the invalid task, and accepts none."""
    before = sum(1 for _ in client.get_tasks())
    with pytest.raises(InvalidRequestError, match=r"tasks\[1\]") as caught:
        client.run_algorithm_batch("scale", [DATA, BatchItem(DATA, callbacks=["http://10.0.0.1/x"])], progress=False)
    assert caught.value.accepted_job_ids == ()
    assert sum(1 for _ in client.get_tasks()) == before


def test_tasks_are_listed_over_pages(client: Client) -> None:
    """Newest first, filtered, and up to the limit."""
    tasks = [client.run_algorithm("fail", DATA) for _ in range(3)]
    for task in tasks:
        ended(task)
    found = list(client.get_tasks(status="Finished", algorithm_id="fail", limit=2))
    assert [one.job_id for one in found] == [tasks[2].job_id, tasks[1].job_id]
    assert (found[0].success, "no such material" in found[0].error) == (False, True)
    with pytest.raises(InvalidRequestError):
        client.get_tasks(status="Lost")


def test_a_dead_delivery_is_redelivered(client: Client, webhook: WebhookReceiver) -> None:
    """Its attempts are listed, and it succeeds when the target works again."""
    webhook.respond(404)
    task = ended(client.run_algorithm("scale", DATA, callback_url=webhook.url))
    (dead,) = client.get_deliveries(task.job_id)
    assert (dead.status, dead.attempt_count, [one.number for one in dead.attempts]) == ("dead", 1, [1])
    assert "404" in dead.attempts[0].error
    with pytest.raises(TargetError):
        task.redeliver(target="ftp://example.org/")
    (again,) = task.redeliver()
    assert again.delivery_id == dead.delivery_id
    assert [one.status for one in ended(task.refresh()).deliveries] == ["delivered"]
    (delivered,) = client.get_deliveries(task.job_id)
    assert delivered.receipt == task.receipts[0]
    assert task.redeliver() == []


def test_templates_and_graphs_are_files(client: Client) -> None:
    """They can be read like files; a missing one is an error that names the available ones."""
    assert json.load(client.get_template("scale", file_type="input")) == {"a": [1.0]}
    picture = client.get_algorithm("scale").get_graph(file_type="input")
    assert picture.read(4) == b"\x89PNG"
    assert client.get_graph("scale").read(4) == b"\x89PNG"
    with pytest.raises(NotFoundError, match="no template of the type output"):
        client.get_template("scale", "output")
    with pytest.raises(NotFoundError, match="types input"):
        client.get_graph("scale", "output")
    assert [version.version for version in client.get_algorithm_versions("scale")] == ["1.0.0"]
    assert client.get_algorithm_version("scale", "1.0.0").version == "1.0.0"


def test_a_task_that_has_ended_is_not_canceled(client: Client) -> None:
    """A result is not taken back."""
    task = ended(client.run_algorithm("scale", DATA))
    with pytest.raises(ConflictError, match="ended"):
        task.cancel()


def test_a_full_request_is_accepted(client: Client) -> None:
    """A thousand tasks with their own features go in one request, and the next one in another."""
    tasks = client.run_algorithm_batch("fail", ({"a": [n]} for n in range(1001)), progress=False)
    assert len({task.job_id for task in tasks}) == 1001
