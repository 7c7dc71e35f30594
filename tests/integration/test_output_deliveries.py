"""Deliveries of output files by the service: to targets of their own, and below a prefix, also under faults."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import BatchItem, Client, S3Signer, Task
from callback_sdk.errors import InvalidRequestError, InvalidTargetError, OutputError
from callback_sdk.targets.places import Places
from callback_sdk.testing import Fault, Faults, ObjectStore, SeaweedFS, WebhookReceiver
from tests.topology import Topology, kill_tree, wait_until

TABLE = {"a": [1]}
TASKS = int(os.environ.get("OUTPUT_TASKS", "8"))
"""300 in the long form, `make outputs`."""

FILES = int(os.environ.get("OUTPUT_FILES", "25"))
FILES_OF_ONE = int(os.environ.get("OUTPUT_FILES_OF_ONE", "300"))
"""1,000 in the long form."""

RATE = 0.2


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run the service with short delays between attempts."""
    settings = {"RETRY_DELAYS": " ".join(["0.2s"] * 30), "PUBLIC_URL": "https://jobs.example.org"}
    folder = tmp_path_factory.mktemp("deliveries")
    with Topology(folder, "output_jobs:registry", settings=settings) as topology:
        yield topology


@pytest.fixture
def store(seaweedfs: SeaweedFS) -> Iterator[ObjectStore]:
    """Record requests in front of a store that checks signatures."""
    with ObjectStore(upstream=seaweedfs.endpoint_url) as store:
        yield store


@pytest.fixture
def faulty(seaweedfs: SeaweedFS) -> Iterator[ObjectStore]:
    """Fail in every way, likewise."""
    faults = Faults(rate=RATE, seed=22, delay=timedelta(milliseconds=20))
    with ObjectStore(upstream=seaweedfs.endpoint_url, faults=faults) as store:
        yield store


def signer_of(seaweedfs: SeaweedFS, bucket: str, store: ObjectStore) -> S3Signer:
    return S3Signer(bucket, client=seaweedfs.client(endpoint_url=store.endpoint_url))


def read(seaweedfs: SeaweedFS, bucket: str, key: str) -> bytes:
    return client_of(seaweedfs).get_object(Bucket=bucket, Key=key)["Body"].read()


@cache
def client_of(seaweedfs: SeaweedFS) -> Any:
    """Return one client for all reads: a new one takes a tenth of a second."""
    return seaweedfs.client()


def delivered(task: Task) -> Task:
    """Wait until all deliveries have ended."""
    task.wait(timedelta(minutes=5), delivery_timeout=timedelta(minutes=5))
    assert not task.delivering
    return task


def check_files(seaweedfs: SeaweedFS, bucket: str, prefix: str, task: Task) -> dict[str, Any]:
    """Check that the document and each of its files are right, and return the list of files."""
    document = json.loads(read(seaweedfs, bucket, f"{prefix}result.json"))
    assert (document["job_id"], document["success"]) == (task.job_id, True)
    listed = document["results"]["outputs"]
    assert listed.keys() == task.outputs.keys()
    for name, entry in listed.items():
        content = read(seaweedfs, bucket, prefix + name)
        assert hashlib.sha256(content).hexdigest() == entry["sha256"] == task.outputs[name].sha256
        assert (len(content), entry["media_type"]) == (entry["size"], task.outputs[name].media_type)
        assert "?" not in entry["url"]
    return listed


def test_one_signature_takes_hundreds_of_files(
    seaweedfs: SeaweedFS, bucket: str, faulty: ObjectStore, client: Client
) -> None:
    """Each right by its digest, although the store fails a fifth of the time."""
    target = signer_of(seaweedfs, bucket, faulty).presign_prefix("runs/1/")
    task = delivered(client.run_algorithm("many", TABLE, parameters={"count": FILES_OF_ONE}, callbacks=[target]))
    (delivery,) = task.deliveries
    assert delivery.status == "delivered", delivery.error
    assert len(check_files(seaweedfs, bucket, "runs/1/", task)) == FILES_OF_ONE
    (receipt,) = task.receipts
    assert receipt.outputs.keys() == task.outputs.keys()


