"""ResultsWriter against a store that checks signatures, and a webhook."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import HealthCheck, given, settings

from callback_sdk import JobResult, ResultsWriter, S3Signer
from callback_sdk.errors import (
    CallbackParamError,
    ConfigurationError,
    DeliveryError,
    EncodingError,
    InvalidS3FieldsError,
    InvalidTargetError,
    MissingS3FieldsError,
    MultipleDeliveryErrors,
    ResultTooLargeError,
    SignedHeaderError,
    TargetError,
    TargetExpiredError,
)
from callback_sdk.testing import SeaweedFS, WebhookReceiver
from tests.property.strategies import json_values
from tests.rawserver import RawServer, answer, read_request
from tests.signedurls import v4

RESULT = JobResult(job_id="42", success=True, results={"predictions": {"life": [7.5]}, "evaluations": None})
MEMBERS = ["job_id", "status", "callback_param", "success", "results"]


@pytest.fixture
def writer(seaweedfs: SeaweedFS) -> ResultsWriter:
    """Write to the store of the tests, which is known as one."""
    with ResultsWriter(storage_endpoints=[seaweedfs.endpoint_url], timeout=timedelta(seconds=10)) as writer:
        yield writer


@pytest.fixture
def signer(seaweedfs: SeaweedFS, bucket: str) -> S3Signer:
    """Sign for a fresh bucket."""
    return S3Signer(bucket, client=seaweedfs.client())


@pytest.fixture
def stored(seaweedfs: SeaweedFS, bucket: str) -> Any:
    """Read an object of the bucket back."""

    def read(key: str) -> Any:
        return json.loads(seaweedfs.client().get_object(Bucket=bucket, Key=key)["Body"].read())

    return read


@pytest.fixture
def nothing_sent(seaweedfs: SeaweedFS, bucket: str, webhook: WebhookReceiver) -> Any:
    """Check afterwards that neither the bucket nor the webhook received anything."""
    yield
    assert seaweedfs.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert not webhook.requests


def test_each_target_gets_the_document_by_its_own_method(
    writer: ResultsWriter, signer: S3Signer, stored: Any, webhook: WebhookReceiver
) -> None:
    """PUT, POST and webhook at once, each with its own callback_param and without any credential."""
    put = signer.presign_put("put.json", content_type="application/json", metadata={"run": "1"}, if_none_match=True)
    post = signer.presign_post("post.json", fields={"acl": "bucket-owner-full-control", "x-amz-meta-run": "2"})
    receipts = writer.write(RESULT, [put, post, webhook.url], [{"n": 1}, {"n": 2}, {"n": 3}])
    documents = [stored("put.json"), stored("post.json"), json.loads(webhook.requests[0].body)]
    for number, document in enumerate(documents, 1):
        assert list(document) == MEMBERS
        assert document["callback_param"] == {"n": number}
        assert document["results"] == RESULT.results
    assert [receipt.target_kind for receipt in receipts] == ["s3-put", "s3-post", "webhook"]
    assert [receipt.status for receipt in receipts] == [200, 204, 200]
    assert all(receipt.attempts == 1 and receipt.size and receipt.sha256 for receipt in receipts)
    assert receipts[0].etag
    assert receipts[0].started_at <= receipts[0].finished_at <= datetime.now(timezone.utc)


def test_seeds_own_forms_work_unchanged(
    writer: ResultsWriter, seaweedfs: SeaweedFS, bucket: str, stored: Any, webhook: WebhookReceiver
) -> None:
    """boto3's own URL, boto3's own form, singular and listed parameters."""
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=seaweedfs.endpoint_url,
        aws_access_key_id=seaweedfs.access_key,
        aws_secret_access_key=seaweedfs.secret_key,
        config=Config(signature_version="s3v4"),
    )
    url = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a.json"}, ExpiresIn=60)
    writer.write(RESULT, url)
    fields = {"ACL": "bucket-owner-full-control", "x-amz-meta-a-key": "a-value"}
    form = client.generate_presigned_post(
        bucket, "b.json", Fields=fields, Conditions=[{k: v} for k, v in fields.items()]
    )
    writer.write(RESULT, form["url"], {"s3_fields": form["fields"]})
    writer.write(RESULT, [form["url"], webhook.url], [{"s3_fields": form["fields"]}, {}])
    assert stored("a.json") == stored("b.json") == json.loads(webhook.requests[0].body)


def test_url_with_signature_version_2_works(
    writer: ResultsWriter, seaweedfs: SeaweedFS, bucket: str, stored: Any
) -> None:
    """boto3 presigns with it by default in some regions."""
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=seaweedfs.endpoint_url,
        aws_access_key_id=seaweedfs.access_key,
        aws_secret_access_key=seaweedfs.secret_key,
        config=Config(signature_version="s3"),
    )
    url = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "v2.json"}, ExpiresIn=60)
    assert "AWSAccessKeyId=" in url
    assert writer.write(RESULT, url)[0].target_kind == "s3-put-v2"
    assert stored("v2.json")["job_id"] == "42"


def test_failed_and_canceled_jobs_are_delivered(writer: ResultsWriter, webhook: WebhookReceiver) -> None:
    """So receivers don't wait in vain."""
    writer.write(JobResult(job_id="1", success=False, error="no convergence"), webhook.url)
    writer.write(JobResult(job_id="2", success=False, status="Canceled", error="by its owner"), webhook.url)
    failed, canceled = (json.loads(request.body) for request in webhook.requests)
    assert (failed["success"], failed["results"], failed["error"]) == (False, None, "no convergence")
    assert canceled["status"] == "Canceled"


