"""Callbacks `results:`: the service signs for its own bucket, at a store that verifies signatures."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from callback_sdk import Client, ResultsWriter, S3Signer, Task
from callback_sdk.commands.serving import EXIT_SETTING
from callback_sdk.errors import InvalidRequestError, InvalidTargetError
from callback_sdk.models import JobResult
from callback_sdk.testing import Faults, LocalService, ObjectStore, SeaweedFS, WebhookReceiver
from tests.topology import Topology, kill_tree, wait_until

JOBS = "tests.integration.service_jobs:registry"


@pytest.fixture(scope="module")
def bucket(seaweedfs: SeaweedFS) -> str:
    """Create the bucket of both services, and return its name."""
    return seaweedfs.create_bucket()


@pytest.fixture(scope="module")
def client(seaweedfs: SeaweedFS, bucket: str) -> Iterator[Client]:
    """Run a service whose callbacks reach the webhooks of the tests only, but not the store."""
    with ExitStack() as stack:
        with variables(seaweedfs, seaweedfs.endpoint_url):
            service = stack.enter_context(
                LocalService(JOBS, allow_networks=["127.0.0.2/32:*"], results_bucket=f"s3://{bucket}/runs")
            )
        yield stack.enter_context(Client(service.url, token=service.token))


@contextmanager
def variables(seaweedfs: SeaweedFS, endpoint_url: str) -> Iterator[None]:
    """Set boto3's variables while a service starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": seaweedfs.access_key,
            "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key,
            "AWS_ENDPOINT_URL_S3": endpoint_url,
            "AWS_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        yield


def settled(client: Client, task: Task) -> Task:
    """Wait until all deliveries have ended."""
    wait_until(
        lambda: client.get_task(task.job_id).status == "Finished" and not client.get_task(task.job_id).delivering
    )
    return client.get_task(task.job_id)


@pytest.fixture(scope="module")
def faulty(seaweedfs: SeaweedFS) -> Iterator[ObjectStore]:
    """Fail in every way in front of a store that checks signatures; the service's bucket is there."""
    faults = Faults(rate=0.2, seed=19, delay=timedelta(milliseconds=20))
    with ObjectStore(upstream=seaweedfs.endpoint_url, faults=faults) as store:
        yield store


@pytest.fixture(scope="module")
def files(
    seaweedfs: SeaweedFS, faulty: ObjectStore, bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """Run a service whose algorithms make output files, with short delays between attempts."""
    settings = {"RETRY_DELAYS": "0.2s " * 30, "RESULTS_BUCKET": f"s3://{bucket}/runs"}
    with ExitStack() as stack:
        with variables(seaweedfs, faulty.endpoint_url):
            topology = stack.enter_context(
                Topology(tmp_path_factory.mktemp("files"), "output_jobs:registry", settings=settings)
            )
        yield stack.enter_context(topology.client())


def test_output_files_are_stored_beside_the_document(
    files: Client, seaweedfs: SeaweedFS, bucket: str, faulty: ObjectStore
) -> None:
    """Each with a signature of its own, made when it is sent, although the store fails a fifth of the time."""
    store = seaweedfs.client()
    for algorithm, parameters in (("many", {"count": 100}), ("all-kinds", {})):
        with WebhookReceiver() as receiver:
            task = files.run_algorithm(
                algorithm, {"a": [1]}, parameters=parameters, callbacks=[receiver.url, "results:", "results:b.json"]
            )
            task = settled(files, task)
            (request,) = receiver.wait_for(1)
        assert [one.status for one in task.deliveries] == ["delivered"] * 3, task.deliveries
        prefix = f"runs/{task.job_id}/"
        documents = [
            store.get_object(Bucket=bucket, Key=prefix + name)["Body"].read() for name in ("result.json", "b.json")
        ]
        listed = json.loads(documents[0])["results"]["outputs"]
        assert json.loads(documents[1])["results"]["outputs"] == listed
        assert json.loads(request.body)["results"]["outputs"] == listed
        assert listed.keys() == task.outputs.keys() == task.receipts[1].outputs.keys()
        for name, entry in listed.items():
            found = store.get_object(Bucket=bucket, Key=prefix + name)
            assert hashlib.sha256(found["Body"].read()).hexdigest() == entry["sha256"]
            assert found["ContentType"] == entry["media_type"]
            assert entry["url"] == f"{faulty.endpoint_url}/{bucket}/{quote(prefix + name)}"


def test_the_name_of_a_document_is_reserved(files: Client, seaweedfs: SeaweedFS, bucket: str) -> None:
    """Of each document of the task. The algorithm gets the error."""
    task = settled(files, files.run_algorithm("stepwise", {"a": [1]}, callbacks=["results:", "results:step-1.txt"]))
    assert "in the place of the output file 'step-1.txt'" in (task.error or "")
    listed = seaweedfs.client().list_objects_v2(Bucket=bucket, Prefix=f"runs/{task.job_id}/")["Contents"]
    assert [item["Key"].rpartition("/")[2] for item in listed] == ["result.json", "step-1.txt"]


def test_a_file_with_its_own_target_is_not_copied(
    files: Client, seaweedfs: SeaweedFS, bucket: str, faulty: ObjectStore
) -> None:
    """The document lists it where it is. A redelivery sends the others again."""
    store = seaweedfs.client()
    signer = S3Signer(bucket, client=seaweedfs.client(endpoint_url=faulty.endpoint_url))
    task = settled(
        files,
        files.run_algorithm(
            "stepwise", {"a": [1]}, callbacks=["results:"], outputs={"step-0.txt": signer.presign_put("own")}
        ),
    )
    prefix = f"runs/{task.job_id}/"
    names = {f"{prefix}{name}" for name in ("result.json", "step-1.txt", "step-2.txt")}
    assert {one["Key"] for one in store.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]} == names
    listed = json.loads(store.get_object(Bucket=bucket, Key=f"{prefix}result.json")["Body"].read())["results"][
        "outputs"
    ]
    assert listed["step-0.txt"]["url"].endswith(f"/{bucket}/own")
    store.delete_object(Bucket=bucket, Key=f"{prefix}step-1.txt")
    files.redeliver(task.job_id, files.get_deliveries(task.job_id)[0].delivery_id, target="results:c.json")
    settled(files, task)
    names |= {f"{prefix}c.json"}
    assert {one["Key"] for one in store.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]} == names


