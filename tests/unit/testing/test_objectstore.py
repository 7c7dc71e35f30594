"""The object store for tests, and the faults that it shares with the webhook receiver."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from callback_sdk import JobResult, ResultsWriter, S3Signer
from callback_sdk.documents.body import Body
from callback_sdk.documents.multipart import FormFile, encode_form
from callback_sdk.errors import ConfigurationError, DeliveryError
from callback_sdk.redaction import SecretFields
from callback_sdk.testing import Fault, Faults, ObjectStore, WebhookReceiver
from callback_sdk.testing.forms import read_form

RESULT = JobResult(job_id="42", success=True, results={"life": [7.5]})
SIGNED = "X-Amz-Signature=0"
FIELDS = {"key": "form.json", "policy": "p", "x-amz-signature": "s"}
NOTHING_DONE = [Fault.ERROR, Fault.SLOW_DOWN, Fault.THROTTLED, Fault.RESET, Fault.EARLY_RESPONSE]


@pytest.fixture
def store(callback_store: ObjectStore) -> ObjectStore:
    """Run a fresh store."""
    return callback_store


@pytest.fixture
def signer(store: ObjectStore) -> S3Signer:
    """Sign for a bucket of the store."""
    return S3Signer("results", client=store.client())


@pytest.fixture
def writer() -> ResultsWriter:
    """Write, and give up soon."""
    with ResultsWriter(timeout=timedelta(seconds=20)) as writer:
        yield writer


def _send(
    url: str, method: str = "PUT", body: bytes = b"{}", headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=60)
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def _post(store: ObjectStore, fields: Mapping[str, str], *after: bytes, file: bool = True) -> tuple[int, bytes]:
    files = [FormFile(name="file", filename="a b.json", content_type="text/x", body=Body(b"\x00\r\n1"))] if file else []
    body, content_type = encode_form(SecretFields(fields), files, boundary="line")
    whole = body.read().removesuffix(b"--line--\r\n") + b"".join(after) + b"--line--\r\n"
    status, _, said = _send(f"{store.endpoint_url}/results", "POST", whole, {"Content-Type": content_type})
    return status, said


def test_uploads_of_the_writer_are_stored(store: ObjectStore, signer: S3Signer, writer: ResultsWriter) -> None:
    """Bodies, media types and metadata are available by bucket and key, and boto3 can read them."""
    put = signer.presign_put("a/ü.json", content_type="application/json", metadata={"run": "1"})
    post = signer.presign_post("b.json", fields={"x-amz-meta-run": "2"})
    receipts = writer.write(RESULT, [put, post])
    assert sorted(store.objects) == ["results/a/ü.json", "results/b.json"]
    for key, run, receipt in (("a/ü.json", "1", receipts[0]), ("b.json", "2", receipts[1])):
        stored = store.objects[f"results/{key}"]
        assert stored.document["results"] == RESULT.results
        assert stored.metadata == {"run": run}
        assert stored.headers["content-type"] == "application/json"
        assert (stored.version, stored.etag) == (1, receipt.etag)
        assert store.client().get_object(Bucket="results", Key=key)["Body"].read() == stored.body
    with pytest.raises(ClientError, match="NoSuchKey"):
        store.client().get_object(Bucket="results", Key="c")


def test_both_manners_of_a_bucket_are_the_same(store: ObjectStore) -> None:
    """The bucket may be in the path or in the host."""
    port = urlsplit(store.endpoint_url).port
    assert _send(f"{store.endpoint_url}/results/a%20b?{SIGNED}")[0] == 200
    assert _send(f"{store.endpoint_url}/a%20b?{SIGNED}", headers={"Host": f"results.localhost:{port}"})[0] == 200
    assert store.objects["results/a b"].version == 2


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-MD5": "nonsense"}, 400, b"InvalidDigest"),
        ({"Content-MD5": base64.b64encode(b"0" * 16).decode()}, 400, b"BadDigest"),
        ({"Transfer-Encoding": "chunked"}, 411, b"MissingContentLength"),
        ({"Content-Length": str(2**40)}, 413, b"EntityTooLarge"),
    ],
)
def test_broken_puts_are_refused_as_aws_does(
    store: ObjectStore, headers: dict[str, str], status: int, code: bytes
) -> None:
    """Neither a wrong digest nor a missing length gets by."""
    got, _, body = _send(f"{store.endpoint_url}/results/k?{SIGNED}", headers=headers)
    assert got == status
    assert code in body
    assert not store.objects
    assert not store.accepted


def test_right_digest_is_taken(store: ObjectStore) -> None:
    """Content-MD5 is base64 of the body's MD5."""
    right = base64.b64encode(hashlib.md5(b"{}").digest()).decode()
    assert _send(f"{store.endpoint_url}/results/k?{SIGNED}", headers={"Content-MD5": right})[0] == 200