def test_many_tasks_survive_faults(seaweedfs: SeaweedFS, bucket: str, faulty: ObjectStore, client: Client) -> None:
    """All documents and all files arrive."""
    signer = signer_of(seaweedfs, bucket, faulty)
    tasks = [
        client.run_algorithm(
            "many", TABLE, parameters={"count": FILES}, callbacks=[signer.presign_prefix(f"many/{number}/")]
        )
        for number in range(TASKS)
    ]
    for number, task in enumerate(tasks):
        delivered(task)
        assert len(check_files(seaweedfs, bucket, f"many/{number}/", task)) == FILES


def test_tasks_of_a_batch_have_targets_of_their_own(
    seaweedfs: SeaweedFS, bucket: str, store: ObjectStore, client: Client
) -> None:
    """With features, or without."""
    signer = signer_of(seaweedfs, bucket, store)
    items = [
        BatchItem(
            features,
            callbacks=[signer.presign_put(f"batch/{number}.json")],
            outputs={"parts/00001.txt": signer.presign_put(f"batch/{number}.txt")},
        )
        for number, features in enumerate([TABLE, None])
    ]
    tasks = client.run_algorithm_batch("many", items, parameters={"count": 2}, progress=False)
    for number, task in enumerate(tasks):
        assert [one.status for one in delivered(task).deliveries] == ["delivered"] * 2
        assert read(seaweedfs, bucket, f"batch/{number}.txt") == f"{task.job_id} 1".encode()
        listed = json.loads(read(seaweedfs, bucket, f"batch/{number}.json"))["results"]["outputs"]
        assert listed["parts/00001.txt"]["url"].endswith(f"/{bucket}/batch/{number}.txt")


def test_files_go_to_targets_of_their_own(
    seaweedfs: SeaweedFS, bucket: str, store: ObjectStore, client: Client
) -> None:
    """Before the documents, which all list them; other files are read from the service."""
    signer = signer_of(seaweedfs, bucket, store)
    with WebhookReceiver() as receiver:
        task = client.run_algorithm(
            "all-kinds",
            TABLE,
            callbacks=[signer.presign_put("document.json"), receiver.url],
            outputs={
                "model.bin": signer.presign_put("models/m"),
                "plots/loss.png": signer.presign_put("loss.png"),
            },
        )
        delivered(task)
        (request,) = receiver.wait_for(1)
    assert [one.status for one in task.deliveries] == ["delivered"] * 4, task.deliveries
    assert [one.output for one in task.deliveries] == [None, None, "model.bin", "plots/loss.png"]
    assert read(seaweedfs, bucket, "models/m") == b"m" * 300_000
    document = json.loads(read(seaweedfs, bucket, "document.json"))
    assert json.loads(request.body)["results"] == document["results"]
    listed = document["results"]["outputs"]
    assert listed["model.bin"]["url"].endswith(f"/{bucket}/models/m")
    assert listed["note.txt"]["url"] == (
        f"https://jobs.example.org/api/v2/algorithms/tasks/{task.job_id}/outputs/note.txt"
    )
    order = [request.path.partition("?")[0] for request in store.requests]
    assert order.index(f"/{bucket}/document.json") == len(order) - 1