def test_file_of_results_is_written_by_put_and_post(
    writer: ResultsWriter, signer: S3Signer, stored: Any, tmp_path: Path
) -> None:
    """A path goes into both documents."""
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"predictions": list(range(200_000))}))
    writer.write(JobResult(job_id="1", success=True, results=path), [signer.presign_put("a"), signer.presign_post("b")])
    assert stored("a") == stored("b")
    assert stored("a")["results"]["predictions"][-1] == 199_999


def test_same_document_has_the_same_webhook_id(writer: ResultsWriter, webhook: WebhookReceiver) -> None:
    """A worker that writes again after a crash doesn't look like a second result."""
    for _ in range(2):
        writer.write(RESULT, webhook.url)
    first, second = (request.headers["webhook-id"] for request in webhook.requests)
    assert first == second


def test_nulled_numbers_stand_in_the_receipt(writer: ResultsWriter, webhook: WebhookReceiver) -> None:
    """NaN becomes null, and the receipt counts it."""
    receipts = writer.write(JobResult(job_id="1", success=True, results=[float("nan"), 1.0]), webhook.url)
    assert receipts[0].nulls_written == 1


def test_store_that_fails_for_a_while_gets_its_result(writer: ResultsWriter) -> None:
    """Resets, 503 and 429 with Retry-After are tried again with the same bytes."""
    seen: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        _, body = read_request(connection)
        seen.append(body)
        if number == 0:
            return
        if number < 3:
            connection.sendall(answer("503 Busy" if number == 1 else "429 Slow", "Retry-After: 0", "Connection: close"))
            return
        connection.sendall(answer("200 OK"))

    with RawServer(script) as server:
        receipts = writer.write(RESULT, f"{server.url}/hook")
    assert receipts[0].attempts == 4
    assert len(set(seen)) == 1


