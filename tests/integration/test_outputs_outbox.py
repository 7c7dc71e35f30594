"""Output files in an outbox: faults, crashes, and changes of what was given."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import JobResult, Outbox, ResultsWriter, S3Signer
from callback_sdk.errors import DeliveryError, InvalidTargetError, MultipleDeliveryErrors, OutboxError, OutputError
from callback_sdk.outbox import files
from callback_sdk.testing import Fault, Faults, ObjectStore, SeaweedFS, WebhookReceiver
from callback_sdk.writer.attempts import MAX_PARALLEL

FILES = int(os.environ.get("OUTPUT_FILES", "200"))

RECOVERABLE = (Fault.ERROR, Fault.SLOW_DOWN, Fault.RESET, Fault.LOST_RESPONSE, Fault.EARLY_RESPONSE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a directory of many small files."""
    made = tmp_path / "run"
    made.mkdir()
    for number in range(FILES):
        (made / f"{number}.bin").write_bytes(b"%d" % number * (number % 50 + 1))
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite3"


def result(outputs: dict[str, Any]) -> JobResult:
    return JobResult(job_id="42", success=True, results={"n": FILES}, outputs=outputs)


def check(read: Any, folder: Path) -> None:
    """Check that every file of the document arrived as it was."""
    listed = json.loads(read("runs/42/result.json"))["results"]["outputs"]
    assert sorted(listed) == sorted(f"run/{path.name}" for path in folder.iterdir())
    for name, entry in listed.items():
        content = read(f"runs/42/{name}")
        assert content == (folder / Path(name).name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]


def reader(seaweedfs: SeaweedFS, bucket: str) -> Any:
    client = seaweedfs.client()
    return lambda key: client.get_object(Bucket=bucket, Key=key)["Body"].read()


def test_a_fifth_of_all_requests_fails(seaweedfs: SeaweedFS, bucket: str, folder: Path, path: Path) -> None:
    """With 20 % faults all files arrive, and the document after them; from a writer, and from an outbox."""
    faults = Faults(rate=0.2, seed=1, kinds=RECOVERABLE)
    with ObjectStore(upstream=seaweedfs.endpoint_url, faults=faults) as store:
        signer = S3Signer(bucket, client=seaweedfs.client(endpoint_url=store.endpoint_url))
        with ResultsWriter() as writer:
            (receipt,) = writer.write(result({"run": folder}), signer.presign_prefix("runs/42/"))
        assert len(receipt.outputs) == FILES
        check(reader(seaweedfs, bucket), folder)
        signer = S3Signer(seaweedfs.create_bucket(), client=seaweedfs.client(endpoint_url=store.endpoint_url))
        with Outbox(path) as outbox:
            written = outbox.write(result({"run": folder}), signer.presign_prefix("runs/42/"))
            if written.pending:
                outbox.redeliver()
                outbox.run(until_empty=True)
            (entry,) = outbox.entries()
        check(reader(seaweedfs, signer.bucket), folder)
    assert entry.receipt is not None
    assert len(entry.receipt.outputs) == FILES


def test_a_later_attempt_sends_what_is_missing(path: Path) -> None:
    """A file that the target is known to have isn't sent again by a later attempt."""
    with ObjectStore() as store, Outbox(path) as outbox:
        target = S3Signer("results", client=store.client()).presign_prefix("runs/42/")
        # Two files arrive; the document doesn't.
        store.inject_fault(None, times=2).respond(503, times=1)
        assert outbox.write(result({"a": b"a", "b": b"b"}), target).pending
        assert sorted(store.objects) == ["results/runs/42/a", "results/runs/42/b"]
        outbox.redeliver()
        outbox.run(until_empty=True)
        (entry,) = outbox.entries()
        assert [request.status for request in store.requests] == [204, 204, 503, 204]
        assert entry.receipt is not None
        assert sorted(entry.receipt.outputs) == ["a", "b"]


def test_stores_that_quote_the_request(path: Path) -> None:
    """A store that quotes the form in its error, or in an ETag, doesn't bring the signature into any text."""
    with ObjectStore() as store, Outbox(path) as outbox, ResultsWriter(timeout=0) as writer:
        target = S3Signer("results", client=store.client()).presign_prefix("runs/42/")
        secrets = [target.fields[name] for name in ("policy", "x-amz-signature", "x-amz-credential")]
        quoted = json.dumps(target.fields).encode()
        store.respond(403, body=quoted, times=2)
        with pytest.raises(DeliveryError) as caught:
            writer.write(result({"a": b"a"}), target)
        with pytest.raises(DeliveryError):
            outbox.write(result({"a": b"a"}), target)
        store.respond(204, headers={"ETag": target.fields["x-amz-signature"]}, times=2)
        (receipt,) = writer.write(result({"a": b"a"}), target)
        entries = [entry.to_dict() for entry in outbox.entries()]
    texts = [str(caught.value), repr(caught.value), repr(receipt), json.dumps(receipt.to_dict()), json.dumps(entries)]
    assert not [secret for secret in secrets if any(secret in text for text in texts)]


