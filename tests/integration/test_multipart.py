"""Multipart uploads through presigned URLs: every request may fail, and the object exists completely or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config

from callback_sdk import Client, JobResult, Outbox, ResultsWriter, S3Signer, aistore
from callback_sdk.errors import (
    AddressNotAllowedError,
    DeliveryError,
    InvalidRequestError,
    ResultTooLargeError,
    TargetExpiredError,
)
from callback_sdk.models import PresignedMultipart
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret
from callback_sdk.testing import AIStore, Fault, Faults, LocalService, ObjectStore, SeaweedFS
from callback_sdk.testing.faults import FaultResponse, Step
from callback_sdk.testing.received import ReceivedRequest
from callback_sdk.testing.uploads import MIN_PART_SIZE
from callback_sdk.transport.guard import AddressGuard
from tests.rawserver import RawServer, answer, read_request
from tests.signedurls import v4
from tests.topology import wait_until

THREE_PARTS = JobResult(job_id="42", success=True, results="x" * (2 * MIN_PART_SIZE + 1000))
KEY = "runs/42.json"


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    """A store in memory, with faults on request."""
    with ObjectStore() as store:
        yield store


@pytest.fixture
def writer() -> Iterator[ResultsWriter]:
    with ResultsWriter(timeout=timedelta(seconds=30)) as writer:
        yield writer


def presigned(store: ObjectStore, **more: Any) -> PresignedMultipart:
    signer = S3Signer("results", client=store.client())
    return signer.presign_multipart(KEY, **{"part_size": MIN_PART_SIZE, "max_bytes": 5 * MIN_PART_SIZE, **more})


def steps(store: ObjectStore) -> list[str]:
    """Return what was asked of the store after the start of the upload, the parts in their order."""
    return [_step(request.method, request.path) for request in store.requests[1:]]


def _step(method: str, path: str) -> str:
    number = parse_qs(urlsplit(path).query).get("partNumber")
    return f"part {number[0]}" if number else {"POST": "complete", "DELETE": "abort"}.get(method, method.lower())


def check(store: ObjectStore, receipt: Receipt) -> None:
    found = store.objects[f"results/{KEY}"]
    assert (found.etag, len(found.body)) == (receipt.etag, receipt.size)
    assert hashlib.sha256(found.body).hexdigest() == receipt.sha256
    assert found.document["results"] == THREE_PARTS.results
    assert store.uploads == 0


def test_documents_arrive_in_parts_and_are_completed_once(store: ObjectStore, writer: ResultsWriter) -> None:
    """Only as many parts are sent as the document needs."""
    (receipt,) = writer.write(THREE_PARTS, presigned(store))
    assert sorted(steps(store)[:-1]) == ["part 1", "part 2", "part 3"]
    assert steps(store)[-1] == "complete"
    assert (receipt.target_kind, receipt.status, receipt.attempts) == ("s3-multipart", 200, 1)
    check(store, receipt)


def test_documents_smaller_than_one_part_arrive_too(store: ObjectStore, writer: ResultsWriter) -> None:
    """With one part."""
    (receipt,) = writer.write(JobResult(job_id="42", success=True, results=7.5), presigned(store))
    assert steps(store) == ["part 1", "complete"]
    assert store.objects[f"results/{KEY}"].document["results"] == 7.5
    assert receipt.etag is not None
    assert receipt.etag.endswith("-1")


RECOVERABLE = [fault for fault in Fault if fault not in (Fault.REDIRECT, Fault.SLOW)]


@pytest.mark.parametrize("fault", RECOVERABLE, ids=lambda fault: fault.value)
@pytest.mark.parametrize("step", [0, 1, 3], ids=["first part", "a part", "completion"])
def test_each_request_is_retried_alone(store: ObjectStore, writer: ResultsWriter, fault: Fault, step: int) -> None:
    """One attempt is enough, and no other part is sent again."""
    target = presigned(store)
    for _ in range(step):
        store.inject_fault(Fault.SLOW, delay=timedelta())
    store.inject_fault(fault)
    (receipt,) = writer.write(THREE_PARTS, target)
    assert receipt.attempts == 1
    check(store, receipt)
    sent = steps(store)
    again = {name for name in sent if sent.count(name) > 1}
    assert len(again) == 1
    assert all(sent.count(name) == 2 for name in again)


def test_a_completion_whose_response_was_lost_is_verified(store: ObjectStore, writer: ResultsWriter) -> None:
    """The upload no longer exists; size and ETag of the object are those of the document."""
    target = presigned(store)
    store.inject_fault(Fault.SLOW, delay=timedelta(), times=3)
    store.inject_fault(Fault.LOST_RESPONSE)
    (receipt,) = writer.write(THREE_PARTS, target)
    assert steps(store)[3:] == ["complete", "complete", "head"]
    check(store, receipt)


def test_a_later_attempt_of_another_process_finds_the_completed_object(store: ObjectStore) -> None:
    """The process was killed after the completion, before the receipt was stored: the parts can't be sent again."""
    target = presigned(store)
    for _ in range(2):
        with ResultsWriter() as writer:
            (receipt,) = writer.write(THREE_PARTS, target)
        check(store, receipt)
    assert steps(store)[-1] == "head"
    assert steps(store).count("complete") == 1


