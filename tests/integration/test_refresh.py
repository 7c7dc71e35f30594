"""Targets that expire before they are used: real stores reject them, and their issuers give new ones."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from flask import Flask
from werkzeug.serving import make_server as make_flask_server

from callback_sdk import Client, JobResult, Outbox, PresignedPrefix, PresignedPut, ResultsWriter, S3Signer, cli
from callback_sdk.errors import CallbackParamError, DeliveryError, OutboxError, RefreshError, TargetExpiredError
from callback_sdk.outbox.store import OutboxStore
from callback_sdk.receivers import TargetIssuer, TargetRequest
from callback_sdk.receivers.flask import endpoint
from callback_sdk.testing import SeaweedFS
from callback_sdk.testing.service import LocalService
from callback_sdk.writer import attempts
from callback_sdk.writer.attempts import DeliveryAttempts
from tests.asgiserver import serving
from tests.checkers.azurite import Azurite
from tests.clocks import clock
from tests.issuers import SECRET, RunningIssuer, issuing
from tests.topology import wait_until

RESULT = JobResult(job_id="42", success=True, results={"life": 7.5})
MARKER = "MARKER9c2e"


@pytest.fixture
def signer(seaweedfs: SeaweedFS, bucket: str) -> S3Signer:
    """Sign for a fresh bucket."""
    return S3Signer(bucket, client=seaweedfs.client())


@pytest.fixture
def keys(seaweedfs: SeaweedFS, bucket: str) -> Callable[[], list[str]]:
    """List the objects of the bucket."""

    def listed() -> list[str]:
        return [item["Key"] for item in seaweedfs.client().list_objects_v2(Bucket=bucket).get("Contents", [])]

    return listed


@pytest.fixture
def issuer(signer: S3Signer) -> Iterator[RunningIssuer]:
    """Issue a form for the key of each delivery."""

    def issue(asked: dict[str, Any]) -> dict[str, Any]:
        post = signer.presign_post(f"new/{asked['delivery_id']}.json")
        return {"url": post.url, "param": post.callback_param}

    with issuing(issue) as issuer:
        yield issuer


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock that targets are checked with back by an hour."""
    monkeypatch.setattr(attempts, "utc_now", lambda: datetime.now(timezone.utc) - timedelta(hours=1))


def expired_put(signer: S3Signer, key: str = "old.json") -> str:
    """Return a URL that expired half an hour ago."""
    with clock(signer, datetime.now(timezone.utc) - timedelta(hours=1)):
        return signer.presign_put(key, expires=timedelta(minutes=30)).url


def refresh(issuer: RunningIssuer) -> dict[str, Any]:
    return {"refresh": {"url": issuer.url, "headers": {"Authorization": f"Bearer {MARKER}"}}}


@pytest.mark.usefixtures("slow_clock")
def test_an_expired_url_of_boto3_is_replaced(
    seaweedfs: SeaweedFS, bucket: str, signer: S3Signer, issuer: RunningIssuer, keys: Any
) -> None:
    """As those of job runners are, which sign when the job is queued."""
    with clock(signer, datetime.now(timezone.utc) - timedelta(hours=1)):
        place = {"Bucket": bucket, "Key": "old.json"}
        url = seaweedfs.client().generate_presigned_url("put_object", Params=place, ExpiresIn=1800)
    with ResultsWriter(timeout=0) as writer:
        writer.write(RESULT, url, refresh(issuer))
    assert keys() == [f"new/{issuer.requests[0]['delivery_id']}.json"]