def test_copies_are_independent_of_the_files(folder: Path, path: Path, tmp_path: Path) -> None:
    """After `write` the files may be changed and removed: the outbox delivers what was given."""
    content = (folder / "7.bin").read_bytes()
    with ObjectStore() as store, Outbox(path) as outbox:
        target = S3Signer("results", client=store.client()).presign_prefix("runs/42/")
        store.respond(503, times=10)
        assert outbox.write(result({"7.bin": folder / "7.bin", "8.bin": folder / "8.bin"}), target).pending
        (folder / "7.bin").write_bytes(b"changed")
        (folder / "8.bin").unlink()
        outbox.redeliver()
        outbox.run(until_empty=True)
        assert store.objects["results/runs/42/7.bin"].body == content
        assert not list(path.with_name(f"{path.name}-files").glob("*.output"))


def _soon() -> threading.Event:
    stop = threading.Event()
    threading.Timer(1, stop.set).start()
    return stop


def test_credentials_and_copies_are_deleted(folder: Path, path: Path, webhook: WebhookReceiver) -> None:
    """After the last delivery neither the file nor its directory has a credential or a copy; before, both have."""
    with ObjectStore() as store, Outbox(path) as outbox:
        signer = S3Signer("results", client=store.client())
        target, put = signer.presign_prefix("runs/42/"), signer.presign_put("one")
        secrets = [target.fields["x-amz-signature"], put.url.rpartition("=")[2]]
        outputs = {"run/1.bin": put}
        written = outbox.write(result({"run": folder}), [target, webhook.url], outputs=outputs)
        assert len(written.receipts) == 2
        assert [len(receipt.outputs) for receipt in written.receipts] == [FILES, FILES]
        # Both documents list the same copies, which were sent once each, or twice at the same time.
        assert max(Counter(request.path for request in store.requests if request.method == "PUT").values()) <= 2
        assert not list(path.with_name(f"{path.name}-files").glob("*.output"))
        outbox.purge(older_than=timedelta(days=1))
    for file in path.parent.glob("outbox.sqlite3*"):
        if file.is_file():
            assert not any(secret.encode() in file.read_bytes() for secret in secrets)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM sent_outputs").fetchone() == (0,)


SENDING = """
import sys
from pathlib import Path
from callback_sdk import JobResult, Outbox, S3Signer
from callback_sdk.testing.s3client import s3_client
folder, path, url = sys.argv[1:]
client = s3_client(url, "us-east-1", "AK", "SK")
outbox = Outbox(path)
print("ready", flush=True)
outbox.write(
    JobResult(job_id="42", success=True, results={"n": 1}, outputs={"run": Path(folder)}),
    S3Signer("results", client=client).presign_prefix("runs/42/"),
)
"""