def test_longer_retry_after_than_the_deadline_ends_at_once(writer: ResultsWriter) -> None:
    """Waiting would be pointless."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("503 Busy", "Retry-After: 600"))

    with RawServer(script) as server, pytest.raises(DeliveryError, match="503") as caught:
        writer.write(RESULT, f"{server.url}/hook")
    assert (caught.value.retryable, caught.value.retry_after, caught.value.attempts) == (True, 600, 1)


def test_bad_target_holds_up_no_other(
    writer: ResultsWriter, signer: S3Signer, stored: Any, webhook: WebhookReceiver
) -> None:
    """The others have theirs, and the error has their receipts."""
    signer._clock = lambda: time.time() - 7200
    expired = signer.presign_put("late.json", expires=timedelta(hours=1))
    signer._clock = time.time
    with pytest.raises(TargetExpiredError) as caught:
        writer.write(RESULT, [expired, signer.presign_put("good.json"), webhook.url])
    assert [receipt.target_kind for receipt in caught.value.receipts] == ["s3-put", "webhook"]
    assert stored("good.json")["job_id"] == "42"
    with pytest.raises(MultipleDeliveryErrors) as several:
        writer.write(RESULT, [expired, signer.presign_put("again.json"), signer.presign_put("x").url[:-64] + "0" * 64])
    assert [type(error) for error in several.value.errors] == [TargetExpiredError, DeliveryError]
    assert len(several.value.receipts) == 1


def test_tampered_url_is_an_error_with_a_hint(writer: ResultsWriter, signer: S3Signer) -> None:
    """It has the store's code and a hint."""
    url = signer.presign_put("mine.json").url.replace("mine.json", "yours.json")
    with pytest.raises(DeliveryError, match="changed after signing") as caught:
        writer.write(RESULT, url)
    error = caught.value
    assert (error.status, error.code, error.retryable) == (403, "SignatureDoesNotMatch", False)


def test_damaged_body_is_rejected_by_the_store(signer: S3Signer) -> None:
    """By Content-MD5; a further attempt may succeed."""
    import base64

    wrong = base64.b64encode(b"0" * 16).decode()
    from callback_sdk.documents.body import Body

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Body, "content_md5", wrong)
        with ResultsWriter(timeout=timedelta(0)) as writer, pytest.raises(DeliveryError) as caught:
            writer.write(RESULT, signer.presign_put("damaged.json"))
    assert (caught.value.code, caught.value.retryable) == ("BadDigest", True)


def test_unknown_store_without_fields_gets_the_same_hint(signer: S3Signer) -> None:
    """A host that isn't configured responds to a webhook with an S3 error."""
    with ResultsWriter() as writer, pytest.raises(DeliveryError, match="s3_fields"):
        writer.write(RESULT, signer.presign_post("k").url + "/k")


@pytest.mark.usefixtures("nothing_sent")
def test_bad_callbacks_send_nothing(writer: ResultsWriter, signer: S3Signer, webhook: WebhookReceiver) -> None:
    """Each mistake is its own error, and no request is made."""
    post = signer.presign_post("k")
    signer._clock = lambda: time.time() - 7200
    late_put, late_post = signer.presign_put("k"), signer.presign_post("k")
    for url, param, error in [
        (post.url, None, MissingS3FieldsError),
        (post.url, {}, MissingS3FieldsError),
        (post.url, {"s3_fields": {}}, MissingS3FieldsError),
        (post.url, {"s3_fields": "x"}, MissingS3FieldsError),
        (post.url, {"s3_fields": {"acl": "private"}}, InvalidS3FieldsError),
        (late_put.url, post.callback_param, InvalidS3FieldsError),
        (late_put, None, TargetExpiredError),
        (late_post, None, TargetExpiredError),
        ("ftp://example.org/x", None, InvalidTargetError),
        ([webhook.url, webhook.url], [{}], CallbackParamError),
    ]:
        with pytest.raises(error):
            writer.write(RESULT, url, param)


@pytest.mark.usefixtures("nothing_sent")
def test_result_that_cannot_be_encoded_sends_nothing(
    writer: ResultsWriter, signer: S3Signer, webhook: WebhookReceiver
) -> None:
    """The error names the path to it."""
    result = JobResult(job_id="1", success=True, results={"predictions": [{"when": object()}]})
    with pytest.raises(EncodingError, match=r"results\.predictions\[0\]\.when"):
        writer.write(result, [webhook.url, signer.presign_put("k")])


