"""callback_sdk.service.work.outputs"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import S3Signer
from callback_sdk.errors import DeliveryError
from callback_sdk.service.blobs.folder import DirectoryStorage
from callback_sdk.service.files import Scratch
from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.models import NewFile
from callback_sdk.service.work.deliverer import Deliverer
from callback_sdk.service.work.heartbeat import Heartbeat
from callback_sdk.service.work.results_bucket import ResultsBucket
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.testing import ObjectStore
from callback_sdk.writer import ResultsWriter
from callback_sdk.writer.attempts import DeliveryAttempts
from callback_sdk.writer.writer import attempts_of
from tests.clocks import clock
from tests.issuers import issuing
from tests.signedurls import v4

NAMES = ("a.bin", "b.bin", "c.bin")


def test_each_upload_to_the_bucket_is_signed_when_it_begins(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document's after those of all files. A later attempt skips what an earlier one has stored."""
    events: list[tuple[str, str]] = []
    sign, exchange = ResultsBucket._object, DeliveryAttempts._exchange
    failing = {"b.bin"}

    def signed(self: ResultsBucket, job_id: str, name: str, media_type: str) -> Any:
        events.append(("sign", name))
        return sign(self, job_id, name, media_type)

    def exchanged(self: DeliveryAttempts, upload: Any) -> Any:
        name = upload.url.path.rpartition("/")[2]
        events.append(("send", name))
        if name in failing:
            raise DeliveryError("The store is away.", retryable=True, transient=False)
        return exchange(self, upload)

    monkeypatch.setattr(ResultsBucket, "_object", signed)
    monkeypatch.setattr(DeliveryAttempts, "_exchange", exchanged)
    files = [
        NewFile(name=name, size=1, sha256=hashlib.sha256(b"x").hexdigest(), media_type="a/b", data=b"x")
        for name in NAMES
    ]
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, targets=parse_callbacks(["results:"]), features=b"[]")])
    attempt = store.tasks.claim("1", "w").attempt
    store.output_files.insert("1", attempt, files)
    store.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}", output_attempt=attempt))
    scratch = Scratch(tmp_path / "scratch")
    with ObjectStore() as objects, ResultsWriter() as writer, ExitStack() as closing:
        for name, value in {"ACCESS_KEY_ID": "AK", "SECRET_ACCESS_KEY": "SK", "REGION": "us-east-1"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", objects.endpoint_url)
        bucket = ResultsBucket("s3://bucket/runs")
        closing.callback(bucket.attempts.close)
        deliverer = Deliverer(
            store=store,
            blobs=DirectoryStorage(tmp_path / "blobs"),
            scratch=scratch,
            heartbeat=Heartbeat(store, "w"),
            writer=attempts_of(writer),
            bucket=bucket,
            delays=[timedelta(0)] * 3,
        )
        ((delivery_id, host),) = store.deliveries.fetch_due(1, redispatch_after=0.0)
        assert deliverer.attempt_now(delivery_id, host)
        assert "The store is away." in store.deliveries.of("1")[0]["last_error"]
        assert set(objects.objects) == {"bucket/runs/1/a.bin", "bucket/runs/1/c.bin"}
        # Once to check them all, and again when the upload begins.
        for name in NAMES:
            of_name = [kind for kind, one in events if one == name]
            assert of_name[:3] == ["sign", "sign", "send"]
        failing.clear()
        events.clear()
        assert deliverer.attempt_now(delivery_id, host)
        assert events == [
            ("sign", "b.bin"),
            ("sign", "b.bin"),
            ("send", "b.bin"),
            ("sign", "result.json"),
            ("send", "result.json"),
        ]
        document = objects.objects["bucket/runs/1/result.json"].document
        assert document["results"]["outputs"] == {
            file.name: {
                "url": f"{objects.endpoint_url}/bucket/runs/1/{file.name}",
                "size": 1,
                "sha256": file.sha256,
                "media_type": "a/b",
            }
            for file in files
        }

    scratch.close()


def test_the_new_target_of_a_file_is_stored(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent there, so that a later attempt doesn't ask again.

    The nulls of the document are not on the receipt of the file.
    """
    exchange, failing, asked = DeliveryAttempts._exchange, [True], []

    def exchanged(self: DeliveryAttempts, upload: Any) -> Any:
        (delivery,) = store.deliveries.of("1")
        assert "/bucket/new.bin" in delivery["url"]
        if failing:
            raise DeliveryError("The store is away.", retryable=True, transient=False)
        return exchange(self, upload)

    def issue(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["output"])
        return {"url": f"{objects.endpoint_url}/bucket/new.bin?{v4(date='20900101T000000Z', expires=3600)}"}

    monkeypatch.setattr(DeliveryAttempts, "_exchange", exchanged)
    scratch = Scratch(tmp_path / "scratch")
    with ObjectStore() as objects, issuing(issue) as issuer, ResultsWriter() as writer:
        deliverer = Deliverer(
            store=store,
            blobs=DirectoryStorage(tmp_path / "blobs"),
            scratch=scratch,
            heartbeat=Heartbeat(store, "w"),
            writer=attempts_of(writer),
            delays=[timedelta(0)] * 3,
        )
        old = (f"{objects.endpoint_url}/bucket/old.bin?{v4(expires=60)}", {"refresh": {"url": issuer.url}})
        task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
        targets = parse_callbacks([old])
        store.tasks.submit([Submission(task=task, targets=targets, output_names=["a.bin"], features=b"[]")])
        attempt = store.tasks.claim("1", "w").attempt
        digest = hashlib.sha256(b"x").hexdigest()
        new = NewFile(name="a.bin", size=1, sha256=digest, media_type="a/b", data=b"x")
        store.output_files.insert("1", attempt, [new])
        store.tasks.finish(
            "1", attempt, RunOutcome(success=True, results=b"{}", nulls_written=7, output_attempt=attempt)
        )
        ((delivery_id, host),) = store.deliveries.fetch_due(1, redispatch_after=0.0)
        assert deliverer.attempt_now(delivery_id, host)
        failing.clear()
        assert deliverer.attempt_now(delivery_id, host)
        assert objects.objects["bucket/new.bin"].body == b"x"
    (delivery,) = store.deliveries.of("1")
    assert (delivery["status"], asked) == ("delivered", ["a.bin"])
    assert delivery["receipt"]["nulls_written"] == 0
    scratch.close()


def test_the_issuer_of_a_prefix_is_asked_once(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For all files and the document. Its answer is stored before anything is sent there, for the next attempts."""
    exchange, failing, asked = DeliveryAttempts._exchange, [True], []

    def exchanged(self: DeliveryAttempts, upload: Any) -> Any:
        if failing:
            raise DeliveryError("The store is away.", retryable=True, transient=False)
        return exchange(self, upload)

    monkeypatch.setattr(DeliveryAttempts, "_exchange", exchanged)
    scratch = Scratch(tmp_path / "scratch")
    with ObjectStore() as objects, ResultsWriter() as writer:
        signer = S3Signer("bucket", client=objects.client())
        new = signer.presign_prefix("new/")
        with clock(signer, datetime.now(timezone.utc) - timedelta(hours=1)):
            old = signer.presign_prefix("old/", expires=timedelta(minutes=30))

        def issue(request: dict[str, Any]) -> dict[str, Any]:
            asked.append((request["delivery_id"], request["output"]))
            return {"url": new.url, "param": new.callback_param}

        with issuing(issue) as issuer:
            deliverer = Deliverer(
                store=store,
                blobs=DirectoryStorage(tmp_path / "blobs"),
                scratch=scratch,
                heartbeat=Heartbeat(store, "w"),
                writer=attempts_of(writer),
                delays=[timedelta(0)] * 3,
            )
            targets = parse_callbacks([(old.url, {**old.callback_param, "refresh": {"url": issuer.url}})])
            task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
            store.tasks.submit([Submission(task=task, targets=targets, features=b"[]")])
            attempt = store.tasks.claim("1", "w").attempt
            digest = hashlib.sha256(b"x").hexdigest()
            files = [NewFile(name=name, size=1, sha256=digest, media_type="a/b", data=b"x") for name in NAMES]
            store.output_files.insert("1", attempt, files)
            store.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}", output_attempt=attempt))
            ((delivery_id, host),) = store.deliveries.fetch_due(1, redispatch_after=0.0)
            assert deliverer.attempt_now(delivery_id, host)
            assert objects.objects == {}
            failing.clear()
            assert deliverer.attempt_now(delivery_id, host)
            assert {*objects.objects} == {f"bucket/new/{name}" for name in (*NAMES, "result.json")}
    assert ([one["status"] for one in store.deliveries.of("1")], asked) == (["delivered"], [(delivery_id, None)])
    scratch.close()
