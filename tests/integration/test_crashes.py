"""Stores and the service are killed at each step of an upload in several requests, and started again: all arrives."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from callback_sdk import JobResult, ResultsWriter, S3Signer, Task
from callback_sdk.targets import azure as azure_module
from callback_sdk.targets import azure_blocks
from callback_sdk.testing import SeaweedFS
from callback_sdk.testing.uploads import MIN_PART_SIZE
from tests.checkers import azurite
from tests.checkers.azurite import CONTAINER, Azurite
from tests.conftest import missing_server
from tests.faultyproxy import Failure, FaultyProxy
from tests.topology import Topology, imported_at_startup, kill_tree, wait_until

BLOCK = 64 * 1024
"""That of `small_blocks`."""

PATIENCE = timedelta(minutes=2)
LONG = os.environ.get("CALLBACK_SDK_CRASH") == "long"
"""Whether `make crash` runs the tests. A store takes up to half a minute to start again."""

MOMENTS = [
    ("last", "during"),
    ("completion", "after"),
    *(("first", "before"), ("second", "after"), ("completion", "before"), ("completion", "during")),
]
"""Steps of an upload, and when something is killed at them: two that leave most behind, then those of the long form."""

at_each_moment = pytest.mark.parametrize(("step", "when"), MOMENTS if LONG else MOMENTS[:2], ids=lambda word: word)
Matches = Callable[[str, str, int], bool]


class Crash:
    """Kills something once, at one of the requests through a proxy.

    A request during which it kills is under way when the signal is sent, so that any part of it may be carried out.

    Args:
        proxy: The proxy.
        kill: Kills it.
        matches: Tells by method, path and query, and the number of a request from 0, whether it is the one.
        when: `"before"` the request is forwarded, `"during"` it, or `"after"` it was carried out, without a response.
    """

    def __init__(self, proxy: FaultyProxy, kill: Callable[[], None], matches: Matches, when: str) -> None:
        self.done = threading.Event()
        self._kill, self._matches, self._when = kill, matches, when
        self._first = len(proxy.requests)
        self._number: int | None = None
        proxy.choose, proxy.after = self._choose, self._after

    def _choose(self, method: str, path: str, number: int) -> Failure | None:
        if self._number is not None or not self._matches(method, path, number - self._first):
            return None
        self._number = number
        if self._when == "before":
            self._crash()
            return Failure.ERROR
        if self._when == "during":
            threading.Thread(target=self._crash).start()
        return Failure.LOST

    def _after(self, number: int) -> None:
        if number == self._number and self._when == "after":
            self._crash()

    def _crash(self) -> None:
        self._kill()
        self.done.set()


@contextmanager
def restarting(crash: Crash, restart: Callable[[], None]) -> Iterator[None]:
    """Start the store again after the crash, while the block waits for it."""

    def run() -> None:
        if crash.done.wait(PATIENCE.total_seconds()):
            restart()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join()
    assert crash.done.is_set()


def part(number: int) -> Matches:
    return lambda method, path, _: bool(re.search(rf"[?&]partNumber={number}(&|$)", path))


def completion(method: str, path: str, _: int) -> bool:
    return method == "POST" and "uploadId=" in path


def block_list(method: str, path: str, _: int) -> bool:
    return "comp=blocklist" in path


def nth(number: int) -> Matches:
    return lambda method, path, count: count == number


@pytest.fixture(scope="module")
def own_seaweedfs(seaweedfs: SeaweedFS) -> Iterator[SeaweedFS]:
    """Run a store that no other test uses."""
    with SeaweedFS() as store:
        yield store


@pytest.fixture(scope="module")
def own_azure() -> Iterator[Azurite]:
    """Run Azurite for these tests alone, with a container that it has saved: it saves every few seconds."""
    command = azurite.find()
    if command is None:
        missing_server(azurite.HOW_TO_GET_IT)
    with azurite.running(command) as server:
        database = server.data / "__azurite_db_blob__.json"
        wait_until(lambda: database.exists() and f'"{CONTAINER}"' in database.read_text(), what="the save")
        yield server


@contextmanager
def proxy_of(url: str) -> Iterator[FaultyProxy]:
    with FaultyProxy(int(url.split(":")[2].split("/")[0])) as proxy:
        yield proxy


def through(azure: Azurite, proxy: FaultyProxy) -> Azurite:
    """Return the account at the proxy. A SAS is not made for a host."""
    return evolve(azure, endpoint=f"http://127.0.0.1:{proxy.port}/{azure.account}")


S3_STEPS = {"first": part(1), "second": part(2), "last": part(3), "completion": completion}


@at_each_moment
def test_an_s3_store_is_killed(own_seaweedfs: SeaweedFS, step: str, when: str) -> None:
    """The document arrives within the time limit of its delivery, and no upload stays open."""
    store, bucket = own_seaweedfs, own_seaweedfs.create_bucket()
    process: Any = store._process

    def restart() -> None:
        process.restart()
        assert store._wait_until_ready()

    with proxy_of(store.endpoint_url) as proxy, ResultsWriter(timeout=PATIENCE) as writer:
        signer = S3Signer(bucket, client=store.client(endpoint_url=f"http://127.0.0.1:{proxy.port}"))
        target = signer.presign_multipart("42.json", part_size=MIN_PART_SIZE, max_bytes=4 * MIN_PART_SIZE)
        with restarting(Crash(proxy, process.kill, S3_STEPS[step], when), restart):
            result = JobResult(job_id="42", success=True, results="x" * (2 * MIN_PART_SIZE + 1000))
            (receipt,) = writer.write(result, target)
    client = store.client()
    stored = client.get_object(Bucket=bucket, Key="42.json")["Body"].read()
    assert hashlib.sha256(stored).hexdigest() == receipt.sha256
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


AZURE_STEPS = {"first": nth(0), "second": nth(1), "last": nth(3), "completion": block_list}


@at_each_moment
def test_azurite_is_killed(own_azure: Azurite, step: str, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document arrives within the time limit of its delivery, although Azurite loses its blocks; none is left."""
    monkeypatch.setattr(azure_module, "SINGLE_BLOB", BLOCK)
    monkeypatch.setattr(azure_blocks, "BLOCK_SIZE", BLOCK)
    name = f"{step}-{when}.json"
    result = JobResult(job_id="42", success=True, results="x" * (3 * BLOCK + 1000))
    with proxy_of(own_azure.endpoint) as proxy, ResultsWriter(timeout=PATIENCE) as writer:
        crash = Crash(proxy, own_azure.kill, AZURE_STEPS[step], when)
        with restarting(crash, own_azure.restart):
            (receipt,) = writer.write(result, through(own_azure, proxy).sign(name))
    check_blob(own_azure, name, receipt.sha256)


