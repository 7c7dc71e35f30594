"""The types of the public face, as users' own type checkers see them. Nothing here is run.

A line that ends in `type: ignore[...]` must be an error: where it is none, mypy calls the comment unused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

import callback_sdk
from callback_sdk import (
    AddressGuard,
    Algorithm,
    AsyncOutbox,
    AsyncResultsWriter,
    BatchItem,
    Client,
    Delivery,
    JobResult,
    Outbox,
    PresignedMultipart,
    PresignedPost,
    PresignedPut,
    Receipt,
    Result,
    ResultsWriter,
    S3Signer,
    Task,
    TaskSummary,
    Timeouts,
    Version,
    WriteOutcome,
    aistore,
    check_target,
    compat,
    errors,
    get_instance,
    receivers,
    webhooks,
)
from callback_sdk.receivers.aws_lambda import endpoint
from callback_sdk.service import JobContext, Progress, Registry
from callback_sdk.targets import Target
from callback_sdk.testing import LocalService, ObjectStore, ReceivedRequest, WebhookReceiver


def naming() -> None:
    assert_type(callback_sdk.__version__, str)
    callback_sdk.Cleint  # type: ignore[attr-defined]  # noqa: B018


def signing() -> None:
    signer = S3Signer("bucket", region="eu-central-1")
    put = signer.presign_put("key", expires=timedelta(hours=1), metadata={"run": "42"}, if_none_match=True)
    post = signer.presign_post(
        "key", fields={"acl": "private"}, conditions=[["starts-with", "$key", "runs/"]], max_bytes=10
    )
    assert_type(put, PresignedPut)
    assert_type(put.url, str)
    assert_type(put.callback_param, dict[str, Any])
    assert_type(put.expires_at, datetime)
    assert_type(post, PresignedPost)
    assert_type(post.fields, dict[str, str])
    assert_type(signer.presign_put_many(["a", "b"]), Iterator[PresignedPut])
    assert_type(signer.presign_post_many(f"runs/{n}" for n in range(3)), Iterator[PresignedPost])
    parts = signer.presign_multipart("key", max_bytes=10**10, part_size=2**26, create={"StorageClass": "STANDARD_IA"})
    assert_type(parts, PresignedMultipart)
    assert_type(signer.abort_multipart(parts), None)
    signer.presign_multipart("key")  # type: ignore[call-arg]
    signer.presign_put("key", expires=3600)
    signer.presign_put("key", expires="1h")  # type: ignore[arg-type]
    signer.presign_put("key", timedelta(hours=1))  # type: ignore[call-arg]
    assert_type(check_target(put.url, size=100), Target)
    assert_type(aistore.through(put, "http://aistore:8080"), PresignedPut)


def submitting(put: PresignedPut) -> None:
    with Client("http://127.0.0.1:8000", token="…", timeout=timedelta(seconds=30)) as client:
        assert_type(client, Client)
        task = client.run_algorithm("mean", {"a": [1]}, callbacks=[put, "https://example.org/done"])
        assert_type(task, Task)
        assert_type(task.wait(timeout=timedelta(minutes=30)), Task)
        assert_type(task.success, bool | None)
        assert_type(task.receipts, list[Receipt])
        assert_type(task.result(), Result)
        assert_type(client.run_algorithm_batch("mean", [BatchItem({"a": [1]})]), list[Task])
        assert_type(client.get_tasks(status="Finished"), Iterator[TaskSummary])
        assert_type(client.get_deliveries(task.job_id), list[Delivery])
        assert_type(client.get_algorithms(), list[Algorithm])
        assert_type(client.get_algorithm_versions("mean"), list[Version])
        client.run_algorithm("mean", {"a": [1]}, callback=put)  # type: ignore[call-arg]
        task.wait(timeout=1800)
        task.wait(timeout="30m")  # type: ignore[arg-type]
        task.job_id = "43"  # type: ignore[misc]
    assert_type(get_instance(token="…"), compat.PlatformClient)


async def awaiting(put: PresignedPut) -> None:
    result = JobResult(job_id="42", success=True, results={"life": 7.5})
    async with AsyncResultsWriter(guard=AddressGuard()) as writer:
        assert_type(await writer.write(result, put, outputs={"model.bin": put}), list[Receipt])
        assert_type(await writer.write_many([(result, put)]), list[WriteOutcome])
        assert_type(await writer.close(), None)
        async with AsyncOutbox("outbox.sqlite3", writer=writer) as outbox:
            assert_type((await outbox.write(result, put)).receipts, tuple[Receipt, ...])
            assert_type(await outbox.redeliver("msg_1", target=put), int)
            assert_type(await outbox.run(stop=asyncio.Event()), None)


def writing(put: PresignedPut) -> None:
    result = JobResult(job_id="42", success=True, results={"life": 7.5})
    with ResultsWriter(guard=AddressGuard(allow_networks=["10.0.0.0/8"])) as writer:
        assert_type(writer.write(result, put), list[Receipt])
        assert_type(writer.write(result, put, outputs={"model.bin": put, "b.csv": (put, None)}), list[Receipt])
        assert_type(writer.write_many([(result, put), (result, put.url, {"run": 7})]), list[WriteOutcome])
        writer.write_many(((result, [put, put]) for _ in range(9)), max_concurrent=4, on_outcome=print)
        writer.write_many([result])  # type: ignore[list-item]
    with Outbox("outbox.sqlite3") as outbox:
        written = outbox.write(result, put.url, put.callback_param)
        assert_type(written.receipts, tuple[Receipt, ...])
    JobResult("42", True)  # type: ignore[call-arg]
    result.success = False  # type: ignore[misc]
    ResultsWriter(timeout=120, attempt_timeouts=Timeouts(connect=1.5, read=timedelta(seconds=9)))
    ResultsWriter(timeout="2m")  # type: ignore[arg-type]


def receiving(headers: dict[str, str], body: bytes) -> None:
    assert_type(webhooks.verify("whsec_…", headers, body), str)
    webhooks.verify("whsec_…", headers, "text")  # type: ignore[arg-type]


def failing(error: errors.DeliveryError) -> None:
    assert_type(error.status, int | None)
    assert_type(error.retryable, bool)
    assert_type(error.hint, str)
    assert_type(error.receipts, tuple[Receipt, ...])


registry = Registry()


@registry.algorithm("mean", version="1.0.0", timeout=timedelta(minutes=10), memory_limit=10**9, max_runs=1)
def mean(features: Any, parameters: dict[str, Any], context: JobContext) -> dict[str, float]:
    assert_type(context.attempt, int)
    assert_type(context.stopping, bool)
    assert_type(context.directory, Path)
    context.report_progress(0.5, "half")
    context.report_progress("half")  # type: ignore[arg-type]
    return {"predictions": 1.0}


@registry.algorithm("model")
class Model:
    def predict(self, a: list[float], digits: int = 2) -> AsyncIterator[float | Progress]:
        raise NotImplementedError


def registering() -> None:
    # A class and an object stay what they are.
    assert_type(Model(), Model)
    assert_type(registry.algorithm("object")(Model()), Model)
    registry.evaluation("model", "all")(lambda predictions: predictions)
    # A decorated function keeps its own type.
    assert_type(
        mean(None, {}, JobContext(job_id="1", attempt=1, evaluate=True, report=lambda *_: None)), dict[str, float]
    )
    assert_type(list(registry), list[str])


def handle(result: receivers.ReceivedResult) -> None:
    assert_type(result.job_id, str)
    assert_type(result.bucket_object, receivers.BucketObject | None)


async def handle_later(result: JobResult) -> None:
    raise NotImplementedError


def issue(request: receivers.TargetRequest) -> PresignedPut | None:
    assert_type(request.output, str | None)
    return None


def receiving_results(headers: dict[str, str], body: bytes) -> None:
    ids = receivers.SQLiteIds("ids.sqlite3")
    receiver = receivers.Receiver(handle, secrets=lambda: ["whsec_…"], ids=ids)
    receivers.Receiver(handle_later, secrets="whsec_…", ids=lambda result: result.job_id == "42")
    receivers.Receiver(receivers.Inbox("inbox.sqlite3").put, secrets=None, headers={"Authorization": "Bearer …"})
    receivers.Receiver(handle)  # type: ignore[call-arg]
    receivers.Receiver(handle, secrets="whsec_…", ids="memory")  # type: ignore[arg-type]
    assert_type(receiver.receive(headers, body), receivers.Reply)
    assert_type(endpoint(receiver)({}, None), dict[str, Any])
    endpoint(receivers.TargetIssuer(issue, secrets="whsec_…"))
    endpoint(receivers.BucketReceiver(handle, None, headers={"Authorization": "Bearer …"}))
    endpoint(handle)  # type: ignore[arg-type]
    assert_type(receivers.read_document(body), receivers.ReceivedResult | receivers.ReceivedEvent)


def testing() -> None:
    with LocalService("jobs:registry") as service, WebhookReceiver() as webhook, ObjectStore() as store:
        assert_type(service.url, str)
        assert_type(webhook.wait_for(1), tuple[ReceivedRequest, ...])
        assert_type(store.objects["bucket/key"].body, bytes)
