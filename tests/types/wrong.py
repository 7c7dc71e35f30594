"""Mistakes in a user's script: each line that ends in `error` has to be one of mypy and of pyright, and no other."""

# pyright: strict

from __future__ import annotations

from datetime import timedelta
from typing import Any

from callback_sdk import (
    AsyncOutbox,
    AsyncResultsWriter,
    BatchItem,
    Client,
    JobResult,
    Outbox,
    Receipt,
    ResultsWriter,
    S3Signer,
    check_target,
)
from callback_sdk.service import Features, JobContext, Registry

registry = Registry()


@registry.algorithm("mean", timeout="10 minutes")  # error
def mean(features: Features, parameters: dict[str, Any], context: JobContext) -> dict[str, float]:
    return {"predictions": 1.0}


mean.evaluation("spread")("spread")  # error
registry.fit("mean")("fit")  # error
registry.algorithm("text")("mean")  # error
mean()  # error


def submitting(client: Client) -> None:
    client.run_algorithm("mean", 42)  # error
    client.run_algorithm("mean", {"a": [1]}, callbacks=3.14)  # error
    client.run_algorithm("mean", {"a": [1]}, callback_url=7)  # error
    client.run_algorithm("mean", {"a": [1]}, callback_url="https://h/x", callback_param="run")  # error
    client.run_algorithm("mean", {"a": [1]}, evaluate="yes")  # error
    client.run_algorithm("mean", {"a": [1]}, parameters=["x"])  # error
    client.run_algorithm("mean", {"a": [1]}, None, "1.0.0")  # error
    client.get_algorithm("mean").run({"a": [1]}, callback="https://h/x")  # error
    client.get_algorithm("mean").run({"a": [1]}, priority="high")  # error
    client.run_algorithm_batch("mean", [42])  # error
    BatchItem({"a": [1]}, callbacks=3.14)  # error
    client.get_tasks(status="done")  # error
    client.wait_all("42")  # error
    client.get_task("42").wait(timeout="30m")  # error
    client.get_task("42").wait(grace=timedelta(0))  # error


def delivering(result: JobResult) -> None:
    ResultsWriter().write(result, None)  # error
    ResultsWriter().write(result, 42)  # error
    ResultsWriter().write(result, "https://h/x", "param")  # error
    AsyncResultsWriter().write(result, 42)  # error
    AsyncOutbox("outbox.sqlite3", writer=ResultsWriter())  # error
    Outbox("outbox.sqlite3", writer=AsyncResultsWriter())  # error
    list[Receipt](AsyncResultsWriter().write(result, "https://h/x"))  # error
    with Outbox("outbox.sqlite3") as outbox:
        outbox.write(result, 3.14)  # error
    check_target(42)  # error
    S3Signer("bucket").presign_put("key", expires="1h")  # error