def test_body_that_ends_early_is_not_kept(store: ObjectStore) -> None:
    """A sender that hangs up in the middle leaves no half object."""
    with socket.create_connection(("127.0.0.1", urlsplit(store.endpoint_url).port or 0)) as sender:
        sender.sendall(f"PUT /results/k?{SIGNED} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf".encode())
    (request,) = store.wait_for(1)
    assert request.status is None
    assert not store.objects


def test_unsigned_uploads_are_refused(store: ObjectStore) -> None:
    """A URL without a signature, and a webhook to a bucket, get S3's own errors."""
    assert b"AccessDenied" in _send(f"{store.endpoint_url}/results/k")[2]
    assert b"MethodNotAllowed" in _send(f"{store.endpoint_url}/results?{SIGNED}")[2]
    assert b"MethodNotAllowed" in _send(f"{store.endpoint_url}/results/k?{SIGNED}", "DELETE")[2]
    with ResultsWriter() as writer, pytest.raises(DeliveryError, match="s3_fields"):
        writer.write(RESULT, f"{store.endpoint_url}/results")


def test_object_is_written_once_on_request(store: ObjectStore) -> None:
    """If-None-Match: * rejects the second write, by PUT and by form."""
    for status in (200, 412):
        assert _send(f"{store.endpoint_url}/results/k?{SIGNED}", headers={"If-None-Match": "*"})[0] == status
    for status in (204, 412):
        assert _post(store, FIELDS | {"If-None-Match": "*"})[0] == status
    assert {stored.version for stored in store.objects.values()} == {1}


def test_fields_after_the_file_are_ignored(store: ObjectStore) -> None:
    """As by AWS."""
    late = b'--line\r\nContent-Disposition: form-data; name="x-amz-meta-late"\r\n\r\nyes\r\n'
    assert _post(store, FIELDS, late)[0] == 204
    stored = store.objects["results/form.json"]
    assert (stored.body, stored.metadata, stored.headers["content-type"]) == (b"\x00\r\n1", {}, "text/x")


def test_broken_forms_are_refused_as_aws_does(store: ObjectStore) -> None:
    """Without policy, signature, key or file nothing is kept."""
    for missing, status, code in [
        ("policy", 403, b"AccessDenied"),
        ("x-amz-signature", 403, b"AccessDenied"),
        ("key", 400, b"InvalidArgument"),
    ]:
        got, body = _post(store, {name: value for name, value in FIELDS.items() if name != missing})
        assert got == status
        assert code in body
    assert b"exactly one file" in _post(store, FIELDS, file=False)[1]
    broken = _send(f"{store.endpoint_url}/b", "POST", b"x", {"Content-Type": "multipart/form-data; boundary=y"})
    assert b"MalformedPOSTRequest" in broken[2]
    assert not store.objects


def test_forms_are_answered_as_they_ask(store: ObjectStore) -> None:
    """success_action_status and success_action_redirect choose the answer; ${filename} is filled in."""
    for asked, status in (("200", 200), ("201", 201), ("204", 204), ("999", 204)):
        assert _post(store, FIELDS | {"success_action_status": asked})[0] == status
    assert b"<Key>form.json</Key>" in _post(store, FIELDS | {"success_action_status": "201"})[1]
    assert _post(store, FIELDS | {"success_action_redirect": "http://127.0.0.1:1/done"})[0] == 303
    assert _post(store, FIELDS | {"key": "up/${filename}"})[0] == 204
    assert "results/up/a b.json" in store.objects


def test_forms_that_are_none_are_not_read() -> None:
    """Another media type, no boundary, no end, something before the first line, a part without a name."""
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    kind = "multipart/form-data; boundary=x"
    assert read_form(kind, part + b"--x--").fields == {"a": "1"}
    assert read_form('multipart/form-data; boundary="x"', part + b"--x--\r\n").fields == {"a": "1"}
    for content_type, body in [
        ("application/json", part + b"--x--"),
        ("multipart/form-data", part + b"--x--"),
        (kind, part),
        (kind, b"junk" + part + b"--x--"),
        (kind, b"--x\r\n\r\n1\r\n--x--"),
        (kind, b""),
    ]:
        assert read_form(content_type, body) is None


