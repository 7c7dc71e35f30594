"""Presigned multipart uploads: equal to botocore's, within the limits of S3."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from callback_sdk import S3Signer
from callback_sdk.errors import SigningError
from callback_sdk.targets import check_target
from callback_sdk.testing import ObjectStore
from tests.clocks import clock

MIB = 1024**2
DAY = timedelta(days=1)


def client(token: str | None = None, **options: Any) -> Any:
    return boto3.client(
        "s3",
        region_name="eu-central-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        aws_session_token=token,
        config=Config(signature_version="s3v4"),
        **options,
    )


@pytest.fixture
def store() -> Any:
    with ObjectStore() as store:
        yield store


def test_urls_are_equal_to_those_of_botocore(store: ObjectStore) -> None:
    """Parts, completion, abortion and object, with a session token and an awkward key."""
    own = client("token/+=", endpoint_url=store.endpoint_url)
    key, signer = "runs/ü 42 (1).json", S3Signer("results", client=own)
    with clock(signer, datetime(2026, 1, 1, 12, tzinfo=timezone.utc)):
        target = signer.presign_multipart(key, part_size=5 * MIB, max_bytes=11 * MIB)
        upload_id = parse_qs(urlsplit(target.url).query)["uploadId"][0]
        place = {"Bucket": "results", "Key": key}
        upload = {**place, "UploadId": upload_id}
        assert target.url == own.generate_presigned_url("complete_multipart_upload", upload, 3600)
        assert target.callback_param["s3_parts"] == {
            "part_size": 5 * MIB,
            "urls": [
                own.generate_presigned_url("upload_part", {**place, "PartNumber": number, "UploadId": upload_id}, 3600)
                for number in (1, 2, 3)
            ],
            "abort": own.generate_presigned_url("abort_multipart_upload", upload, 3600 + 86400),
            "head": own.generate_presigned_url("head_object", place, 3600 + 86400),
        }


def test_the_upload_is_started_with_everything_of_the_object(store: ObjectStore) -> None:
    """Content-Type, ACL, metadata and further arguments are those of CreateMultipartUpload, and no URL signs them."""
    target = S3Signer("results", client=store.client()).presign_multipart(
        "42.json",
        max_bytes=MIB,
        content_type="application/json",
        acl="bucket-owner-full-control",
        metadata={"run": "42"},
        create={"Tagging": "run=42", "StorageClass": "STANDARD_IA", "ServerSideEncryption": "aws:kms"},
    )
    (request,) = store.requests
    assert (request.method, request.path) == ("POST", "/results/42.json?uploads")
    assert {
        "content-type": "application/json",
        "x-amz-acl": "bucket-owner-full-control",
        "x-amz-meta-run": "42",
        "x-amz-tagging": "run=42",
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-server-side-encryption": "aws:kms",
    }.items() <= request.headers.items()
    assert "x-amz-checksum-algorithm" not in request.headers
    assert list(target.callback_param) == ["s3_parts"]
    assert (target.part_size, target.max_bytes) == (64 * MIB, 64 * MIB)


def test_headers_of_every_request_are_signed_and_given(store: ObjectStore) -> None:
    """The payer's on each, `If-None-Match` on the completion."""
    target = S3Signer("results", client=store.client()).presign_multipart(
        "42.json", max_bytes=MIB, if_none_match=True, create={"RequestPayer": "requester"}
    )
    param = target.callback_param
    assert param["s3_headers"] == {"if-none-match": "*", "x-amz-request-payer": "requester"}
    signed = [
        parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0] for url in (target.url, *param["s3_parts"]["urls"])
    ]
    assert signed == ["host;if-none-match;x-amz-request-payer", "host;x-amz-request-payer"]
    assert check_target(target).kind == "s3-multipart"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"max_bytes": 0}, "max_bytes is 0"),
        ({"max_bytes": True}, "max_bytes is True"),
        ({"max_bytes": 5 * 1024**4 + 1}, "max_bytes"),
        ({"part_size": 5 * MIB - 1}, "5 MiB"),
        ({"part_size": 5 * 1024**3 + 1}, "part_size"),
        ({"part_size": 5 * MIB, "max_bytes": 10_000 * 5 * MIB + 1}, "10001 parts"),
        ({"expires": timedelta(days=8)}, "7 days"),
        ({"key": ""}, "0 bytes"),
        ({"metadata": {"a": "ü"}}, "printable ASCII"),
        ({"create": []}, "list"),
        ({"create": {"Key": "a"}}, "Key"),
        ({"create": {"ChecksumAlgorithm": "CRC32"}}, "checksum"),
        ({"create": {"SSECustomerKey": "a"}}, "key"),
    ],
)
def test_invalid_arguments_start_no_upload(store: ObjectStore, arguments: dict[str, Any], text: str) -> None:
    """Nothing is left in the bucket."""
    signer = S3Signer("results", client=store.client())
    with pytest.raises(SigningError, match=text):
        signer.presign_multipart(**{"key": "42.json", "max_bytes": 100 * MIB, **arguments})
    assert store.requests == ()