def check_blob(azure: Azurite, name: str, sha256: str) -> None:
    assert hashlib.sha256(azure.read(name) or b"").hexdigest() == sha256
    with azure.client() as client:
        committed, left = client.get_blob_client(CONTAINER, name).get_block_list("all")
    assert (len(committed), left) == (4, [])


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run the service with short leases, and small blocks for Azure."""
    folder = tmp_path_factory.mktemp("crashes")
    paths = [imported_at_startup("small_blocks", folder / "site")]
    settings = {"LEASE": "4s", "RETRY_DELAYS": "0.2s 0.2s 0.2s"}
    with Topology(folder, "multipart_jobs:registry", processes=1, settings=settings, paths=paths) as topology:
        yield topology


def run_with_crash(topology: Topology, crash: Crash, algorithm: str, parameters: dict[str, Any], target: Any) -> Task:
    """Run a task, start the service again when the crash has killed it, and wait for the delivery."""
    with topology.client() as client:
        task = client.run_algorithm(algorithm, parameters=parameters, callbacks=[target])
    assert crash.done.wait(PATIENCE.total_seconds())
    topology.start_service()
    with topology.client() as client:
        wait_until(lambda: client.get_task(task.job_id).receipts, what="the delivery")
        return client.get_task(task.job_id)


@at_each_moment
def test_the_service_is_killed_while_it_sends_blocks(
    topology: Topology, own_azure: Azurite, step: str, when: str
) -> None:
    """The next one sends the same document."""
    name = f"service-{step}-{when}.json"
    with proxy_of(own_azure.endpoint) as proxy:
        crash = Crash(proxy, lambda: kill_tree(topology.service), AZURE_STEPS[step], when)
        target = through(own_azure, proxy).sign(name)
        task = run_with_crash(topology, crash, "large", {"size": 3 * BLOCK + 1000}, target)
    (receipt,) = task.receipts
    check_blob(own_azure, name, receipt.sha256)
    assert json.loads(own_azure.read(name) or b"")["job_id"] == task.job_id


# The document completes the files.
FORM_STEPS = {"first": nth(0), "second": nth(1), "last": nth(2), "completion": nth(3)}


@at_each_moment
def test_the_service_is_killed_while_it_sends_files(
    topology: Topology, seaweedfs: SeaweedFS, bucket: str, step: str, when: str
) -> None:
    """The next one sends the rest, and the document after all files."""
    with proxy_of(seaweedfs.endpoint_url) as proxy:
        crash = Crash(proxy, lambda: kill_tree(topology.service), FORM_STEPS[step], when)
        signer = S3Signer(bucket, client=seaweedfs.client(endpoint_url=f"http://127.0.0.1:{proxy.port}"))
        task = run_with_crash(topology, crash, "files", {"count": 3}, signer.presign_prefix("run/"))
    client = seaweedfs.client()
    stored = {
        one["Key"]: client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
        for one in client.list_objects_v2(Bucket=bucket)["Contents"]
    }
    (receipt,) = task.receipts
    document = stored.pop("run/result.json")
    assert hashlib.sha256(document).hexdigest() == receipt.sha256
    assert stored == {f"run/{number}.txt": f"file {number}".encode() for number in range(3)}
    listed = json.loads(document)["results"]["outputs"]
    assert {f"run/{name}": entry["sha256"] for name, entry in listed.items()} == {
        key: hashlib.sha256(content).hexdigest() for key, content in stored.items()
    }