def test_another_object_is_not_taken_for_the_document(store: ObjectStore, writer: ResultsWriter) -> None:
    """The upload was aborted, and the key has another object of the same size."""
    target = presigned(store)
    S3Signer("results", client=store.client()).abort_multipart(target)
    size = len(store.requests)
    for body in (None, b"y" * (len(THREE_PARTS.results) + 83)):
        if body is not None:
            store.client().put_object(Bucket="results", Key=KEY, Body=body)
        with pytest.raises(DeliveryError, match="NoSuchUpload") as caught:
            writer.write(THREE_PARTS, target)
        assert (caught.value.code, caught.value.retryable) == ("NoSuchUpload", False)
        assert "Presign" in caught.value.hint
    assert len(store.requests) > size


def test_without_head_a_lost_completion_is_an_error(store: ObjectStore, writer: ResultsWriter) -> None:
    """A receipt means that the object is known to exist."""
    target = presigned(store)
    param = target.callback_param
    del param["s3_parts"]["head"]
    store.inject_fault(Fault.SLOW, delay=timedelta(), times=3)
    store.inject_fault(Fault.LOST_RESPONSE)
    with pytest.raises(DeliveryError, match="NoSuchUpload"):
        writer.write(THREE_PARTS, target.url, param)


ERROR_AFTER_200 = b'  \n<?xml version="1.0"?>\n<Error><Code>%b</Code><Message>no</Message></Error>'


def test_an_error_after_the_status_of_success_is_one(store: ObjectStore, writer: ResultsWriter) -> None:
    """S3 sends 200 at once, and an error later: InternalError is retried with the same parts."""
    target = presigned(store)
    store.inject_fault(Fault.SLOW, delay=timedelta(), times=3)
    store.respond(200, body=ERROR_AFTER_200 % b"InternalError")
    store.respond(200, body=b"   ")
    (receipt,) = writer.write(THREE_PARTS, target)
    assert steps(store)[3:] == ["complete", "complete", "complete"]
    bodies = [request.body for request in store.requests[1:] if _step(request.method, request.path) == "complete"]
    assert len(set(bodies)) == 1
    check(store, receipt)


def test_a_completion_that_is_refused_for_good_aborts_the_upload(store: ObjectStore, writer: ResultsWriter) -> None:
    """No part stays in the bucket."""
    target = presigned(store)
    store.inject_fault(Fault.SLOW, delay=timedelta(), times=3)
    store.respond(200, body=ERROR_AFTER_200 % b"AccessDenied")
    with pytest.raises(DeliveryError, match="200 AccessDenied"):
        writer.write(THREE_PARTS, target)
    assert steps(store)[3:] == ["complete", "head", "abort"]
    assert (store.uploads, dict(store.objects)) == (0, {})


