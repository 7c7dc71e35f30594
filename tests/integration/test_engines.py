"""The contract of engines: one suite for all engines and databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest

from callback_sdk import Client, S3Signer, Task
from callback_sdk.errors import CallbackSDKError, TaskExpiredError
from callback_sdk.testing import SeaweedFS, WebhookReceiver
from tests.conftest import missing_server
from tests.topology import PATIENCE, Topology, kill_tree, wait_until

DATA = {"a": [1, 2, 3]}
KINDS = ["embedded-sqlite", "embedded-postgres", "valkey-sqlite", "valkey-postgres", "rabbitmq-postgres"]
PUBLIC_URL = "https://jobs.example.org/base"
SETTINGS = {
    "RETRY_DELAYS": "1s 1s 1s",
    "LEASE": "8s",
    "MAX_WEBHOOK_BYTES": "50000",
    "PUBLIC_URL": f"{PUBLIC_URL}/",
}
"""A lease that ends soon after its worker, and that a busy machine doesn't miss."""
IN_A_BUCKET = "valkey-postgres"


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the arguments of a topology of each kind."""
    engine, database = request.param.split("-")
    try:
        broker = None if engine == "embedded" else request.getfixturevalue(f"callback_{engine}").url
        server = None if database == "sqlite" else request.getfixturevalue("callback_postgres")
    except CallbackSDKError as error:
        missing_server(str(error))
    return {
        "engine": "embedded" if engine == "embedded" else "celery",
        "broker": broker,
        "database": None if server is None else server.create_database(),
        "settings": SETTINGS,
        **(_bucket(request) if request.param == IN_A_BUCKET else {}),
    }


def _bucket(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings that store large features and results in a bucket."""
    seaweedfs = request.getfixturevalue("seaweedfs")
    return {
        "settings": SETTINGS | {"BLOB_STORAGE": f"s3://{seaweedfs.create_bucket()}/callback-sdk"},
        "environment": {
            "AWS_ENDPOINT_URL_S3": seaweedfs.endpoint_url,
            "AWS_ACCESS_KEY_ID": seaweedfs.access_key,
            "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        },
    }


@pytest.fixture(scope="module")
def topology(kind: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run a service and its worker; tests of this file may kill both, and start them again."""
    with Topology(tmp_path_factory.mktemp("topology"), "engine_jobs:registry", **kind) as topology:
        yield topology


def starts(path: Path) -> list[str]:
    return [line.split()[1] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_task_is_run_and_delivered(client: Client, webhook: WebhookReceiver) -> None:
    """The result is in the task and at the target."""
    task = client.run_algorithm("sum", DATA, callback_url=webhook.url).wait(progress=False)
    assert task.predictions == {"a": 6}
    # At least once: while this machine stalls a lease may expire, and its delivery is repeated.
    request, *repeated = webhook.wait_for(1)
    assert {other.body for other in repeated} <= {request.body}
    assert request.document["job_id"] == task.job_id
    assert request.document["results"]["predictions"] == {"a": 6}


def test_large_features_and_results_use_blob_storage(client: Client, webhook: WebhookReceiver) -> None:
    """Clients see no difference, and a webhook gets the URL of the task."""
    data = {"a": list(range(20_000))}
    task = client.run_algorithm("large", data, callback_url=webhook.url, callback_param={"n": 1}).wait(progress=False)
    assert len(task.predictions) == 100
    assert webhook.wait_for(1)[0].document == {
        "job_id": task.job_id,
        "status": "Finished",
        "callback_param": {"n": 1},
        "success": True,
        "task_url": f"{PUBLIC_URL}/api/v2/algorithms/tasks/{task.job_id}",
    }


def test_output_files_are_stored_and_delivered(
    client: Client, seaweedfs: SeaweedFS, bucket: str, tmp_path: Path
) -> None:
    """A small one and a large one: read by the client, and sent with the document, also again."""
    store, contents = seaweedfs.client(), {"small.txt": b"small", "large.bin": b"x" * 100_000}
    target = S3Signer(bucket, client=store).presign_prefix("runs/")
    task = client.run_algorithm("files", DATA, callbacks=[target])
    task.wait(delivery_timeout=timedelta(seconds=PATIENCE), progress=False)
    assert {name: file.read() for name, file in task.outputs.items()} == contents
    assert {path.name: path.read_bytes() for path in task.outputs.download(tmp_path)} == contents
    with task.outputs["large.bin"].open() as file:
        assert file.read() == contents["large.bin"]
    for name, content in contents.items():
        assert store.get_object(Bucket=bucket, Key=f"runs/{name}")["Body"].read() == content
        store.delete_object(Bucket=bucket, Key=f"runs/{name}")
    client.redeliver(task.job_id, client.get_deliveries(task.job_id)[0].delivery_id)
    wait_until(lambda: "Contents" in store.list_objects_v2(Bucket=bucket, Prefix="runs/large.bin"))


def test_a_canceled_run_is_killed(client: Client, tmp_path: Path, webhook: WebhookReceiver) -> None:
    """Its process ends, the worker runs the next task, and the cancellation is delivered."""
    parameters = {"starts": str(tmp_path / "starts"), "go": str(tmp_path / "never"), "name": "x"}
    task = client.run_algorithm("slow", DATA, parameters=parameters, callback_url=webhook.url)
    wait_until(lambda: starts(tmp_path / "starts"), what="the start")
    wait_until(lambda: task.refresh().progress.message == "waiting", what="the progress")
    assert task.cancel().status == "Canceled"
    (request,) = webhook.wait_for(1)
    assert request.document["status"] == "Canceled"
    assert client.run_algorithm("sum", DATA).wait(progress=False).predictions == {"a": 6}


def test_output_is_there_while_a_task_runs(client: Client, tmp_path: Path) -> None:
    """Whichever process runs it; without credentials."""
    parameters = {"starts": str(tmp_path / "starts"), "go": str(tmp_path / "go"), "name": "x"}
    task = client.run_algorithm("slow", DATA, parameters=parameters)
    pieces = client.stream_logs(task.job_id, poll_interval=0.1)
    assert next(pieces) == "waiting\n"
    assert task.get_logs() == "waiting\n"
    (tmp_path / "go").touch()
    assert "".join(pieces) == "https://example.org/?***\n"
    assert task.get_logs() == "waiting\nhttps://example.org/?***\n"


def test_output_of_a_canceled_task_is_complete(kind: dict[str, Any], client: Client, tmp_path: Path) -> None:
    """What it has printed until then, at once where the service runs it, and what it prints when it is stopped."""
    task = client.run_algorithm("tidy", DATA, parameters={"started": str(tmp_path / "started")})
    wait_until((tmp_path / "started").exists, what="the start")
    task.cancel()
    if kind["engine"] == "embedded":
        assert task.get_logs().startswith("before\n")
    assert "".join(client.stream_logs(task.job_id, poll_interval=0.1)) == "before\nafter\n"
    assert task.get_logs() == "before\nafter\n"


@pytest.mark.parametrize("child", [False, True])
def test_a_computation_that_takes_too_much_memory_is_stopped(client: Client, child: bool) -> None:
    """Its child processes count, and the error says how much it took."""
    task = client.run_algorithm("greedy", DATA, parameters={"child": child}).wait(progress=False)
    assert task.success is False
    assert "of memory (limit 300.0 MB). Send less data" in task.error


def test_tasks_of_higher_priority_run_first(topology: Topology, client: Client, tmp_path: Path) -> None:
    """On every broker."""
    go = tmp_path / "go"
    parameters = {"starts": str(tmp_path / "starts"), "go": str(go)}
    block = [client.run_algorithm("slow", DATA, parameters=parameters | {"name": "block"}) for _ in range(2)]
    wait_until(lambda: len(starts(tmp_path / "starts")) == 2, what="the start")
    later = [client.run_algorithm("slow", DATA, parameters=parameters | {"name": "usual"}) for _ in range(40)]
    files = {"features": ("features", b'{"a": [1]}')}
    fields = {"priority": "9"}
    urgent = _predict(topology, "slow", files, fields, parameters | {"name": "urgent"})
    go.touch()
    for task in [*block, *later, client.get_task(urgent)]:
        task.wait(progress=False, poll_interval=timedelta(seconds=0.2))
    assert starts(tmp_path / "starts").index("urgent") < 30


def _is_dead_at(task: Task, start: str) -> bool:
    """Return whether the deliveries of a task to URLs with the given start are dead."""
    return {one.status for one in task.refresh().deliveries if one.url.startswith(start)} == {"dead"}


def test_expired_tasks_are_not_computed(client: Client, tmp_path: Path, webhook: WebhookReceiver) -> None:
    """Those that no worker starts in time, and those whose targets all expire. Other targets get the failure."""
    parameters = {"starts": str(tmp_path / "starts"), "go": str(tmp_path / "go"), "name": "x"}
    block = [client.run_algorithm("slow", DATA, parameters=parameters) for _ in range(2)]
    wait_until(lambda: len(starts(tmp_path / "starts")) == 2, what="the start")
    s3 = boto3.client("s3", region_name="eu-central-1", aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="x" * 40)
    put = S3Signer("a-bucket", client=s3).presign_put("r.json", expires=timedelta(seconds=15))
    late = {
        "at": client.run_algorithm("slow", DATA, parameters=parameters, expires=1, callbacks=[put, webhook.url]),
        "All targets": client.run_algorithm("slow", DATA, parameters=parameters, callbacks=[put]),
    }
    (request,) = webhook.wait_for(1)
    assert (request.document["job_id"], request.document["success"]) == (late["at"].job_id, False)
    for words, task in late.items():
        with pytest.raises(TaskExpiredError, match=words):
            task.wait(progress=False).result()
        assert task.started_at is None
        wait_until(partial(_is_dead_at, task, "https://a-bucket"), what="the end of the target")
    (tmp_path / "go").touch()
    assert all(task.wait(progress=False).success for task in block)
    assert len(starts(tmp_path / "starts")) == 2


def test_tasks_of_a_killed_worker_run_again(
    topology: Topology, client: Client, tmp_path: Path, webhook: WebhookReceiver
) -> None:
    """After SIGKILL in the middle of a run, the task runs again, and the worker's children have ended too."""
    parameters = {"starts": str(tmp_path / "starts"), "go": str(tmp_path / "go"), "name": "x"}
    task = client.run_algorithm("slow", DATA, parameters=parameters, callback_url=webhook.url)
    wait_until(lambda: starts(tmp_path / "starts"), what="the start")
    victim = topology.worker or topology.service
    children = psutil.Process(victim.pid).children(recursive=True)
    kill_tree(victim)
    assert [process for process in children if process.is_running() and process.status() != "zombie"] == []
    if victim is topology.service:
        topology.start_service()
    else:
        topology.start_worker()
    wait_until(lambda: len(starts(tmp_path / "starts")) == 2, what="the second start")
    (tmp_path / "go").touch()
    with topology.client() as client:
        assert client.get_task(task.job_id).wait(progress=False).success
    (request,) = webhook.wait_for(1)
    assert request.document["success"] is True


def test_an_orderly_stop_requeues_running_tasks(topology: Topology, client: Client, tmp_path: Path) -> None:
    """After SIGTERM and the shutdown timeout, the run is interrupted and repeated, without counting as a crash."""
    parameters = {"starts": str(tmp_path / "starts"), "go": str(tmp_path / "go"), "name": "x"}
    task = client.run_algorithm("slow", DATA, parameters=parameters)
    wait_until(lambda: starts(tmp_path / "starts"), what="the start")
    victim = topology.worker or topology.service
    victim.terminate()
    assert victim.wait(PATIENCE) == 0
    if victim is topology.service:
        topology.start_service()
    else:
        assert client.get_task(task.job_id).status == "Pending"
        topology.start_worker()
    (tmp_path / "go").touch()
    with topology.client() as client:
        assert client.get_task(task.job_id).wait(progress=False).success


def test_deliveries_are_retried_while_all_processes_compute(
    client: Client, tmp_path: Path, webhook: WebhookReceiver
) -> None:
    """Deliveries don't wait for runs, which may take hours."""
    webhook.respond(503)
    parameters = {"starts": str(tmp_path / "starts"), "go": str(tmp_path / "go")}
    done = client.run_algorithm("sum", DATA, callback_url=webhook.url).wait(
        progress=False, delivery_timeout=timedelta(0)
    )
    busy = [client.run_algorithm("slow", DATA, parameters=parameters | {"name": "x"}) for _ in range(4)]
    wait_until(lambda: len(starts(tmp_path / "starts")) == 2, what="the start")
    webhook.wait_for(2)
    wait_until(lambda: done.refresh().deliveries[0].status == "delivered")
    assert len(starts(tmp_path / "starts")) == 2
    (tmp_path / "go").touch()
    assert all(task.wait(progress=False).success for task in busy)


def test_a_worker_takes_certain_tasks_only(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Those of the algorithms that its machine is for; the others wait for another one."""
    try:
        broker = request.getfixturevalue("callback_valkey").url.replace("/0", "/1")
    except CallbackSDKError as error:
        missing_server(str(error))
    topology = Topology(tmp_path, "engine_jobs:registry", engine="celery", broker=broker, algorithms=("sum",))
    with topology, topology.client() as client:
        parameters = {"starts": str(tmp_path / "starts"), "go": str(tmp_path), "name": "x"}
        other = client.run_algorithm("slow", DATA, parameters=parameters)
        assert client.run_algorithm("sum", DATA).wait(progress=False).success
        assert other.refresh().status == "Pending"
        assert not (tmp_path / "starts").exists()


def _predict(topology: Topology, algorithm: str, files: dict, fields: dict, parameters: dict) -> str:
    import json

    import requests

    address = (topology.data / "address").read_text().strip()
    token = (topology.data / "token").read_text().strip()
    files = files | {"parameters": ("parameters", json.dumps(parameters))}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"{address}/api/v2/algorithms/{algorithm}/predict",
            data=fields,
            files=files,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
    assert answer.status_code == 202, answer.text
    return answer.json()["job_id"]