@pytest.mark.parametrize(
    ("results", "param", "path"),
    [
        ({1: "a", "1": "b"}, {}, "results"),
        ({"a": {True: 1, "true": 2}}, {}, "results.a"),
        (1.5, {"limits": [0, float("inf")]}, "callback_param.limits[1]"),
    ],
)
def test_results_that_would_arrive_changed_are_not_sent(results: Any, param: dict[str, Any], path: str) -> None:
    """Keys that encode to the same string, and nulls that no receipt would count, are errors before any connection."""
    with WebhookReceiver() as webhook, ResultsWriter() as writer:
        with pytest.raises(EncodingError) as caught:
            writer.write(JobResult(job_id="42", success=True, results=results), webhook.url, param)
        assert not webhook.requests
    assert caught.value.path == path


@pytest.mark.parametrize("url", [None, [], (), "", {}])
def test_write_without_a_target_is_an_error(writer: ResultsWriter, url: Any) -> None:
    """A worker that lost its callback URL doesn't get an empty list that looks like success."""
    with pytest.raises(TargetError):
        writer.write(RESULT, url)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(results=json_values, param=json_values.filter(lambda value: isinstance(value, dict)))
def test_any_result_round_trips_through_every_target(
    writer: ResultsWriter, signer: S3Signer, stored: Any, webhook: WebhookReceiver, results: Any, param: Any
) -> None:
    """The stored object and the webhook equal the job's results."""
    param = {name: value for name, value in param.items() if name not in ("s3_fields", "s3_headers")}
    result = JobResult(job_id="1", success=True, results=results)
    writer.write(result, [signer.presign_put("k-put"), signer.presign_post("k-post"), webhook.url], param)
    for document in (stored("k-put"), stored("k-post"), json.loads(webhook.requests[-1].body)):
        assert document["results"] == results
        assert document["callback_param"] == param


def test_documents_are_compressed_where_the_signature_allows_it(
    signer: S3Signer, seaweedfs: SeaweedFS, bucket: str, webhook: WebhookReceiver
) -> None:
    """A PUT is stored as gzip, a form and a webhook are not compressed, and receipts have the stored size."""
    result = JobResult(job_id="1", success=True, results=["the same again"] * 10_000)
    with ResultsWriter(compress="gzip") as writer:
        put, post, hook = writer.write(
            result, [signer.presign_put("put.json"), signer.presign_post("post.json"), webhook.url]
        )
    stored = seaweedfs.client().get_object(Bucket=bucket, Key="put.json")
    assert stored["ContentEncoding"] == "gzip"
    document = gzip.decompress(stored["Body"].read())
    assert document == seaweedfs.client().get_object(Bucket=bucket, Key="post.json")["Body"].read()
    assert document == webhook.requests[0].body
    assert put.size == stored["ContentLength"] < len(document) == post.size == hook.size


def test_form_that_was_signed_with_gzip_is_compressed(
    writer: ResultsWriter, signer: S3Signer, seaweedfs: SeaweedFS, bucket: str
) -> None:
    """The form field determines the encoding, regardless of the writer's setting."""
    writer.write(RESULT, signer.presign_post("zipped.json", fields={"Content-Encoding": "gzip"}))
    stored = seaweedfs.client().get_object(Bucket=bucket, Key="zipped.json")
    assert stored["ContentEncoding"] == "gzip"
    assert json.loads(gzip.decompress(stored["Body"].read()))["job_id"] == "42"


def test_same_result_is_compressed_to_the_same_bytes(signer: S3Signer) -> None:
    """So a repeated delivery writes the same object."""
    with ResultsWriter(compress="gzip") as writer:
        first, second = (writer.write(RESULT, signer.presign_put(key))[0] for key in ("a", "b"))
    assert first.sha256 == second.sha256


def test_other_encoding_is_rejected(writer: ResultsWriter, signer: S3Signer) -> None:
    """A form signed with brotli can't be satisfied."""
    with pytest.raises(SignedHeaderError, match="'br'"):
        writer.write(RESULT, signer.presign_post("x", fields={"Content-Encoding": "br"}))
    with pytest.raises(ConfigurationError, match="zstd"):
        ResultsWriter(compress="zstd")