@pytest.mark.parametrize("fault", NOTHING_DONE)
def test_fault_before_the_request_is_carried_out_stores_nothing(
    store: ObjectStore, signer: S3Signer, fault: Fault
) -> None:
    """The first attempt fails, and nothing is stored."""
    store.inject_fault(fault)
    with ResultsWriter(timeout=timedelta(0)) as writer, pytest.raises(DeliveryError) as caught:
        writer.write(RESULT, signer.presign_put("k"))
    assert caught.value.retryable
    assert caught.value.status == {Fault.ERROR: 500, Fault.THROTTLED: 429, Fault.RESET: None}.get(fault, 503)
    assert caught.value.retry_after == (1 if fault is Fault.THROTTLED else None)
    assert not store.objects
    (request,) = store.requests
    assert (request.fault, request.accepted) == (fault, False)


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("method", ["presign_put", "presign_post"])
def test_writer_recovers_from_each_fault(
    store: ObjectStore, signer: S3Signer, writer: ResultsWriter, fault: Fault, method: str
) -> None:
    """After any single fault, the object has the right bytes."""
    store.inject_fault(fault, delay=timedelta(milliseconds=10), retry_after=timedelta(0))
    (receipt,) = writer.write(RESULT, getattr(signer, method)("k.json"))
    stored = store.objects["results/k.json"]
    assert hashlib.sha256(stored.body).hexdigest() == receipt.sha256
    assert store.requests[0].fault is fault
    assert stored.version == (2 if fault is Fault.LOST_RESPONSE else 1)
    assert set(store.max_concurrent.values()) == {1}


def test_large_body_with_an_early_response_and_a_redirect(
    store: ObjectStore, signer: S3Signer, writer: ResultsWriter
) -> None:
    """A body that is still being sent at the response is delivered completely in the end."""
    store.inject_fault(Fault.EARLY_RESPONSE).inject_fault(Fault.REDIRECT).inject_fault(Fault.RESET)
    (receipt,) = writer.write(JobResult(job_id="1", success=True, results="x" * 8_000_000), signer.presign_put("k"))
    assert len(store.objects["results/k"].body) == receipt.size > 8_000_000
    assert store.objects["results/k"].version == 1


def test_a_lost_response_differs_from_a_failure(store: ObjectStore, signer: S3Signer) -> None:
    """The object is stored although the sender gets an error, and the request counts as accepted."""
    store.inject_fault(Fault.LOST_RESPONSE)
    with ResultsWriter(timeout=timedelta(0)) as writer, pytest.raises(DeliveryError) as caught:
        writer.write(RESULT, signer.presign_put("k"))
    assert caught.value.status is None
    assert store.objects["results/k"].document["job_id"] == "42"
    assert [request.status for request in store.accepted] == [200]


def test_answers_and_faults_come_in_the_order_given(store: ObjectStore) -> None:
    """Both are in one line, and after it all goes well."""
    store.inject_fault(Fault.ERROR).respond(204, times=2).inject_fault(Fault.SLOW_DOWN)
    assert [_send(f"{store.endpoint_url}/b/k?{SIGNED}")[0] for _ in range(5)] == [500, 204, 204, 503, 200]
    assert store.objects["b/k"].version == 1


def test_same_seed_gives_the_same_faults() -> None:
    """A run can be made again, and each kind has its share."""
    schedules = [Faults(rate=0.5, seed=seed).schedule(Fault) for seed in (7, 7, 8)]
    first, again, other = ([schedule.next().fault for _ in range(2000)] for schedule in schedules)
    assert first == again != other
    counts = Counter(first)
    assert 900 < counts.pop(None) < 1100
    assert set(counts) == set(Fault)
    assert all(80 < count < 170 for count in counts.values())


def test_faults_can_be_chosen() -> None:
    """Only the given kinds are injected, and an invalid rate is rejected."""
    schedule = Faults(rate=1, kinds=[Fault.RESET]).schedule(Fault)
    assert {schedule.next().fault for _ in range(20)} == {Fault.RESET}
    with pytest.raises(ConfigurationError, match="from 0 to 1"):
        Faults(rate=30)


def test_requests_for_one_object_at_once_are_counted(store: ObjectStore) -> None:
    """Two senders of the same thing at the same time are found out; of different things they are not."""
    store.inject_fault(Fault.SLOW, delay=timedelta(minutes=10), times=3)
    threads = [
        threading.Thread(target=_gone, args=(f"{store.endpoint_url}/b/{key}?{SIGNED}",)) for key in ("k", "k", "other")
    ]
    for thread in threads:
        thread.start()
    store.wait_for(3)
    store.close()
    for thread in threads:
        thread.join()
    assert store.max_concurrent == {"b/k": 2, "b/other": 1}


def _gone(url: str) -> None:
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        _send(url)