@pytest.mark.parametrize("kind", ["put", "prefix"])
def test_a_target_issuer_answers_the_writer(signer: S3Signer, keys: Any, kind: str) -> None:
    """Served by a framework; it is asked with a signature and a header, and by no one else."""
    asked: list[TargetRequest] = []

    def issue(request: TargetRequest) -> PresignedPut | PresignedPrefix:
        asked.append(request)
        name = f"runs/{request.job_id}"
        return signer.presign_prefix(f"{name}/") if kind == "prefix" else signer.presign_put(f"{name}/result.json")

    headers = {"Authorization": f"Bearer {MARKER}"}
    app = Flask("issuer")
    app.post("/targets")(endpoint(TargetIssuer(issue, secrets=SECRET, headers=headers)))
    server = make_flask_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    param = {"refresh": {"url": f"http://127.0.0.1:{server.server_port}/targets", "headers": headers}}
    try:
        with ResultsWriter(timeout=0) as unsigned, pytest.raises(RefreshError) as caught:
            unsigned.write(RESULT, expired_put(signer), param)
        with ResultsWriter(timeout=0, webhook_secrets=[SECRET]) as writer:
            writer.write(RESULT, expired_put(signer), param)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert caught.value.status == 401
    assert [(one.job_id, one.output) for one in asked] == [("42", None)]
    assert keys() == ["runs/42/result.json"]


def test_an_expired_url_is_replaced_by_a_form(signer: S3Signer, issuer: RunningIssuer, keys: Any) -> None:
    """The document reaches the store by the new target only."""
    with ResultsWriter(timeout=0) as writer:
        (receipt,) = writer.write(RESULT, expired_put(signer), refresh(issuer))
    assert keys() == [f"new/{issuer.requests[0]['delivery_id']}.json"]
    assert receipt.target_kind == "s3-post"


@pytest.mark.usefixtures("slow_clock")
def test_seaweedfs_tells_that_a_url_has_expired(signer: S3Signer, issuer: RunningIssuer, keys: Any) -> None:
    """It is the store's clock that counts."""
    with ResultsWriter(timeout=0) as writer:
        with pytest.raises(DeliveryError) as caught:
            writer.write(RESULT, expired_put(signer))
        assert (caught.value.status, caught.value.expired) == (403, True)
        writer.write(RESULT, expired_put(signer), refresh(issuer))
    assert keys() == [f"new/{issuer.requests[0]['delivery_id']}.json"]


@pytest.mark.usefixtures("slow_clock")
def test_azurite_does_not_tell_that_a_sas_has_expired(azure: Azurite) -> None:
    """Azure does, with its times. The expiry in the URL decides in both cases, if the clocks agree."""
    with pytest.raises(DeliveryError) as caught, ResultsWriter(timeout=0) as writer:
        writer.write(RESULT, azure.sign("old.json", expires=-timedelta(minutes=1)))
    assert (caught.value.code, caught.value.expired) == ("AuthorizationFailure", False)


@pytest.mark.usefixtures("slow_clock")
def test_seaweedfs_tells_that_a_form_has_expired(signer: S3Signer, issuer: RunningIssuer, keys: Any) -> None:
    """Its policy has, which the store says in other words."""
    with clock(signer, datetime.now(timezone.utc) - timedelta(hours=1)):
        post = signer.presign_post("old.json", expires=timedelta(minutes=30))
    with ResultsWriter(timeout=0) as writer:
        writer.write(RESULT, (post, refresh(issuer)))
    assert keys() == [f"new/{issuer.requests[0]['delivery_id']}.json"]


def test_an_expired_sas_is_replaced(azure: Azurite) -> None:
    """Azure's error names the times of the SAS, and Azurite's doesn't; the URL has its expiry."""
    with issuing(lambda _: {"url": azure.sign("new.json")}) as issuer, ResultsWriter(timeout=0) as writer:
        writer.write(RESULT, azure.sign("old.json", expires=-timedelta(minutes=1)), refresh(issuer))
    assert azure.read("old.json") is None
    assert json.loads(azure.read("new.json") or b"")["job_id"] == "42"