def test_a_webhook_lists_the_copies_below_a_prefix(
    seaweedfs: SeaweedFS, bucket: str, store: ObjectStore, client: Client
) -> None:
    """It is sent after they are stored. A file with a target of its own is not copied."""
    signer = signer_of(seaweedfs, bucket, store)
    with WebhookReceiver() as receiver:
        task = client.run_algorithm(
            "stepwise",
            TABLE,
            callbacks=[receiver.url, signer.presign_prefix("p/")],
            outputs={"step-0.txt": signer.presign_put("own")},
        )
        delivered(task)
        (request,) = receiver.wait_for(1)
    urls = {name: entry["url"] for name, entry in json.loads(request.body)["results"]["outputs"].items()}
    assert {name: url.partition(f"/{bucket}/")[2] for name, url in urls.items()} == {
        "step-0.txt": "own",
        "step-1.txt": "p/step-1.txt",
        "step-2.txt": "p/step-2.txt",
    }
    assert json.loads(read(seaweedfs, bucket, "p/result.json"))["results"] == json.loads(request.body)["results"]
    keys = [one["Key"] for one in seaweedfs.client().list_objects_v2(Bucket=bucket, Prefix="p/")["Contents"]]
    assert keys == ["p/result.json", "p/step-1.txt", "p/step-2.txt"]


def test_a_file_that_was_not_made_is_a_dead_delivery(
    seaweedfs: SeaweedFS, bucket: str, store: ObjectStore, client: Client
) -> None:
    """The documents say so, and aren't held back."""
    signer = signer_of(seaweedfs, bucket, store)
    task = client.run_algorithm(
        "stepwise",
        TABLE,
        callbacks=[signer.presign_put("missing.json")],
        outputs={"nothing.bin": signer.presign_put("nothing")},
    )
    document, missing = delivered(task).deliveries
    assert (document.status, missing.status, missing.attempt_count) == ("delivered", "dead", 0)
    assert "no output file of this name" in missing.error
    entry = json.loads(read(seaweedfs, bucket, "missing.json"))["results"]["outputs"]["nothing.bin"]
    assert entry == {"url": None, "size": None, "sha256": None, "media_type": None, "error": missing.error}


def test_a_file_whose_target_fails_does_not_hold_documents_back(
    seaweedfs: SeaweedFS, bucket: str, store: ObjectStore, client: Client
) -> None:
    """They have the error in its place. Another target makes up for it."""
    signer = signer_of(seaweedfs, bucket, store)
    wrong = signer.presign_put("wrong")
    broken = (wrong.url[:-1] + ("0" if wrong.url[-1] != "0" else "1"), wrong.callback_param)
    task = client.run_algorithm(
        "stepwise", TABLE, callbacks=[signer.presign_put("held.json")], outputs={"step-1.txt": broken}
    )
    document, dead = delivered(task).deliveries
    assert (document.status, dead.status) == ("delivered", "dead")
    entry = json.loads(read(seaweedfs, bucket, "held.json"))["results"]["outputs"]["step-1.txt"]
    assert (entry["url"], entry["size"], entry["error"]) == (None, 1, dead.error)
    (found,) = [one for one in client.get_deliveries(task.job_id) if one.output == "step-1.txt"]
    client.redeliver(task.job_id, found.delivery_id, target=signer.presign_put("right"))
    wait_until(lambda: client.get_task(task.job_id).deliveries[1].status == "delivered")
    assert read(seaweedfs, bucket, "right") == b"1"


def test_a_failed_task_delivers_the_files_that_it_made(
    seaweedfs: SeaweedFS, bucket: str, store: ObjectStore, client: Client
) -> None:
    """To their own targets only. Its document is that of any failed task, also below a prefix."""
    signer = signer_of(seaweedfs, bucket, store)
    task = client.run_algorithm(
        "all-kinds",
        TABLE,
        parameters={"fail": True},
        callbacks=[signer.presign_put("failed.json"), signer.presign_prefix("failed/")],
        outputs={"note.txt": signer.presign_put("note")},
    )
    assert [one.status for one in delivered(task).deliveries] == ["delivered"] * 3
    found = client_of(seaweedfs).list_objects_v2(Bucket=bucket)["Contents"]
    assert sorted(one["Key"] for one in found) == ["failed.json", "failed/result.json", "note"]
    document = json.loads(read(seaweedfs, bucket, "failed.json"))
    assert (document["results"], document["error"]) == (None, "AlgorithmError: It failed on request.")


