"""Blob storage that accepts connections and never responds, and a disk without space."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from callback_sdk.errors import CallbackSDKError
from callback_sdk.testing import SeaweedFS, WebhookReceiver
from tests.conftest import missing_server
from tests.freezingproxy import FreezingProxy
from tests.topology import Topology, wait_until

SMALL, LARGE = {"a": [1, 2, 3]}, {"a": [0] * 20_000}


@pytest.fixture(params=["embedded", "celery"])
def engine(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Give each engine."""
    try:
        broker = request.getfixturevalue("callback_valkey").url if request.param == "celery" else None
    except CallbackSDKError as error:
        missing_server(str(error))
    return {"engine": request.param, "broker": broker}


@pytest.fixture
def storage(seaweedfs: SeaweedFS) -> Iterator[FreezingProxy]:
    """Return a proxy that can freeze the object store."""
    with FreezingProxy(urlsplit(seaweedfs.endpoint_url).port) as proxy:
        yield proxy


@pytest.fixture
def topology(
    engine: dict[str, Any], storage: FreezingProxy, seaweedfs: SeaweedFS, tmp_path: Path
) -> Iterator[Topology]:
    """Run a service and a worker with two slots, with blobs in a bucket behind the proxy."""
    environment = {
        "AWS_ENDPOINT_URL_S3": storage.url,
        "AWS_ACCESS_KEY_ID": seaweedfs.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    settings = {"BLOB_STORAGE": f"s3://{seaweedfs.create_bucket()}/blobs", "RETRY_DELAYS": "1s " * 12}
    with Topology(
        tmp_path, "impatient_jobs:registry", **engine, processes=2, settings=settings, environment=environment
    ) as topology:
        yield topology


def readiness(topology: Topology) -> requests.Response:
    address = (topology.data / "address").read_text().strip()
    with requests.Session() as session:
        session.trust_env = False
        return session.get(urljoin(address, "/readyz"), timeout=60)


def test_large_results_wait_for_storage_without_holding_a_slot(
    topology: Topology, storage: FreezingProxy, webhook: WebhookReceiver
) -> None:
    """With more large results than slots, small tasks still run, and nothing is computed twice or lost."""
    with topology.client() as client:
        assert client.run_algorithm("sum", SMALL).wait(progress=False).success
        storage.freeze()
        large = [client.run_algorithm("many", SMALL, callback_url=webhook.url) for _ in range(4)]
        small = [client.run_algorithm("sum", SMALL) for _ in range(12)]
        for task in small:
            assert task.wait(progress=False).predictions == {"a": 6}
        assert {task.refresh().status for task in large} <= {"Pending", "In Progress"}
        assert readiness(topology).status_code == 503
        storage.thaw()
        for task in large:
            assert len(task.wait(progress=False).predictions) == 100
    documents = [request.document for request in webhook.wait_for(4)]
    assert {document["job_id"] for document in documents} == {task.job_id for task in large}
    wait_until(lambda: readiness(topology).ok, what="readiness")


def test_restarts_during_an_outage_lose_no_task(
    topology: Topology, storage: FreezingProxy, webhook: WebhookReceiver
) -> None:
    """A task ends with its result, however often the service and its worker are restarted during the outage."""
    with topology.client() as client:
        storage.freeze()
        task = client.run_algorithm("many", SMALL, callback_url=webhook.url)
    for _ in range(3):
        with topology.client() as client:
            wait_until(lambda: client.get_task(task.job_id).status == "In Progress", what="the run")
        topology.close()
        topology.start_service()
        topology.start_worker()
    storage.thaw()
    with topology.client() as client:
        wait_until(lambda: client.get_task(task.job_id).ended, patience=180, what="the end")
        assert client.get_task(task.job_id).success
    assert "Traceback" not in topology.log, topology.log


@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
def test_a_task_that_waits_for_storage_can_be_canceled(topology: Topology, storage: FreezingProxy) -> None:
    """It ends at once, and its files don't stay on the worker's disk."""
    with topology.client() as client:
        storage.freeze()
        task = client.run_algorithm("many", SMALL)
        wait_until(lambda: "Results can't be stored" in topology.log, what="the outage")
        assert task.cancel().status == "Canceled"
        scratch = topology.data / "scratch"
        wait_until(lambda: not list(scratch.glob("*/*.results")), what="the end of its files")
        assert client.run_algorithm("sum", SMALL).wait(progress=False).success


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], stderr=subprocess.DEVNULL
    )
    if not mounted:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.check_call(["umount", "--lazy", str(folder)])


def fill(disk: Path, *, leave: int) -> None:
    """Leave so many bytes of a file system free."""
    found = os.statvfs(disk)
    with (disk / "fill").open("ab") as file:
        file.write(bytes(max(0, found.f_bavail * found.f_frsize - leave)))


@pytest.mark.parametrize("leave", [0, 16_384, 100_000])
def test_a_service_on_a_full_disk_names_the_path(small_disk: Path, leave: int) -> None:
    """The command exits with 75, and prints one line with the path and a hint."""
    fill(small_disk, leave=leave)
    topology = Topology(small_disk.parent, "engine_jobs:registry")
    topology.environment["CALLBACK_SDK_DATA_DIR"] = str(small_disk / "data")
    topology.launch("service")
    assert topology.service is not None
    assert topology.service.wait(60) == 75
    (line,) = topology.log.splitlines()
    assert line.startswith("Error: ")
    assert str(small_disk / "data") in line
    assert "Free space" in line or "free disk space" in line


def test_a_service_is_not_ready_while_its_disk_is_full(small_disk: Path) -> None:
    """A load balancer can use other services; afterwards it recovers."""
    with Topology(small_disk, "engine_jobs:registry") as topology, topology.client() as client:
        wait_until(lambda: readiness(topology).ok, what="the setup of the workers")
        fill(small_disk, leave=0)
        answer = readiness(topology)
        assert answer.status_code == 503
        assert "No file can be written" in answer.json()["error"]
        (small_disk / "fill").unlink()
        assert readiness(topology).ok
        assert client.run_algorithm("sum", SMALL).wait(progress=False).success