def test_a_closed_store_no_longer_responds(store: ObjectStore) -> None:
    """Open connections are closed too."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(store.endpoint_url).port, timeout=60)
    connection.request("GET", "/b/k")
    assert connection.getresponse().read()
    store.close()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        _again(connection)
    connection.close()


def _again(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/b/k")
    connection.getresponse()


def test_compressed_documents_are_read(store: ObjectStore) -> None:
    """An object stored with gzip is decompressed."""
    _send(f"{store.endpoint_url}/b/k?{SIGNED}", body=gzip.compress(b"[1]"), headers={"Content-Encoding": "gzip"})
    assert store.objects["b/k"].document == store.requests[0].document == [1]


def test_credentials_are_not_shown(store: ObjectStore, signer: S3Signer, writer: ResultsWriter) -> None:
    """Neither a request's repr nor an object's has a signature."""
    writer.write(RESULT, signer.presign_put("k"))
    assert "Signature" not in repr(store.requests)
    assert "/results/k?***" in repr(store.requests)
    assert "42" not in repr(store.objects)


def test_an_unavailable_upstream_is_a_bad_gateway() -> None:
    """The sender gets a response that it may retry."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with ObjectStore(upstream=f"http://127.0.0.1:{closed.getsockname()[1]}") as store:
            assert _send(f"{store.endpoint_url}/b/k?{SIGNED}")[0] == 502


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.REDIRECT])
def test_webhooks_recover_from_each_fault(webhook: WebhookReceiver, writer: ResultsWriter, fault: Fault) -> None:
    """All attempts of a delivery have the same id, and one of them is accepted."""
    webhook.inject_fault(fault, delay=timedelta(milliseconds=10), retry_after=timedelta(0))
    writer.write(RESULT, webhook.url)
    assert len({request.delivery_id for request in webhook.requests}) == 1
    assert webhook.accepted[-1].document["job_id"] == "42"
    assert len(webhook.accepted) == (2 if fault is Fault.LOST_RESPONSE else 1)


def test_redirected_webhook_has_failed(webhook: WebhookReceiver, writer: ResultsWriter) -> None:
    """Redirects are not among the random faults of a webhook receiver, because senders don't follow them."""
    webhook.inject_fault(Fault.REDIRECT)
    with pytest.raises(DeliveryError, match="Redirects aren't followed"):
        writer.write(RESULT, webhook.url)
    assert Fault.REDIRECT not in WebhookReceiver.default_faults


MIB = 1024**2


def test_multipart_uploads_have_the_rules_of_s3() -> None:
    """The object is there with the completion; ETag, order and sizes are those of Amazon S3."""
    with ObjectStore() as store:
        client = store.client()
        place = {"Bucket": "results", "Key": "runs/ü 42"}
        upload = {**place, "UploadId": client.create_multipart_upload(**place, Metadata={"run": "42"})["UploadId"]}
        bodies = [b"a" * 5 * MIB, b"b"]
        parts = [
            {"PartNumber": number, "ETag": client.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
            for number, body in enumerate(bodies, 1)
        ]
        assert (store.uploads, dict(store.objects)) == (1, {})
        assert client.list_multipart_uploads(Bucket="results")["Uploads"][0]["Key"] == place["Key"]
        for listed, code in [
            (parts[::-1], "InvalidPartOrder"),
            ([{"PartNumber": 1, "ETag": '"0"'}], "InvalidPart"),
            ([{"PartNumber": 3, "ETag": parts[0]["ETag"]}], "InvalidPart"),
        ]:
            with pytest.raises(ClientError, match=code):
                client.complete_multipart_upload(**upload, MultipartUpload={"Parts": listed})
        done = client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        digests = b"".join(hashlib.md5(body).digest() for body in bodies)
        assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-2"'
        stored = store.objects["results/runs/ü 42"]
        assert (stored.body, stored.metadata, store.uploads) == (b"".join(bodies), {"run": "42"}, 0)
        with pytest.raises(ClientError, match="NoSuchUpload"):
            client.upload_part(**upload, PartNumber=1, Body=b"a")


def test_multipart_uploads_of_small_parts_are_refused_and_can_be_aborted() -> None:
    """Only the last part may have less than 5 MiB; no part is left after the abortion."""
    with ObjectStore() as store:
        client = store.client()
        place = {"Bucket": "results", "Key": "42"}
        upload = {**place, "UploadId": client.create_multipart_upload(**place)["UploadId"]}
        parts = [
            {"PartNumber": number, "ETag": client.upload_part(**upload, PartNumber=number, Body=b"a")["ETag"]}
            for number in (1, 2)
        ]
        with pytest.raises(ClientError, match="EntityTooSmall"):
            client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        client.abort_multipart_upload(**upload)
        assert (store.uploads, dict(store.objects)) == (0, {})
        with pytest.raises(ClientError, match="NoSuchUpload"):
            client.abort_multipart_upload(**upload)