@pytest.mark.parametrize("uploads", [1, FILES // 3, FILES])
def test_a_killed_process_loses_nothing(uploads: int, folder: Path, path: Path) -> None:
    """After kill -9 between two uploads another process sends the rest, and the document last."""
    with ObjectStore() as store:
        with subprocess.Popen(
            [sys.executable, "-c", SENDING, str(folder), str(path), store.endpoint_url], stdout=subprocess.PIPE
        ) as process:
            store.wait_for(uploads)
            process.send_signal(signal.SIGKILL)
        with Outbox(path) as outbox:
            outbox.run(until_empty=True)
            (entry,) = outbox.entries()
        assert entry.receipt is not None
        # Only what was under way when the process died is sent twice.
        assert len(store.requests) <= FILES + 1 + 2 * MAX_PARALLEL
        for number in range(FILES):
            assert store.objects[f"results/runs/42/run/{number}.bin"].body == (folder / f"{number}.bin").read_bytes()
        assert len(store.objects["results/runs/42/result.json"].document["results"]["outputs"]) == FILES


def test_a_new_target_gets_all_files(folder: Path, path: Path) -> None:
    """`redeliver(target=...)` sends the files to the new prefix too, and its URLs are in the document."""
    with ObjectStore() as store, Outbox(path) as outbox:
        signer = S3Signer("results", client=store.client())
        store.respond(403)
        with pytest.raises(DeliveryError):
            outbox.write(result({"a": b"a"}), signer.presign_prefix("old/"))
        (entry,) = outbox.entries()
        outbox.redeliver(entry.delivery_id, target=signer.presign_prefix("new/"))
        outbox.run(until_empty=True)
        assert store.objects["results/new/a"].body == b"a"


def test_a_new_target_replaces_no_other_object(path: Path) -> None:
    """Neither a file with its own target, nor one below the new prefix, nor another document. Nothing is changed."""
    with ObjectStore() as store, Outbox(path) as outbox:
        signer = S3Signer("results", client=store.client())
        own = {"own": signer.presign_put("r1/own")}
        documents = [signer.presign_prefix("r1/"), (signer.presign_put("other"), {"run": 2})]
        store.respond(403, times=9)
        with pytest.raises(MultipleDeliveryErrors):
            outbox.write(result({"own": b"o", "a": b"a"}), documents, outputs=own)
        before = outbox.entries()
        for target in (
            signer.presign_prefix("r1/", document="own"),
            signer.presign_prefix("r2/", document="a"),
            signer.presign_put("other"),
            signer.presign_put("r1/own"),
        ):
            with pytest.raises((InvalidTargetError, OutputError)):
                outbox.redeliver(before[0].delivery_id, target=target)
        assert outbox.entries() == before
        outbox.redeliver(before[0].delivery_id, target=signer.presign_prefix("r1/"))
        outbox.redeliver(before[0].delivery_id, target=signer.presign_prefix("r2/"))


def test_a_new_target_is_no_delivered_document(path: Path) -> None:
    """Of which the outbox has only the URL."""
    with ObjectStore() as store, Outbox(path) as outbox:
        signer = S3Signer("results", client=store.client())
        away = signer.presign_put("two").url.replace(store.endpoint_url, "http://127.0.0.1:9")
        (pending,) = outbox.write(result({}), [signer.presign_put("one"), (away, {"run": 2})]).pending
        with pytest.raises(InvalidTargetError, match="the object of another target"):
            outbox.redeliver(pending.delivery_id, target=signer.presign_put("one"))
        assert outbox.redeliver(pending.delivery_id, target=signer.presign_put("two")) == 1


def test_a_new_target_of_one_object_is_rejected(path: Path) -> None:
    """Files never go to the document's place: a new target for one object only is an error of the delivery."""
    with ObjectStore() as store, Outbox(path) as outbox:
        signer = S3Signer("results", client=store.client())
        store.respond(403)
        with pytest.raises(DeliveryError):
            outbox.write(result({"a": b"a"}), signer.presign_prefix("old/"))
        (entry,) = outbox.entries()
        outbox.redeliver(entry.delivery_id, target=signer.presign_put("one"))
        outbox.run(until_empty=True)
        (entry,) = outbox.entries()
        assert "takes the document alone" in (entry.error or "")
        assert not store.objects


def test_nothing_is_stored_for_files_without_a_target(folder: Path, path: Path) -> None:
    """A file that no target takes is an error, and leaves neither a delivery nor a copy."""
    with ObjectStore() as store, Outbox(path) as outbox:
        with pytest.raises(OutputError, match="No target takes"):
            outbox.write(result({"run": folder}), S3Signer("results", client=store.client()).presign_put("doc"))
        assert not outbox.entries()
        assert not list(path.with_name(f"{path.name}-files").glob("*.output"))
        assert not store.requests


def test_damaged_copies_are_never_sent(folder: Path, path: Path) -> None:
    """A copy that was changed on disk is an error of the delivery."""
    with ObjectStore() as store, Outbox(path) as outbox:
        store.respond(503, times=5)
        target = S3Signer("results", client=store.client()).presign_prefix("runs/42/")
        assert outbox.write(result({"a": b"abc"}), target).pending
        (copy,) = path.with_name(f"{path.name}-files").glob("*.output")
        copy.write_bytes(b"xyz")
        outbox.redeliver()
        outbox.run(stop=_soon())
        (entry,) = outbox.entries()
        assert "has changed since it was stored" in (entry.error or "")
        assert not store.objects


def test_full_disks_store_nothing(folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a copy can't be written, nothing is stored or sent, and no copy remains."""
    copies = iter(range(5))

    def write_new(place: Path, parts: Any) -> None:
        if next(copies, None) is None:
            raise OSError(28, "No space left on device")
        place.write_bytes(b"".join(parts))

    monkeypatch.setattr(files, "write_new", write_new)
    with ObjectStore() as store, Outbox(path) as outbox:
        target = S3Signer("results", client=store.client()).presign_prefix("runs/42/")
        with pytest.raises(OutboxError, match="No space left") as caught:
            outbox.write(result({"run": folder}), target)
        assert "Free space" in caught.value.hint
        assert not outbox.entries()
        assert not list(path.with_name(f"{path.name}-files").glob("*.output"))
        assert not store.requests