def test_a_part_that_is_refused_for_good_ends_the_attempt(store: ObjectStore, writer: ResultsWriter) -> None:
    """The upload is aborted after the last running request."""
    target = presigned(store, max_bytes=20 * MIN_PART_SIZE)
    store.respond(403, body=b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
    with pytest.raises(DeliveryError, match="AccessDenied"):
        writer.write(THREE_PARTS, target)
    assert steps(store)[-1] == "abort"
    assert "complete" not in steps(store)
    assert store.uploads == 0


def test_parts_that_the_store_lost_are_sent_again(store: ObjectStore, writer: ResultsWriter) -> None:
    """The completion answers InvalidPart."""
    target = presigned(store)
    store.inject_fault(Fault.SLOW, delay=timedelta(), times=3)
    store.respond(400, body=b"<Error><Code>InvalidPart</Code><Message>no</Message></Error>")
    (receipt,) = writer.write(THREE_PARTS, target)
    assert receipt.attempts == 2
    assert [steps(store).count(f"part {number}") for number in (1, 2, 3)] == [2, 2, 2]
    check(store, receipt)


def test_a_later_attempt_of_the_same_call_sends_no_stored_part(store: ObjectStore, writer: ResultsWriter) -> None:
    """A part fails eight times, and the attempt with it."""
    target = presigned(store)
    store.inject_fault(Fault.SLOW, delay=timedelta(), times=3)
    store.inject_fault(Fault.ERROR, times=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("callback_sdk.writer.multipart.time.sleep", lambda pause: None)
        (receipt,) = writer.write(THREE_PARTS, target)
    assert receipt.attempts == 2
    assert [steps(store).count(f"part {number}") for number in (1, 2, 3)] == [1, 1, 1]
    check(store, receipt)


def test_a_long_retry_after_ends_the_attempt(store: ObjectStore) -> None:
    """The schedule of whoever retries takes it over."""
    target = presigned(store)
    store.inject_fault(Fault.THROTTLED, retry_after=timedelta(minutes=10))
    with ResultsWriter(timeout=0) as writer, pytest.raises(DeliveryError) as caught:
        writer.write(THREE_PARTS, target)
    assert (caught.value.retry_after, caught.value.retryable) == (600, True)
    assert store.uploads == 1
    with ResultsWriter() as writer:
        check(store, writer.write(THREE_PARTS, target)[0])


def test_results_that_are_too_large_abort_the_upload(store: ObjectStore, writer: ResultsWriter) -> None:
    """Nothing of them is sent."""
    with pytest.raises(ResultTooLargeError, match=f"{2 * MIN_PART_SIZE}: 2 parts"):
        writer.write(THREE_PARTS, presigned(store, max_bytes=2 * MIN_PART_SIZE))
    assert (steps(store), store.uploads) == (["abort"], 0)


def test_an_upload_that_has_expired_is_aborted(store: ObjectStore, writer: ResultsWriter) -> None:
    """The abortion outlives parts and completion."""
    signer = S3Signer("results", client=store.client())
    signer._clock = lambda: __import__("time").time() - 7200
    target = signer.presign_multipart(KEY, part_size=MIN_PART_SIZE, max_bytes=5 * MIN_PART_SIZE, expires=3600)
    with pytest.raises(TargetExpiredError):
        writer.write(THREE_PARTS, target)
    assert (steps(store), store.uploads) == (["head", "abort"], 0)


def test_an_upload_that_was_completed_before_it_expired_is_delivered(store: ObjectStore) -> None:
    """The process was killed before the receipt was stored, and the next attempt comes after the end of the URLs."""
    target = presigned(store, expires=3600)
    with ResultsWriter() as writer:
        (receipt,) = writer.write(THREE_PARTS, target)
    later = datetime.now(timezone.utc) + timedelta(hours=2)
    with pytest.MonkeyPatch.context() as patch, ResultsWriter() as writer:
        patch.setattr("callback_sdk.writer.multipart.utc_now", lambda: later)
        (again,) = writer.write(THREE_PARTS, target)
        other = JobResult(job_id="43", success=True, results=1)
        with pytest.raises(TargetExpiredError):
            writer.write(other, target)
    assert (again.etag, again.sha256) == (receipt.etag, receipt.sha256)
    assert steps(store)[-3:] == ["head", "head", "abort"]
    check(store, receipt)


def test_an_object_may_be_written_once(store: ObjectStore, writer: ResultsWriter) -> None:
    """The completion has `If-None-Match: *`; the upload of the second document is aborted."""
    (receipt,) = writer.write(THREE_PARTS, presigned(store, if_none_match=True))
    other = JobResult(job_id="43", success=True, results=1)
    with pytest.raises(DeliveryError, match="PreconditionFailed"):
        writer.write(other, presigned(store, if_none_match=True))
    check(store, receipt)
    # The same document, whose first completion may have been another attempt's.
    (again,) = writer.write(THREE_PARTS, presigned(store, if_none_match=True))
    assert again.etag == receipt.etag


def test_parts_are_sent_in_parallel_over_few_connections(store: ObjectStore, writer: ResultsWriter) -> None:
    """At most eight at a time, and more than one."""
    running, most, lock = [0], [0], threading.Lock()
    put = store._uploads.put

    def counted(*args: Any) -> str:
        return put(*args)

    store._uploads.put = counted
    target = presigned(store, max_bytes=10 * MIN_PART_SIZE)
    barrier = threading.Barrier(2, timeout=60)
    multipart = store._multipart

    def both(request: Any, query: Any) -> Any:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        if query.get("partNumber") in ("1", "2"):
            barrier.wait()
        try:
            return multipart(request, query)
        finally:
            with lock:
                running[0] -= 1

    store._multipart = both
    (receipt,) = writer.write(THREE_PARTS, target)
    check(store, receipt)
    assert 2 <= most[0] <= 8


def test_part_urls_are_guarded_like_any_other(store: ObjectStore) -> None:
    """A service doesn't reach a private address for a part either, nor to abort."""
    target = presigned(store)
    with ResultsWriter(guard=AddressGuard()) as writer, pytest.raises(AddressNotAllowedError):
        writer.write(THREE_PARTS, target)
    assert steps(store) == []


def test_no_url_of_a_part_is_logged_or_shown(
    store: ObjectStore, writer: ResultsWriter, caplog: pytest.LogCaptureFixture
) -> None:
    """A store may quote any of them in the response to another."""
    target = presigned(store)
    caplog.set_level(logging.DEBUG)
    urls = target.callback_param["s3_parts"]["urls"]
    last = urlsplit(urls[-1]).query
    message = f"<Error><Code>AccessDenied</Code><Message>{last.replace('&', '&amp;')}</Message></Error>"
    store.respond(403, body=message.encode(), times=3)
    with pytest.raises(DeliveryError) as caught:
        writer.write(THREE_PARTS, target)
    signature = parse_qs(last)["X-Amz-Signature"][0]
    assert signature not in f"{caught.value}{caplog.text}"
    assert parse_qs(last)["uploadId"][0] not in f"{caught.value}{caplog.text}"


def test_faults_on_parts_hold_up_nothing(writer: ResultsWriter) -> None:
    """Every fifth request fails, in each of the ways in which a store does."""
    with ObjectStore(faults=Faults(rate=0.2, seed=7, retry_after=timedelta(0))) as store:
        for number in range(6):
            signer = S3Signer("results", client=store.client())
            key = f"runs/{number}.json"
            target = signer.presign_multipart(key, part_size=MIN_PART_SIZE, max_bytes=5 * MIN_PART_SIZE)
            (receipt,) = writer.write(THREE_PARTS, target)
            assert hashlib.sha256(store.objects[f"results/{key}"].body).hexdigest() == receipt.sha256


def test_files_and_compressed_documents_arrive_in_parts(
    store: ObjectStore, writer: ResultsWriter, tmp_path: Path
) -> None:
    """Parts are ranges of the file, which is not read into memory."""
    path = tmp_path / "results.json"
    path.write_text('"' + "x" * (2 * MIN_PART_SIZE + 1000) + '"')
    (receipt,) = writer.write(JobResult(job_id="42", success=True, results=path), presigned(store))
    check(store, receipt)


def test_the_outbox_delivers_in_parts(store: ObjectStore, tmp_path: Path) -> None:
    """Its file keeps all URLs until then."""
    target = presigned(store)
    store.inject_fault(Fault.THROTTLED, retry_after=timedelta(minutes=10))
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        written = outbox.write(THREE_PARTS, target)
        assert written.pending
        outbox.redeliver(written.pending[0].delivery_id)
        outbox.run(until_empty=True)
        (entry,) = outbox.entries()
    assert entry.receipt is not None
    check(store, entry.receipt)


@pytest.fixture
def strict(seaweedfs: SeaweedFS, bucket: str) -> tuple[S3Signer, Any, str]:
    return S3Signer(bucket, client=seaweedfs.client()), seaweedfs.client(), bucket


def test_a_store_that_verifies_signatures_takes_the_parts(
    strict: tuple[S3Signer, Any, str], writer: ResultsWriter
) -> None:
    """With type and metadata of the object, and the ETag of the receipt."""
    signer, client, bucket = strict
    target = signer.presign_multipart(
        "runs/ü 42 (1).json",
        part_size=MIN_PART_SIZE,
        max_bytes=5 * MIN_PART_SIZE,
        content_type="application/json",
        metadata={"run": "42"},
    )
    (receipt,) = writer.write(THREE_PARTS, target)
    found = client.get_object(Bucket=bucket, Key="runs/ü 42 (1).json")
    assert hashlib.sha256(found["Body"].read()).hexdigest() == receipt.sha256
    assert (found["ContentType"], found["Metadata"]) == ("application/json", {"run": "42"})
    assert found["ETag"].strip('"') == receipt.etag
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


def test_a_store_that_verifies_signatures_rejects_tampered_parts(
    strict: tuple[S3Signer, Any, str], writer: ResultsWriter
) -> None:
    """The upload is aborted, and there is no object."""
    signer, client, bucket = strict
    target = signer.presign_multipart("42", part_size=MIN_PART_SIZE, max_bytes=5 * MIN_PART_SIZE)
    param = target.callback_param
    url = param["s3_parts"]["urls"][1]
    param["s3_parts"]["urls"][1] = url[:-1] + ("0" if url[-1] != "0" else "1")
    with pytest.raises(DeliveryError, match="SignatureDoesNotMatch"):
        writer.write(THREE_PARTS, target.url, param)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)


def test_a_strict_store_behind_faults_gets_everything(seaweedfs: SeaweedFS, bucket: str, writer: ResultsWriter) -> None:
    """Lost responses of the completion included."""
    with ObjectStore(
        upstream=seaweedfs.endpoint_url, faults=Faults(rate=0.2, seed=3, retry_after=timedelta(0))
    ) as front:
        signer = S3Signer(bucket, client=seaweedfs.client(endpoint_url=front.endpoint_url))
        for number in range(4):
            key = f"runs/{number}.json"
            target = signer.presign_multipart(key, part_size=MIN_PART_SIZE, max_bytes=5 * MIN_PART_SIZE)
            (receipt,) = writer.write(THREE_PARTS, target)
            body = seaweedfs.client().get_object(Bucket=bucket, Key=key)["Body"].read()
            assert hashlib.sha256(body).hexdigest() == receipt.sha256


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_uploads_that_boto3_signed_are_completed(
    seaweedfs: SeaweedFS, bucket: str, writer: ResultsWriter, version: str
) -> None:
    """With Signature Version 4, and with Version 2, which boto3 chooses by itself in some regions.

    boto3 leaves the list of parts out of the URL of the completion (boto/boto3#2481); it is the body of the request.
    """
    client = seaweedfs.client(config=Config(signature_version=version, s3={"addressing_style": "path"}))
    place = {"Bucket": bucket, "Key": "runs/ü 42.json"}
    upload = {**place, "UploadId": seaweedfs.client().create_multipart_upload(**place)["UploadId"]}

    def sign(operation: str, **params: Any) -> str:
        url: str = client.generate_presigned_url(operation, Params=params, ExpiresIn=600)
        return url

    parts = {
        "part_size": MIN_PART_SIZE,
        "urls": [sign("upload_part", **upload, PartNumber=number) for number in range(1, 5)],
        "abort": sign("abort_multipart_upload", **upload),
        "head": sign("head_object", **place),
    }
    url = sign("complete_multipart_upload", **upload)
    (receipt,) = writer.write(THREE_PARTS, url, {"s3_parts": parts})
    body = seaweedfs.client().get_object(**place)["Body"].read()
    assert hashlib.sha256(body).hexdigest() == receipt.sha256
    # A later attempt finds the object, and its parts can't be sent again.
    (again,) = writer.write(THREE_PARTS, url, {"s3_parts": parts})
    assert (again.etag, again.sha256) == (receipt.etag, receipt.sha256)
    other = JobResult(job_id="43", success=True, results=1)
    with pytest.raises(DeliveryError, match="NoSuchUpload"):
        writer.write(other, url, {"s3_parts": parts})


@pytest.mark.parametrize("step", [0, 3, 4], ids=["part", "completion", "verification"])
def test_redirects_are_followed_for_each_request(store: ObjectStore, writer: ResultsWriter, step: int) -> None:
    """With method and body, to the same host."""
    target = presigned(store)
    if step == 4:
        # There is no upload any more. How many parts are sent before that is known, and so which request is the
        # verification, depends on the threads.
        writer.write(THREE_PARTS, target)
        redirect_head(store)
    else:
        store.inject_fault(Fault.SLOW, delay=timedelta(), times=step)
        store.inject_fault(Fault.REDIRECT)
    (receipt,) = writer.write(THREE_PARTS, target)
    check(store, receipt)
    assert 307 in [request.status for request in store.requests]


def redirect_head(store: ObjectStore) -> None:
    """Redirect each HEAD to the second port of the store."""
    outcome, first_port = store._outcome, urlsplit(store.endpoint_url).port

    def redirected(step: Step, request: ReceivedRequest) -> FaultResponse:
        is_first = request.method == "HEAD" and request.port == first_port
        return outcome(Step(fault=Fault.REDIRECT) if is_first else step, request)

    store._outcome = redirected  # type: ignore[method-assign]


def test_parts_pass_through_an_aistore_cluster(writer: ResultsWriter) -> None:
    """Each request is redirected from the proxy to a node."""
    with AIStore() as cluster:
        aistore.client(cluster.endpoint_url).create_bucket(Bucket="results")
        plain = boto3.client(
            "s3",
            endpoint_url=cluster.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="id",
            aws_secret_access_key="key",
            config=Config(s3={"addressing_style": "path"}),
        )
        signer = S3Signer("results", client=aistore.follow_redirects(plain))
        with ResultsWriter(aistore_clusters={cluster.proxy_urls[0]: None}) as own:
            for key in ("42.json", "runs/ü 42.json"):
                target = signer.presign_multipart(key, part_size=MIN_PART_SIZE, max_bytes=5 * MIN_PART_SIZE)
                (receipt,) = own.write(THREE_PARTS, target)
                assert hashlib.sha256(cluster.objects[f"results/{key}"]).hexdigest() == receipt.sha256
                # The completed object is found by the ETag of the whole, which AIStore has.
                assert own.write(THREE_PARTS, target)[0].sha256 == receipt.sha256
        statuses = [request.status for request in cluster.requests if "partNumber" in request.path]
        assert {200, 307} <= set(statuses)


def test_an_issuer_may_sign_the_same_upload_again(store: ObjectStore) -> None:
    """The parts that were stored before it expired aren't sent again, and the upload isn't aborted meanwhile."""
    signer = S3Signer("results", client=store.client())
    target = presigned(store)
    upload_id = parse_qs(urlsplit(target.url).query)["uploadId"][0]
    given: list[PresignedMultipart] = []

    def sign_again() -> PresignedMultipart:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("callback_sdk.signer.uploads.start_upload", lambda *_: Secret(upload_id))
            given.append(
                signer.presign_multipart(KEY, part_size=MIN_PART_SIZE, max_bytes=5 * MIN_PART_SIZE, expires=7200)
            )
        return given[-1]

    def answer_request(connection: socket.socket, number: int) -> None:
        read_request(connection)
        new = sign_again()
        body = json.dumps({"url": new.url, "param": new.callback_param}).encode()
        connection.sendall(answer("200 OK", "Content-Type: application/json", body=body))

    store.inject_fault(Fault.SLOW, delay=timedelta(), times=2)
    expired = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    store.respond(403, body=expired)
    with RawServer(answer_request) as issuer, ResultsWriter() as writer:
        param = {**target.callback_param, "refresh": {"url": issuer.url}}
        (receipt,) = writer.write(THREE_PARTS, target.url, param)
    check(store, receipt)
    assert len(given) == 1
    sent = steps(store)
    assert (len(sent), sent.count("complete"), "abort" in sent) == (5, 1, False)


def test_the_service_takes_the_urls_of_a_thousand_parts(store: ObjectStore) -> None:
    """Its limit is the size of a form's field, and the error names it."""
    with (
        LocalService("tests.integration.multipart_jobs:registry") as service,
        Client(service.url, token=service.token) as client,
    ):
        target = presigned(store, max_bytes=1000 * MIN_PART_SIZE)
        task = client.run_algorithm("large", parameters={"size": 10}, callbacks=[target])
        task.wait(progress=False)
        wait_until(lambda: task.refresh().receipts, what="the delivery")
        (receipt,) = task.receipts
        assert (receipt.target_kind, receipt.size) == ("s3-multipart", len(store.objects[f"results/{KEY}"].body))
        many = presigned(store, max_bytes=10_000 * MIN_PART_SIZE)
        with pytest.raises(InvalidRequestError, match="1024KB"):
            client.run_algorithm("large", parameters={"size": 10}, callbacks=[many])


def test_an_output_file_may_be_sent_in_parts(store: ObjectStore, writer: ResultsWriter, tmp_path: Path) -> None:
    """As a document, and before it."""
    model = tmp_path / "model.bin"
    model.write_bytes(b"m" * (MIN_PART_SIZE + 1))
    signer = S3Signer("results", client=store.client())
    target = signer.presign_multipart("model.bin", part_size=MIN_PART_SIZE, max_bytes=5 * MIN_PART_SIZE)
    result = JobResult(job_id="42", success=True, results={"a": 1}, outputs={"model.bin": model})
    writer.write(result, signer.presign_put("42.json"), outputs={"model.bin": target})
    assert store.objects["results/model.bin"].body == model.read_bytes()
    (tmp_path / "empty").touch()
    empty = signer.presign_multipart("empty", part_size=MIN_PART_SIZE, max_bytes=1)
    with_empty = JobResult(job_id="43", success=True, outputs={"empty": tmp_path / "empty"})
    writer.write(with_empty, signer.presign_put("43.json"), outputs={"empty": empty})
    assert store.objects["results/empty"].body == b""
    listed = store.objects["results/42.json"].document["results"]["outputs"]["model.bin"]
    assert listed["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert store.uploads == 0


def test_white_space_keeps_the_completion_alive(writer: ResultsWriter) -> None:
    """Amazon S3 sends it after the status, as long as it assembles the object, and then the result or an error."""
    bodies: list[str] = []

    def respond(connection: socket.socket, number: int) -> None:
        while True:
            head, body = read_request(connection)
            if not head:
                return
            if not head.startswith(b"POST"):
                connection.sendall(answer("200 OK", 'ETag: "0123"'))
                continue
            bodies.append(body.decode())
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(1000):
                connection.sendall(b"1\r\n \r\n")
            error, result = b"<Error><Code>InternalError</Code></Error>", b"<CompleteMultipartUploadResult>"
            text = error if len(bodies) == 1 else result + b"<ETag>&quot;45-1&quot;</ETag>"
            connection.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text))

    with RawServer(respond) as server:
        base = f"{server.url}/results/42.json?"
        signed = v4(date=datetime.now(timezone.utc))
        part = f"{base}partNumber=1&uploadId=u1&{signed}"
        param = {"s3_parts": {"part_size": MIN_PART_SIZE, "urls": [part]}}
        (receipt,) = writer.write(JobResult(job_id="42", success=True, results=1), f"{base}uploadId=u1&{signed}", param)
    assert receipt.etag == "45-1"
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]