def test_webhook_with_a_size_limit_receives_the_results_url(
    signer: S3Signer, stored: Any, webhook: WebhookReceiver
) -> None:
    """The document has `results_url`, without a signature, instead of the results."""
    result = JobResult(job_id="1", success=True, results=["x" * 100] * 20)
    with ResultsWriter(max_webhook_bytes=1000) as writer:
        for target, key in [
            (signer.presign_put("a/ü.json"), "a/%C3%BC.json"),
            (signer.presign_post("b.json"), "b.json"),
        ]:
            writer.write(result, [webhook.url, target], [{"n": 1}, {}])
            document = json.loads(webhook.requests[-1].body)
            assert list(document) == ["job_id", "status", "callback_param", "success", "results_url"]
            assert document["results_url"] == f"{signer.presign_post('x').url}/{key}"
            assert document["callback_param"] == {"n": 1}
    assert stored("b.json")["results"] == result.results


def test_webhook_limit_without_an_object_store_is_an_error(webhook: WebhookReceiver) -> None:
    """The limit is 256 KiB by default, and the error has a hint."""
    result = JobResult(job_id="1", success=True, results="x" * 300_000)
    with ResultsWriter() as writer, pytest.raises(ResultTooLargeError, match="another target"):
        writer.write(result, webhook.url)
    assert not webhook.requests
    with ResultsWriter(max_webhook_bytes=400_000) as writer:
        writer.write(result, webhook.url)
    assert len(webhook.requests) == 1


def test_object_of_an_earlier_attempt_counts_as_delivered(writer: ResultsWriter) -> None:
    """A 412 with the ETag of the same bytes means that the response of an earlier attempt was lost."""
    bodies: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        bodies.append(read_request(connection)[1])
        if number:
            tag = hashlib.md5(bodies[0], usedforsecurity=False).hexdigest()
            connection.sendall(answer("412 Precondition Failed", f'ETag: "{tag}"'))

    with RawServer(script) as server:
        query = v4(date=datetime.now(timezone.utc), signed="host;if-none-match")
        (receipt,) = writer.write(RESULT, f"{server.url}/b/k?{query}")
    assert (receipt.status, receipt.attempts) == (412, 2)


def test_existing_object_with_other_content_is_an_error(writer: ResultsWriter, signer: S3Signer) -> None:
    """The object isn't overwritten, and the error has a hint."""
    once = signer.presign_put("once.json", if_none_match=True)
    writer.write(RESULT, once)
    with pytest.raises(DeliveryError, match="compare its ETag with the MD5") as caught:
        writer.write(JobResult(job_id="43", success=True, results=1), once)
    assert (caught.value.status, caught.value.retryable) == (412, False)


def test_redirect_after_a_form_counts_only_when_it_was_asked_for(writer: ResultsWriter, signer: S3Signer) -> None:
    """303 is the answer to success_action_redirect, and it isn't followed."""
    asked = signer.presign_post("a", fields={"success_action_redirect": "https://example.org/thanks"})
    assert writer.write(RESULT, asked)[0].status == 303

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("303 See Other", "Location: https://example.org/"))

    fields = signer.presign_post("b").fields
    with RawServer(script) as server, pytest.raises(DeliveryError, match="303"):
        writer.write(RESULT, server.url, {"s3_fields": fields})


def test_what_may_go_wrong_with_a_target_is_logged(writer: ResultsWriter, caplog: pytest.LogCaptureFixture) -> None:
    """If the store rejects it, the log has the reason."""
    with RawServer(
        lambda connection, number: read_request(connection) and connection.sendall(answer("200 OK"))
    ) as server:
        writer.write(RESULT, f"{server.url}/b/k?{v4(date=datetime.now(timezone.utc), expires=30 * 86400)}")
    assert f"{server.url}/b/k?***: The URL is signed for 30 days" in caplog.text