def test_a_sas_that_expires_during_the_request_is_replaced(azure: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the store tells: it was valid when the request began, and isn't when the response arrives."""
    sends, begun = DeliveryAttempts._exchange, threading.Event()

    def exchange(self: DeliveryAttempts, upload: Any) -> Any:
        begun.set()
        return sends(self, upload)

    def now() -> datetime:
        return datetime.now(timezone.utc) - (timedelta(0) if begun.is_set() else timedelta(minutes=2))

    monkeypatch.setattr(DeliveryAttempts, "_exchange", exchange)
    monkeypatch.setattr(attempts, "utc_now", now)
    with issuing(lambda _: {"url": azure.sign("new.json")}) as issuer, ResultsWriter(timeout=0) as writer:
        writer.write(RESULT, azure.sign("old.json", expires=-timedelta(minutes=1)), refresh(issuer))
    assert (len(issuer.requests), azure.read("old.json")) == (1, None)


def test_the_outbox_keeps_the_new_target(
    tmp_path: Path, signer: S3Signer, issuer: RunningIssuer, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later attempt uses it, and the old one's credentials are no longer in the file."""
    old = expired_put(signer)
    failures = iter([True])
    sends = DeliveryAttempts._exchange

    def exchange(self: DeliveryAttempts, upload: Any) -> Any:
        if next(failures, False):
            raise DeliveryError("The store is away.", retryable=True)
        return sends(self, upload)

    monkeypatch.setattr(DeliveryAttempts, "_exchange", exchange)
    path = tmp_path / "outbox.sqlite3"
    with Outbox(path) as outbox:
        written = outbox.write(RESULT, old, {"run": 7, **refresh(issuer)})
        (entry,) = written.pending
        assert entry.target_kind == "s3-post"
        assert "The store is away" in str(entry.error)
        with sqlite3.connect(path) as connection:
            ((target,),) = connection.execute("SELECT target FROM deliveries")
        connection.close()
        assert old not in target
        outbox.redeliver()
        outbox.run(until_empty=True)
        (entry,) = outbox.entries()
    assert entry.status == "delivered"
    assert len(issuer.requests) == 1
    assert keys() == [f"new/{entry.delivery_id}.json"]
    everything = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert old.partition("X-Amz-Signature=")[2][:64].encode() not in everything
    assert MARKER.encode() not in everything


def test_the_outbox_keeps_the_new_prefix(
    tmp_path: Path, signer: S3Signer, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its issuer is asked once for the document and all files, and a later attempt uses the answer."""
    failures, sends = iter([True]), DeliveryAttempts._exchange

    def exchange(self: DeliveryAttempts, upload: Any) -> Any:
        if next(failures, False):
            raise DeliveryError("The store is away.", retryable=True, transient=False)
        return sends(self, upload)

    monkeypatch.setattr(DeliveryAttempts, "_exchange", exchange)
    new = signer.presign_prefix("new/")
    with clock(signer, datetime.now(timezone.utc) - timedelta(hours=1)):
        old = signer.presign_prefix("old/", expires=timedelta(minutes=30))
    result = evolve(RESULT, outputs={"a.txt": b"a", "b.txt": b"b"})
    with (
        issuing(lambda _: {"url": new.url, "param": new.callback_param}) as issuer,
        Outbox(tmp_path / "outbox.sqlite3") as outbox,
    ):
        (entry,) = outbox.write(result, old.url, {**old.callback_param, **refresh(issuer)}).pending
        assert "The store is away" in str(entry.error)
        outbox.redeliver()
        outbox.run(until_empty=True)
        (entry,) = outbox.entries()
    assert entry.status == "delivered"
    assert [(asked["delivery_id"], asked["output"]) for asked in issuer.requests] == [(entry.delivery_id, None)]
    assert keys() == ["new/a.txt", "new/b.txt", "new/result.json"]


def test_a_prefix_of_a_single_file_is_not_the_document_s(tmp_path: Path, signer: S3Signer, keys: Any) -> None:
    """Its issuer is asked for the file, and its new target replaces that of the file alone."""
    new = signer.presign_prefix("own/")
    with clock(signer, datetime.now(timezone.utc) - timedelta(hours=1)):
        old = signer.presign_prefix("old/", expires=timedelta(minutes=30))
    result = evolve(RESULT, outputs={"a.txt": b"a"})
    with (
        issuing(lambda _: {"url": new.url, "param": new.callback_param}) as issuer,
        Outbox(tmp_path / "outbox.sqlite3") as outbox,
    ):
        own = {"a.txt": (old.url, {**old.callback_param, **refresh(issuer)})}
        outbox.write(result, signer.presign_prefix("document/"), outputs=own)
    assert [asked["output"] for asked in issuer.requests] == ["a.txt"]
    assert keys() == ["document/result.json", "own/a.txt"]


def test_the_outbox_keeps_the_new_target_of_a_file(
    tmp_path: Path, signer: S3Signer, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later attempt uses it, and its issuer is asked once."""
    failures, sends = iter([True]), DeliveryAttempts._exchange

    def exchange(self: DeliveryAttempts, upload: Any) -> Any:
        if next(failures, False):
            raise DeliveryError("The store is away.", retryable=True, transient=False)
        return sends(self, upload)

    monkeypatch.setattr(DeliveryAttempts, "_exchange", exchange)
    result = evolve(RESULT, outputs={"a.txt": b"a"})
    with (
        issuing(lambda _: {"url": signer.presign_put("own/a.txt").url}) as issuer,
        Outbox(tmp_path / "outbox.sqlite3") as outbox,
    ):
        own = {"a.txt": (expired_put(signer, "a.txt"), refresh(issuer))}
        (entry,) = outbox.write(result, signer.presign_put("result.json"), outputs=own).pending
        assert "The store is away" in str(entry.error)
        outbox.redeliver()
        outbox.run(until_empty=True)
        (entry,) = outbox.entries()
    assert (entry.status, len(issuer.requests)) == ("delivered", 1)
    assert keys() == ["own/a.txt", "result.json"]


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("taken", ["other.json", "files/a.txt"])
def test_an_issuer_gives_no_object_of_another_target(
    tmp_path: Path, signer: S3Signer, keys: Any, durable: bool, taken: str
) -> None:
    """Neither another document nor an output file. It is asked again later, as its operator has to mend it."""
    result = evolve(RESULT, outputs={"a.txt": b"a"})
    with issuing(lambda _: {"url": signer.presign_put(taken).url}) as issuer, ResultsWriter(timeout=0) as writer:
        targets = [
            signer.presign_prefix("files/"),
            (signer.presign_put("other.json"), {"run": 2}),
            (expired_put(signer), {"run": 3, **refresh(issuer)}),
        ]
        if durable:
            with Outbox(tmp_path / "outbox.sqlite3", writer=writer) as outbox:
                (pending,) = outbox.write(result, targets).pending
            error = pending.error or ""
        else:
            with pytest.raises(RefreshError) as caught:
                writer.write(result, targets)
            assert caught.value.retryable
            error = str(caught.value)
    assert "the object of another target of this result" in error
    assert keys() == ["files/a.txt", "files/result.json", "other.json"]


def _dying(path: Path, step: str) -> None:
    """Run the outbox, and die at one of its steps."""

    def die(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    def after(call: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            call(*args, **kwargs)
            die()

        return wrapped

    if step == "issued":
        OutboxStore.replace_target = die  # type: ignore[method-assign]
    if step == "stored":
        OutboxStore.replace_target = after(OutboxStore.replace_target)  # type: ignore[method-assign]
    if step == "sent":
        OutboxStore.record_receipt = die  # type: ignore[method-assign]
    with Outbox(path) as outbox:
        outbox.run(until_empty=True)


@pytest.mark.parametrize(
    ("step", "asked", "stored"), [("issued", 2, "new-2.json"), ("stored", 1, "new-1.json"), ("sent", 1, "new-1.json")]
)
def test_a_crash_during_a_refresh_delivers_to_one_target(
    tmp_path: Path, signer: S3Signer, keys: Any, monkeypatch: pytest.MonkeyPatch, step: str, asked: int, stored: str
) -> None:
    """Nothing is sent to a target that isn't stored, so whatever is delivered has a trace."""
    path = tmp_path / "outbox.sqlite3"
    numbers: list[str] = []

    def issue(request: dict[str, Any]) -> dict[str, Any]:
        numbers.append(request["delivery_id"])
        return {"url": signer.presign_put(f"new-{len(numbers)}.json").url}

    old = expired_put(signer)
    with issuing(issue) as issuer:
        with monkeypatch.context() as patch, Outbox(path) as outbox:
            patch.setattr(DeliveryAttempts, "attempt", _unavailable)
            outbox.write(RESULT, old, refresh(issuer))
            outbox.redeliver()
        process = multiprocessing.get_context("spawn").Process(target=_dying, args=(path, step))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        with Outbox(path) as outbox:
            outbox.run(until_empty=True)
            (entry,) = outbox.entries()
    assert (entry.status, numbers) == ("delivered", [entry.delivery_id] * asked)
    assert keys() == [stored]
    assert stored in entry.url
    assert old.partition("X-Amz-Signature=")[2][:64].encode() not in path.read_bytes()


def _unavailable(*_: Any, **__: Any) -> Any:
    raise DeliveryError("The store is away.", retryable=True)


def test_the_issuer_of_the_documentation_gives_targets(
    signer: S3Signer, bucket: str, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers signed requests for its own jobs, and no others; each output file has an object of its own."""
    page = (Path(__file__).parents[2] / "docs" / "expiry.md").read_text()
    (text,) = (block for block in re.findall("```python\n(.*?)```", page, re.DOTALL) if "TargetIssuer(" in block)
    names: dict[str, Any] = {"secret": SECRET}
    monkeypatch.setattr("callback_sdk.S3Signer", lambda _: signer)
    exec(compile(text, "docs/expiry.md", "exec"), names)
    with serving(names["app"]) as url:
        param = {"refresh": {"url": f"{url}/targets"}}
        with ResultsWriter(timeout=0, webhook_secrets=[SECRET]) as writer:
            files = evolve(RESULT, outputs={"model.bin": b"model"})
            writer.write(files, expired_put(signer), param, outputs={"model.bin": (expired_put(signer, "m"), param)})
            with pytest.raises(RefreshError, match="404"):
                writer.write(evolve(RESULT, job_id="43"), expired_put(signer), param)
        with ResultsWriter(timeout=0) as unsigned, pytest.raises(RefreshError, match="401"):
            unsigned.write(RESULT, expired_put(signer), param)
    assert keys() == ["runs/42/outputs/model.bin", "runs/42/result.json"]


def test_the_service_asks_the_issuer(signer: S3Signer, keys: Any, issuer: RunningIssuer) -> None:
    """A target that has expired when the task ends is replaced, and shown as the new one."""
    with (
        LocalService("tests.integration.service_jobs:registry", webhook_secrets=[SECRET]) as service,
        Client(service.url, token=service.token) as client,
    ):
        param = {"run": 7, **refresh(issuer)}
        task = client.run_algorithm("sum", {"a": [1]}, callbacks=[(expired_put(signer), param)])
        task.wait(timeout=60)
        wait_until(lambda: client.get_task(task.job_id).receipts)
        (receipt,) = client.get_task(task.job_id).receipts
        (delivery,) = client.get_deliveries(task.job_id)
    (asked,) = issuer.requests
    assert asked == {"job_id": task.job_id, "delivery_id": delivery.delivery_id, "output": None}
    assert len(issuer.verified) == 1
    assert keys() == [f"new/{delivery.delivery_id}.json"]
    assert receipt.target_kind == "s3-post"
    assert delivery.url == receipt.url


def test_the_outbox_takes_a_new_target(tmp_path: Path, signer: S3Signer, bucket: str, seaweedfs: SeaweedFS) -> None:
    """For a delivery that has not arrived: same id, same document, and no old credential in any file."""
    old = signer.presign_put("old.json").url
    with ResultsWriter(timeout=0) as writer, Outbox(tmp_path / "outbox.sqlite3", writer=writer) as outbox:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DeliveryAttempts, "attempt", _unavailable)
            (entry,) = outbox.write(RESULT, old, {"run": 7}).pending
        with clock(signer, datetime.now(timezone.utc) - timedelta(hours=1)):
            expired = signer.presign_put("new.json", expires=timedelta(minutes=30))
        with pytest.raises(TargetExpiredError):
            outbox.redeliver(entry.delivery_id, target=expired)
        with pytest.raises(CallbackParamError, match="differs"):
            outbox.redeliver(entry.delivery_id, target=(signer.presign_put("new.json"), {"run": 8}))
        with pytest.raises(OutboxError, match="2 deliveries"):
            outbox.redeliver(entry.delivery_id, "msg_2", target=signer.presign_put("new.json"))
        assert outbox.redeliver(entry.delivery_id, target=signer.presign_put("new.json")) == 1
        everything = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
        assert old.partition("X-Amz-Signature=")[2][:64].encode() not in everything
        outbox.run(until_empty=True)
        (entry,) = outbox.entries()
        with pytest.raises(OutboxError, match="already delivered"):
            outbox.redeliver(entry.delivery_id, target=signer.presign_put("new.json"))
    assert (entry.status, entry.error) == ("delivered", None)
    assert "new.json" in entry.url
    document = json.loads(seaweedfs.client().get_object(Bucket=bucket, Key="new.json")["Body"].read())
    assert document["callback_param"] == {"run": 7}


def test_an_attempt_during_the_replacement_leaves_a_trace(tmp_path: Path, signer: S3Signer, keys: Any) -> None:
    """It may deliver to the old target; its outcome isn't that of the new one."""
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        sends, errors = DeliveryAttempts._exchange, list[str]()

        def exchange(self: DeliveryAttempts, upload: Any) -> Any:
            if "old.json" in upload.url.reveal():
                (entry,) = outbox.entries()
                outbox.redeliver(entry.delivery_id, target=signer.presign_put("new.json"))
                errors.extend(str(entry.error) for entry in outbox.entries())
            return sends(self, upload)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DeliveryAttempts, "_exchange", exchange)
            written = outbox.write(RESULT, signer.presign_put("old.json"))
        assert keys() == ["old.json"]
        assert [receipt.url.rpartition("/")[2] for receipt in written.receipts] == ["old.json?***"]
        assert "may have delivered the result to" in errors[0]
        assert "old.json" in errors[0]
        outbox.run(until_empty=True)
        (entry,) = outbox.entries()
    assert keys() == ["new.json", "old.json"]
    assert entry.receipt is not None
    assert "new.json" in entry.receipt.url


def test_the_command_replaces_a_target_of_the_outbox(
    tmp_path: Path, signer: S3Signer, keys: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the target in a file."""
    path, place = tmp_path / "outbox.sqlite3", tmp_path / "new.json"
    with Outbox(path) as outbox, pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeliveryAttempts, "attempt", _unavailable)
        (entry,) = outbox.write(RESULT, signer.presign_put("old.json")).pending
    place.write_text(signer.presign_put("new.json").url)
    assert cli.main(["outbox", "redeliver", str(path), entry.delivery_id, "--target", str(place)]) == 0
    assert cli.main(["outbox", "run", str(path), "--until-empty"]) == 0
    assert "X-Amz" not in str(capsys.readouterr())
    assert keys() == ["new.json"]


def test_the_service_warns_of_targets_that_may_expire(signer: S3Signer, caplog: pytest.LogCaptureFixture) -> None:
    """In the response, in the task, and in the client's log, once; a batch's are those of its tasks."""
    put = signer.presign_put("k.json", expires=timedelta(minutes=5))
    with (
        LocalService("tests.integration.service_jobs:registry") as service,
        Client(service.url, token=service.token) as client,
    ):
        task = client.run_algorithm("sum", {"a": [1]}, callbacks=[put])
        assert "may end later" in task.warnings[0]
        assert client.get_task(task.job_id).warnings == task.warnings
        issuer = {"refresh": {"url": "http://127.0.0.1:9/"}}
        assert client.run_algorithm("sum", {"a": [1]}, callbacks=[(put, issuer)]).warnings == ()
        assert [record.levelname for record in caplog.records if "may end later" in record.message] == ["WARNING"]
        caplog.clear()
        client.run_algorithm_batch("sum", [{"a": [1]}] * 3, callbacks=[put], expires=timedelta(hours=1), progress=False)
        (record,) = (record for record in caplog.records if "may end later" in record.message)
        assert "up to 1:00:00 until it starts" in record.message
