"""A user's script: it has to pass mypy --strict and pyright in strict mode. Nothing here is run."""

# pyright: strict

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import callback_sdk
from callback_sdk import (
    AsyncResultsWriter,
    BatchItem,
    Client,
    JobResult,
    Outbox,
    ResultsWriter,
    S3Signer,
    Task,
    check_target,
    errors,
)
from callback_sdk.service import Features, JobContext, Registry
from callback_sdk.types import CallbackParam, CallbackTarget, FeaturesInput, RunOptions, TaskStatus

registry = Registry()


@registry.algorithm("mean", version="1.0.0", timeout=600, memory_limit=2e9)
def mean(features: Features, parameters: dict[str, float], context: JobContext) -> dict[str, float]:
    """Return the mean of each column."""
    print(features, context.job_id)
    return {"predictions": parameters.get("offset", 0.0)}


@mean.evaluation("spread")
def spread(features: Features, parameters: dict[str, float], predictions: object, context: JobContext) -> float:
    """Return the spread of the predictions."""
    print(features, parameters, predictions, context)
    return 0.0


def targets(signer: S3Signer) -> Iterator[CallbackTarget]:
    """Yield a target of each form."""
    put = signer.presign_put("runs/42.json", expires=timedelta(hours=6), content_type="application/json")
    post = signer.presign_post("runs/43.json", expires=3600, fields={"acl": "private"})
    param: CallbackParam = {"run": 42}
    yield from (put, post, put.url, (post, param), ("https://example.org/done", None))
    yield {"url": "https://example.org/done", "param": param}


def submit(features: FeaturesInput) -> TaskStatus:
    """Submit a task in each way and wait."""
    options: RunOptions = {"evaluate": False, "priority": 7, "callbacks": targets(S3Signer("bucket"))}
    with Client(token="…", timeout=30) as client:
        task = client.run_algorithm("mean", features, **options)
        task = client.get_algorithm("mean").run({"a": [1, 2]}, callback_url="https://example.org/done", version="1.0.0")
        tasks = client.run_algorithm_batch("mean", [BatchItem([{"a": 1}], callbacks=["https://h/x"]), {"a": [1]}])
        client.wait_all(tasks, 60, delivery_timeout=5)
        print([summary.job_id for summary in client.get_tasks(status="failed")])
        try:
            task.wait(timeout=timedelta(minutes=30), poll_interval=0.5)
        except errors.TaskTimeoutError as error:
            print(error.job_id, error.hint)
        same: Task = client.get_task(task.job_id)
        print([attempt.error for delivery in client.get_deliveries(same.job_id) for attempt in delivery.attempts])
        return same.status


def deliver(job_id: str, urls: list[str], fields: dict[str, str]) -> None:
    """Deliver a result with and without durable storage."""
    result = JobResult(job_id=job_id, success=True, results=Path("results.json"))
    print(check_target(urls[0]).kind, callback_sdk.__version__)
    receipts = ResultsWriter().write(result, urls, {"s3_fields": fields})
    receipts += ResultsWriter().write(result, urls[0], [{"s3_fields": fields}])
    with Outbox(os.environ["OUTBOX"]) as outbox:
        print(receipts, outbox.write(result, urls).receipts)


async def deliver_async(job_id: str, urls: list[str], fields: dict[str, str]) -> list[str]:
    """Deliver results from asyncio."""
    async with AsyncResultsWriter(timeout=30) as writer:
        result = JobResult(job_id=job_id, success=True, results={"life": 7.5}, outputs={"a.bin": b"a"})
        receipts = await writer.write(result, urls, {"s3_fields": fields}, outputs={"a.bin": urls[0]})
        receipts += await writer.write(result, callback_url=urls[0])
        return [receipt.url for receipt in receipts]