def test_a_canceled_tasks_document_reaches_the_bucket(
    files: Client, seaweedfs: SeaweedFS, bucket: str, tmp_path: Path
) -> None:
    """Canceled while it runs."""
    started = tmp_path / "started"
    task = files.run_algorithm(
        "waiting", {"a": [1]}, parameters={"started": str(started), "go": str(started) + "-go"}, callbacks=["results:"]
    )
    wait_until(started.exists)
    files.cancel_task(task.job_id)
    wait_until(lambda: not files.get_task(task.job_id).delivering and files.get_task(task.job_id).receipts)
    found = seaweedfs.client().get_object(Bucket=bucket, Key=f"runs/{task.job_id}/result.json")
    document = json.loads(found["Body"].read())
    assert (document["job_id"], document["success"], document["results"]) == (task.job_id, False, None)


def test_results_reach_the_bucket(client: Client, seaweedfs: SeaweedFS, bucket: str) -> None:
    """Of tasks that succeed, fail and are canceled: with the URL of the object, and without a signature anywhere."""

    def stored(key: str) -> Any:
        return json.loads(seaweedfs.client().get_object(Bucket=bucket, Key=key)["Body"].read())

    done = client.run_algorithm("sum", {"a": [1, 2]}, callbacks=["results:", ("results:b.json", {"run": 7})])
    late = client.run_algorithm("sum", {"a": [1]}, callbacks=["results:"], expires=timedelta(seconds=0.001))
    for task in (done, late):
        wait_until(lambda task=task: task.refresh().status == "Finished" and not task.delivering)
    place = f"{seaweedfs.endpoint_url}/{bucket}/runs/{done.job_id}"
    assert [delivery.url for delivery in done.deliveries] == [f"{place}/result.json", f"{place}/b.json"]
    assert [receipt.url.partition("?")[0] for receipt in done.receipts] == [f"{place}/result.json", f"{place}/b.json"]
    assert stored(f"runs/{done.job_id}/result.json")["results"]["predictions"] == {"a": 3}
    assert stored(f"runs/{done.job_id}/b.json")["callback_param"] == {"run": 7}
    assert stored(f"runs/{late.job_id}/result.json")["job_id"] == late.job_id
    (delivery, _) = client.get_deliveries(done.job_id)
    again = client.redeliver(done.job_id, delivery.delivery_id, target="results:again.json")
    wait_until(lambda: client.get_task(done.job_id).receipts[0].url.partition("?")[0] == f"{place}/again.json")
    assert again.delivery_id == delivery.delivery_id
    assert stored(f"runs/{done.job_id}/again.json") == stored(f"runs/{done.job_id}/result.json")