def test_documents_without_output_files_are_as_before(
    seaweedfs: SeaweedFS, bucket: str, store: ObjectStore, client: Client
) -> None:
    """Also below a prefix."""
    target = signer_of(seaweedfs, bucket, store).presign_prefix("none/")
    task = client.run_algorithm("strict", TABLE, parameters={"name": "../x"}, callbacks=[target])
    assert [one.status for one in delivered(task).deliveries] == ["delivered"]
    assert "outputs" not in json.loads(read(seaweedfs, bucket, "none/result.json"))["results"]


def test_a_redelivery_sends_all_files_again(
    seaweedfs: SeaweedFS, bucket: str, store: ObjectStore, client: Client
) -> None:
    """They may have been lost at the target."""
    task = client.run_algorithm(
        "stepwise", TABLE, callbacks=[signer_of(seaweedfs, bucket, store).presign_prefix("again/")]
    )
    (delivery,) = client.get_deliveries(delivered(task).job_id)
    assert len(store.requests) == 4
    client.redeliver(task.job_id, delivery.delivery_id)
    wait_until(lambda: len(store.requests) == 8)


@pytest.mark.parametrize(
    "outputs", [{"../x": "https://example.org/put"}, ["model.bin"], {1: "https://example.org/put"}]
)
def test_invalid_names_are_errors_before_the_submission(client: Client, outputs: Any) -> None:
    """Nothing is sent."""
    with pytest.raises(OutputError):
        client.run_algorithm("stepwise", TABLE, outputs=outputs)


def test_a_webhook_takes_no_file(client: Client) -> None:
    """An error before the submission."""
    with pytest.raises(InvalidTargetError, match="webhook"):
        client.run_algorithm("stepwise", TABLE, outputs={"step-0.txt": "https://example.org/hook"})


@pytest.mark.parametrize("at_service", [False, True])
def test_no_two_targets_are_one_object(
    seaweedfs: SeaweedFS,
    bucket: str,
    store: ObjectStore,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    at_service: bool,
) -> None:
    """The client rejects them, and so does the service. The later upload would replace the earlier one."""
    signer = signer_of(seaweedfs, bucket, store)
    if at_service:
        monkeypatch.setattr(Places, "add", lambda *given: None)
    for document, outputs in (
        (signer.presign_put("one"), {"step-0.txt": signer.presign_put("one")}),
        (
            signer.presign_put("two"),
            {"step-0.txt": signer.presign_put("one"), "step-1.txt": signer.presign_post("one")},
        ),
        (signer.presign_prefix("runs/"), {"step-0.txt": signer.presign_put("runs/result.json")}),
        (signer.presign_put("runs/step-0.txt"), {"step-0.txt": signer.presign_prefix("runs/")}),
    ):
        with pytest.raises(InvalidRequestError if at_service else OutputError, match="same place"):
            client.run_algorithm("stepwise", TABLE, callbacks=[document], outputs=outputs)


def test_a_new_target_fits_its_delivery(seaweedfs: SeaweedFS, bucket: str, store: ObjectStore, client: Client) -> None:
    """A file's is neither a webhook nor `results:`, and no object of another delivery. Nothing is changed."""
    signer = signer_of(seaweedfs, bucket, store)
    document = signer.presign_prefix("r/", document="doc.json")
    task = delivered(
        client.run_algorithm(
            "stepwise", TABLE, callbacks=[document], outputs={"step-0.txt": signer.presign_put("r/pct")}
        )
    )
    ids = {one.output: one.delivery_id for one in client.get_deliveries(task.job_id)}
    before, sent = client.get_deliveries(task.job_id), len(store.requests)
    encoded = signer.presign_put("r/pct")
    for output, target, match in (
        ("step-0.txt", "https://example.org/hook", "a webhook, which takes documents only"),
        ("step-0.txt", signer.presign_put("r/doc.json"), "the object of another target"),
        (None, encoded, "the object of another target"),
        (None, signer.presign_post("r/pct"), "the object of another target"),
        (None, encoded.url.replace("/pct?", "/%70ct?"), "the object of another target"),
        (None, signer.presign_prefix("r/", document="pct"), "the object of another target"),
    ):
        with pytest.raises(InvalidRequestError, match=match):
            client.redeliver(task.job_id, ids[output], target=target)
    assert (client.get_deliveries(task.job_id), len(store.requests)) == (before, sent)
    client.redeliver(task.job_id, ids["step-0.txt"], target=signer.presign_put("r/pct"))
    client.redeliver(task.job_id, ids[None], target=signer.presign_prefix("r/", document="other.json"))


