"""Writer, outbox and service are killed at each step of a multipart upload, and the store loses parts: all arrive."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from callback_sdk import Client, JobResult, ResultsWriter, S3Signer
from callback_sdk.models import PresignedMultipart
from callback_sdk.testing import ObjectStore
from callback_sdk.testing.faults import FaultResponse
from callback_sdk.testing.received import ReceivedRequest
from callback_sdk.testing.uploads import MIN_PART_SIZE
from tests.topology import Topology, kill_tree, wait_until

SIZE = 2 * MIN_PART_SIZE + 1000
MOMENTS = [(step, when) for step in ("part 1", "part 3", "complete") for when in ("before", "after")]


def step_of(request: ReceivedRequest) -> str:
    number = parse_qs(urlsplit(request.path).query).get("partNumber")
    return f"part {number[0]}" if number else {"POST": "complete", "DELETE": "abort"}.get(request.method, "other")


class KillingStore(ObjectStore):
    """A store that has a sender killed before or after it carries out a request."""

    def __init__(self) -> None:
        super().__init__()
        self.killed = threading.Event()
        self._moment: tuple[str, str] | None = None
        self._kill: Callable[[], Any] = lambda: None

    def kill_at(self, moment: tuple[str, str], kill: Callable[[], Any]) -> None:
        self.killed.clear()
        self._moment, self._kill = moment, kill

    def _carry_out(self, request: ReceivedRequest) -> FaultResponse:
        step = step_of(request)
        if "uploads" in parse_qs(urlsplit(request.path).query, keep_blank_values=True):
            return super()._carry_out(request)
        if self._at(step, "before"):
            return FaultResponse(status=500)
        response = super()._carry_out(request)
        self._at(step, "after")
        return response

    def _at(self, step: str, when: str) -> bool:
        if self._moment != (step, when):
            return False
        self._moment = None
        self._kill()
        self.killed.set()
        return True


@pytest.fixture
def store() -> Iterator[KillingStore]:
    with KillingStore() as store:
        yield store


def presigned(store: ObjectStore, key: str) -> PresignedMultipart:
    signer = S3Signer("results", client=store.client())
    return signer.presign_multipart(key, part_size=MIN_PART_SIZE, max_bytes=5 * MIN_PART_SIZE)


def check(store: ObjectStore, key: str, receipt: Any) -> None:
    found = store.objects[f"results/{key}"]
    assert (hashlib.sha256(found.body).hexdigest(), found.etag) == (receipt["sha256"], receipt["etag"])
    results = found.document["results"]
    assert (results["predictions"] if isinstance(results, dict) else results) == "x" * SIZE
    assert store.uploads == 0


WRITER = """
import json, sys
from callback_sdk import JobResult, ResultsWriter
given = json.load(sys.stdin)
result = JobResult(job_id="42", success=True, results="x" * given["size"])
print(json.dumps(ResultsWriter().write(result, given["target"])[0].to_dict()))
"""

OUTBOX = """
import json, sys
from callback_sdk import JobResult, Outbox
given = json.load(sys.stdin)
with Outbox(sys.argv[1]) as outbox:
    if not outbox.entries():
        outbox.write(JobResult(job_id="42", success=True, results="x" * given["size"]), given["target"])
    for entry in outbox.entries(status="pending"):
        outbox.redeliver(entry.delivery_id)
    outbox.run(until_empty=True)
    print(json.dumps(outbox.entries()[0].receipt.to_dict()))
"""


def start(program: str, target: PresignedMultipart, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    json.dump({"size": SIZE, "target": {"url": target.url, "param": target.callback_param}}, process.stdin)
    process.stdin.close()
    return process


@pytest.mark.parametrize("program", [WRITER, OUTBOX], ids=["writer", "outbox"])
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: " ".join(reversed(moment)))
def test_a_process_that_is_killed_leaves_nothing_that_a_later_one_does_not_complete(
    store: KillingStore, moment: tuple[str, str], program: str, tmp_path: Path
) -> None:
    """Parts are sent again; an object that was completed is found."""
    target = presigned(store, "42.json")
    held = threading.Event()

    def kill() -> None:
        held.wait(60)
        process.kill()
        process.wait()

    store.kill_at(moment, kill)
    with start(program, target, str(tmp_path / "outbox")) as process:
        held.set()
        assert store.killed.wait(60)
    assert store.uploads == (0 if moment == ("complete", "after") else 1)
    with start(program, target, str(tmp_path / "outbox")) as later:
        assert later.stdout is not None
        receipt = json.loads(later.stdout.read())
    check(store, "42.json", receipt)


def test_a_service_that_is_killed_at_each_step_delivers_every_result(store: KillingStore, tmp_path: Path) -> None:
    """Each is complete, has a receipt, and no upload is left."""
    topology = Topology(tmp_path, "multipart_jobs:registry", processes=1, settings={"LEASE": "4s"})
    with topology:
        for number, moment in enumerate(MOMENTS[2:]):
            key = f"runs/{number}.json"
            store.kill_at(moment, lambda: kill_tree(topology.service))
            with topology.client() as client:
                task = client.run_algorithm("large", parameters={"size": SIZE}, callbacks=[presigned(store, key)])
            assert store.killed.wait(60)
            topology.start_service()
            with topology.client() as client:
                receipt = _receipt(client, task.job_id)
            check(store, key, receipt.to_dict())


def _receipt(client: Client, job_id: str) -> Any:
    wait_until(lambda: client.get_task(job_id).receipts, what="the delivery")
    (receipt,) = client.get_task(job_id).receipts
    return receipt


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: " ".join(reversed(moment)))
def test_a_store_that_loses_the_parts_gets_them_again(store: KillingStore, moment: tuple[str, str]) -> None:
    """It crashed before they were on its disk: the completion answers InvalidPart."""
    target = presigned(store, "42.json")

    def crash() -> None:
        with store._arrived:
            for upload in store._uploads._uploads.values():
                upload.parts.clear()

    store.kill_at(moment, crash)
    with ResultsWriter(timeout=timedelta(minutes=1)) as writer:
        (receipt,) = writer.write(JobResult(job_id="42", success=True, results="x" * SIZE), target)
    assert store.killed.is_set()
    check(store, "42.json", receipt.to_dict())