def test_a_new_target_is_not_another_deliverys_object(client: Client, seaweedfs: SeaweedFS, bucket: str) -> None:
    """The second document would overwrite the first one. Nothing is changed."""
    task = settled(
        client, client.run_algorithm("sum", {"a": [1]}, callbacks=["results:one.json", ("results:two.json", {"q": 2})])
    )
    first, second = client.get_deliveries(task.job_id)
    for same in ("results:one.json", "results:%6fne.json"):
        with pytest.raises(InvalidRequestError):
            client.redeliver(task.job_id, second.delivery_id, target=same)
    assert client.get_deliveries(task.job_id) == [first, second]
    client.redeliver(task.job_id, second.delivery_id, target="results:two.json")
    client.redeliver(task.job_id, second.delivery_id, target="results:three.json")
    client.redeliver(task.job_id, first.delivery_id, target="results:two.json")


def test_a_replaced_target_survives_a_kill(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    """The service is killed after the replacement and before the first attempt, which goes to the new target only."""
    bucket = seaweedfs.create_bucket()
    signer = S3Signer(bucket, client=seaweedfs.client())
    started, go = tmp_path / "started", tmp_path / "go"
    with Topology(tmp_path, "output_jobs:registry", settings={"LEASE": "4s"}) as topology:
        with topology.client() as client:
            files = {"started": str(started), "go": str(go)}
            task = client.run_algorithm(
                "waiting", {"a": [1]}, parameters=files, callbacks=[(signer.presign_put("old.json"), {"run": 7})]
            )
            wait_until(started.exists)
            (delivery,) = client.get_deliveries(task.job_id)
            client.redeliver(task.job_id, delivery.delivery_id, target=signer.presign_put("new.json"))
        kill_tree(topology.service)
        assert "Contents" not in seaweedfs.client().list_objects_v2(Bucket=bucket)
        topology.start_service()
        go.touch()
        with topology.client() as client:
            settled(client, task)
            (after,) = client.get_deliveries(task.job_id)
    assert (after.delivery_id, after.status, after.attempt_count) == (delivery.delivery_id, "delivered", 1)
    keys = [one["Key"] for one in seaweedfs.client().list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == ["new.json"]
    document = json.loads(seaweedfs.client().get_object(Bucket=bucket, Key="new.json")["Body"].read())
    assert (document["job_id"], document["callback_param"]) == (task.job_id, {"run": 7})


@pytest.mark.parametrize(
    ("variable", "code"),
    [("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"), ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId")],
)
def test_a_wrong_key_ends_the_service_at_its_start(
    seaweedfs: SeaweedFS, bucket: str, tmp_path: Path, variable: str, code: str
) -> None:
    """With the store's code, and without the key."""
    with variables(seaweedfs, seaweedfs.endpoint_url), pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, "WRONG9c2e")
        place = ["--results-bucket", f"s3://{bucket}/runs", "--data-dir", str(tmp_path / "data"), "--port", "0"]
        served = subprocess.run(
            [sys.executable, "-m", "callback_sdk.cli", "serve", JOBS, *place],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert served.returncode == EXIT_SETTING, served.stderr
    assert f"rejects s3://{bucket} of --results-bucket: {code}" in served.stderr
    assert "WRONG9c2e" not in served.stderr + served.stdout


@pytest.mark.parametrize("wrong", [["results:../x"], ["results:", "results:"], [("results:", {"webhook": True})]])
def test_what_the_bucket_does_not_take_is_rejected(client: Client, wrong: list[Any]) -> None:
    """When the task is submitted."""
    with pytest.raises(InvalidRequestError):
        client.run_algorithm("sum", {"a": [1]}, callbacks=wrong)


def test_without_a_bucket_the_target_is_an_error() -> None:
    """Of the service, and of a writer, which has none."""
    with (
        LocalService(JOBS) as service,
        Client(service.url, token=service.token) as client,
        pytest.raises(InvalidRequestError, match="results-bucket"),
    ):
        client.run_algorithm("sum", {"a": [1]}, callbacks=["results:"])
    with ResultsWriter() as writer, pytest.raises(InvalidTargetError, match="results-bucket"):
        writer.write(JobResult(job_id="1", success=True), "results:")