@pytest.mark.parametrize("name", ["result.json", "Result.json", "other.json"])
def test_the_name_of_another_object_is_an_error_of_the_algorithm(
    seaweedfs: SeaweedFS, bucket: str, store: ObjectStore, client: Client, name: str
) -> None:
    """Of the document, or of any other target, below the prefix. Where there is none, the name is free."""
    signer = signer_of(seaweedfs, bucket, store)
    targets = [signer.presign_prefix("taken/"), (signer.presign_put("taken/other.json"), {"run": 2})]
    task = delivered(client.run_algorithm("named", TABLE, parameters={"name": name}, callbacks=targets))
    assert not task.success
    assert f"in the place of the output file '{name}'" in (task.error or "")
    assert [one.status for one in task.deliveries] == ["delivered", "delivered"]
    free = client.run_algorithm("named", TABLE, parameters={"name": name}, callbacks=[signer.presign_put("free.json")])
    assert delivered(free).success


def test_a_file_in_the_place_of_a_new_target_is_a_dead_delivery(
    seaweedfs: SeaweedFS, bucket: str, store: ObjectStore, client: Client, tmp_path: Path
) -> None:
    """At once, as no later attempt can succeed. Nothing is sent there."""
    signer = signer_of(seaweedfs, bucket, store)
    targets = [signer.presign_prefix("late/"), (signer.presign_put("other.json"), {"run": 2})]
    started, go = tmp_path / "started", tmp_path / "go"
    parameters = {"started": str(started), "go": str(go)}
    task = client.run_algorithm("waiting", TABLE, parameters=parameters, callbacks=targets)
    wait_until(started.exists)
    _, other = client.get_deliveries(task.job_id)
    client.redeliver(task.job_id, other.delivery_id, target=signer.presign_put("late/large.bin"))
    go.touch()
    dead, document = delivered(task).deliveries
    assert (dead.status, dead.attempt_count, document.status) == ("dead", 1, "delivered")
    assert "'large.bin' has the same place" in (dead.error or "")
    assert [request.path.partition("?")[0] for request in store.requests] == [f"/{bucket}/late/large.bin"]


def test_an_attempt_after_a_crash_skips_what_is_stored(seaweedfs: SeaweedFS, bucket: str, tmp_path: Path) -> None:
    """The service is killed while it uploads, and sends the rest after its next start."""
    # The store is so slow that some files are recorded, which happens about every second, before the kill.
    slow = Faults(rate=1, kinds=(Fault.SLOW,), delay=timedelta(milliseconds=100))
    with (
        ObjectStore(upstream=seaweedfs.endpoint_url, faults=slow) as store,
        Topology(tmp_path, "output_jobs:registry", settings={"LEASE": "4s"}) as topology,
    ):
        with topology.client() as client:
            target = signer_of(seaweedfs, bucket, store).presign_prefix("crash/")
            task = client.run_algorithm("many", TABLE, parameters={"count": 300}, callbacks=[target])
            wait_until(lambda: len(store.requests) > 200)
        kill_tree(topology.service)
        before = len(store.requests)
        topology.start_service()
        with topology.client() as client:
            task = delivered(client.get_task(task.job_id))
            assert len(check_files(seaweedfs, bucket, "crash/", task)) == 300
            (receipt,) = task.receipts
            assert receipt.outputs.keys() == task.outputs.keys()
    assert len(store.requests) < before + 300