def test_the_abortion_outlives_the_others_within_seven_days(store: ObjectStore) -> None:
    """And not the credentials."""
    signer = S3Signer("results", client=store.client())
    for expires, more in ((timedelta(hours=1), DAY), (timedelta(days=6, hours=12), timedelta(hours=12))):
        target = signer.presign_multipart("42", max_bytes=MIB, expires=expires)
        abort = parse_qs(urlsplit(target.callback_param["s3_parts"]["abort"]).query)["X-Amz-Expires"][0]
        assert timedelta(seconds=int(abort)) == expires + more
    from callback_sdk.signer.multiparts import longer

    context = signer._context(3600, signer._clock())
    end = context.expires_at + timedelta(minutes=3)
    assert (longer(context, end).seconds, longer(context, end).expires_at) == (3780, end)
    assert longer(context, context.expires_at - DAY) == context


def test_an_upload_that_is_not_used_can_be_aborted(store: ObjectStore) -> None:
    """Also twice."""
    signer = S3Signer("results", client=store.client())
    target = signer.presign_multipart("runs/ü 42.json", max_bytes=MIB)
    assert store.uploads == 1
    signer.abort_multipart(target)
    signer.abort_multipart(target)
    assert store.uploads == 0
    with pytest.raises(SigningError, match="not in the bucket"):
        S3Signer("other", client=store.client()).abort_multipart(target)
    with pytest.raises(SigningError, match="of type str"):
        signer.abort_multipart(target.url)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "CreateMultipartUpload"), "s3:PutObject"),
        (ClientError({"Error": {"Code": "NoSuchBucket", "Message": "no"}}, "CreateMultipartUpload"), "bucket's name"),
        (
            EndpointConnectionError(endpoint_url="https://u:pMARKER@h.example/?X-Amz-Signature=MARKER"),
            "can't be started",
        ),
        (RuntimeError("secret MARKER"), "RuntimeError"),
    ],
)
def test_a_store_that_refuses_is_a_signing_error(error: Exception, text: str, monkeypatch: Any) -> None:
    """With what to do, and without credentials."""
    own = client()
    signer = S3Signer("results", client=own)

    def refuse(**_: Any) -> None:
        raise error

    monkeypatch.setattr(own, "create_multipart_upload", refuse)
    with pytest.raises(SigningError, match=text) as caught:
        signer.presign_multipart("42", max_bytes=MIB)
    assert "MARKER" not in f"{caught.value}{caught.value.__cause__!r}"


def test_a_response_without_an_id_is_a_signing_error(store: ObjectStore) -> None:
    """A captive portal answers 200 to anything."""
    store.respond(200, body=b'<?xml version="1.0"?>\n<InitiateMultipartUploadResult/>')
    with pytest.raises(SigningError, match="no id"):
        S3Signer("results", client=store.client()).presign_multipart("42", max_bytes=MIB)


def test_no_credential_is_shown(store: ObjectStore) -> None:
    """The repr has sizes and the end of the lifetime."""
    target = S3Signer("results", client=store.client()).presign_multipart("42", max_bytes=MIB)
    shown = repr(target)
    secrets = [part for url in target.callback_param["s3_parts"]["urls"] for part in urlsplit(url).query.split("&")]
    assert not any(part.partition("=")[2] in shown for part in secrets if len(part) > 30)
    assert "max_bytes=67108864" in shown
    assert target.expires_at > datetime.now(timezone.utc)
