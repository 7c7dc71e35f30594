"""Thousands of deliveries through servers that fail a third of the time."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from callback_sdk import JobResult, Receipt, ResultsWriter, S3Signer
from callback_sdk.errors import DeliveryError
from callback_sdk.testing import Fault, Faults, ObjectStore, ReceivedRequest, SeaweedFS, WebhookReceiver

TASKS = 670
"""With three targets each: 2,010 deliveries."""

WRITERS = 16
SECRET = "whsec_" + base64.b64encode(b"0" * 32).decode()
RATE = 0.3


@pytest.fixture
def store(seaweedfs: SeaweedFS) -> Iterator[ObjectStore]:
    """Fail in every way, in front of a store that checks signatures."""
    faults = Faults(rate=RATE, seed=20, delay=timedelta(milliseconds=20))
    with ObjectStore(upstream=seaweedfs.endpoint_url, faults=faults) as store:
        yield store


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    """Fail in every way, and check signatures."""
    faults = Faults(rate=RATE, seed=21, delay=timedelta(milliseconds=20))
    with WebhookReceiver(secret=SECRET, faults=faults) as receiver:
        yield receiver


def test_deliveries_survive_faults(
    seaweedfs: SeaweedFS, bucket: str, store: ObjectStore, receiver: WebhookReceiver
) -> None:
    """All are delivered, each object holds its document, none is made twice at once, and ids are stable."""
    signer = S3Signer(bucket, client=seaweedfs.client(endpoint_url=store.endpoint_url))

    # Minutes, because a delivery may be unlucky many times in a row.
    with (
        ResultsWriter(webhook_secrets=[SECRET], timeout=timedelta(minutes=5)) as writer,
        ThreadPoolExecutor(WRITERS) as pool,
    ):

        def deliver(number: int) -> list[Receipt]:
            result = JobResult(job_id=str(number), success=True, results={"life": [number] * (number % 50)})
            targets = [signer.presign_put(f"put/{number}"), signer.presign_post(f"post/{number}"), receiver.url]
            return writer.write(result, targets, {"run": number})

        receipts = list(pool.map(deliver, range(TASKS)))

    bodies = _webhooks(receiver)
    stored = _etags(seaweedfs, bucket)
    assert len(stored) == 2 * TASKS
    for number, of_task in enumerate(receipts):
        document = json.loads(bodies[number])
        assert document["job_id"] == str(number)
        assert document["callback_param"] == {"run": number}
        assert document["results"] == {"life": [number] * (number % 50)}
        md5 = hashlib.md5(bodies[number]).hexdigest()
        assert stored[f"put/{number}"] == stored[f"post/{number}"] == md5
        assert {receipt.sha256 for receipt in of_task} == {hashlib.sha256(bodies[number]).hexdigest()}
    assert set(store.max_concurrent.values()) == set(receiver.max_concurrent.values()) == {1}
    _assert_faults(store.requests, set(Fault))
    _assert_faults(receiver.requests, set(WebhookReceiver.default_faults))


def test_store_with_faults_preserves_signatures(
    seaweedfs: SeaweedFS, bucket: str, callback_strict_store: ObjectStore
) -> None:
    """Behind it, a valid upload passes, and a tampered one is rejected."""
    signer = S3Signer(bucket, client=seaweedfs.client(endpoint_url=callback_strict_store.endpoint_url))
    callback_strict_store.inject_fault(Fault.REDIRECT, times=2)
    with ResultsWriter() as writer:
        put = signer.presign_put("a b/ü.json", content_type="application/json", metadata={"run": "1"})
        writer.write(JobResult(job_id="1", success=True), [put, signer.presign_post("c.json")])
        with pytest.raises(DeliveryError) as caught:
            writer.write(
                JobResult(job_id="1", success=True), signer.presign_put("mine.json").url.replace("mine", "yours")
            )
    assert caught.value.code == "SignatureDoesNotMatch"
    assert set(_etags(seaweedfs, bucket)) == {"a b/ü.json", "c.json"}
    assert callback_strict_store.max_concurrent.keys() >= {f"{bucket}/a b/ü.json", f"{bucket}/c.json"}


def test_stale_connections_cost_one_more_attempt(callback_store: ObjectStore) -> None:
    """Regardless of their number, an attempt on a stale connection continues with a new one."""
    signer = S3Signer("results", client=callback_store.client())
    with ResultsWriter(timeout=timedelta(0)) as writer:
        callback_store.inject_fault(Fault.SLOW, delay=timedelta(milliseconds=300), times=8)
        writer.write(JobResult(job_id="1", success=True), [signer.presign_put(str(number)) for number in range(8)])
        callback_store.inject_fault(Fault.LOST_RESPONSE, times=9)
        with pytest.raises(DeliveryError):
            writer.write(JobResult(job_id="1", success=True), signer.presign_put("k"))
    assert callback_store.objects["results/k"].version <= 2


def _webhooks(receiver: WebhookReceiver) -> dict[int, bytes]:
    """Return the accepted bodies by task, after a look at their ids."""
    bodies: dict[int, set[bytes]] = {}
    ids: dict[int, set[str | None]] = {}
    for request in receiver.requests:
        if request.body:
            number = int(request.document["job_id"])
            ids.setdefault(number, set()).add(request.delivery_id)
            bodies.setdefault(number, set()).add(request.body)
    assert {request.document["job_id"] for request in receiver.accepted} == {str(number) for number in range(TASKS)}
    assert all(len(of_task) == 1 for of_task in (*ids.values(), *bodies.values()))
    assert len({request.delivery_id for request in receiver.requests}) == TASKS
    return {number: of_task.pop() for number, of_task in bodies.items()}


def _etags(seaweedfs: SeaweedFS, bucket: str) -> dict[str, str]:
    pages = seaweedfs.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {found["Key"]: found["ETag"].strip('"') for page in pages for found in page.get("Contents", ())}


def _assert_faults(requests: tuple[ReceivedRequest, ...], kinds: set[Fault]) -> None:
    """Check that the servers did fail as often as they should, in every way."""
    counts = Counter(request.fault for request in requests)
    share = 1 - counts.pop(None) / len(requests)
    assert abs(share - RATE) < 0.05
    assert set(counts) == kinds
    assert not any(request.status == 401 for request in requests)
