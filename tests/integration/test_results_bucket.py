"""Callbacks `results:`: the service signs for its own bucket, at a store that verifies signatures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk import Client, ResultsWriter
from callback_sdk.errors import InvalidRequestError, InvalidTargetError
from callback_sdk.models import JobResult
from callback_sdk.testing import LocalService, SeaweedFS
from tests.topology import wait_until

JOBS = "tests.integration.service_jobs:registry"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, seaweedfs: SeaweedFS, bucket: str) -> Iterator[Client]:
    """Run a service whose callbacks reach the webhooks of the tests only, but not the store."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": seaweedfs.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key,
        "AWS_ENDPOINT_URL_S3": seaweedfs.endpoint_url,
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    with (
        LocalService(JOBS, allow_networks=["127.0.0.2/32:*"], results_bucket=f"s3://{bucket}/runs") as service,
        Client(service.url, token=service.token) as client,
    ):
        yield client


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
