"""S3Signer against a store that verifies signatures."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import requests

from callback_sdk import PresignedPost, PresignedPut, S3Signer
from callback_sdk.testing import SeaweedFS

BODY = b'{"job_id": "42"}'
FIELDS = {"acl": "bucket-owner-full-control", "x-amz-meta-run": "43", "Content-Type": "application/json"}


@pytest.fixture
def signer(seaweedfs: SeaweedFS, bucket: str) -> S3Signer:
    """Sign for a fresh bucket."""
    return S3Signer(bucket, client=seaweedfs.client())


def in_the_past(signer: S3Signer) -> None:
    signer._clock = lambda: time.time() - 7200


def put(target: PresignedPut, *, url: str | None = None, headers: dict[str, str] | None = None) -> requests.Response:
    return requests.put(url or target.url, BODY, headers=target.headers if headers is None else headers, timeout=30)


def post(target: PresignedPost, fields: dict[str, str] | None = None, body: bytes = BODY) -> requests.Response:
    return requests.post(target.url, data=fields or target.fields, files={"file": body}, timeout=30)


def other_end(text: str) -> str:
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def code(answer: requests.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


@pytest.mark.parametrize(
    "key", ["plain.json", "a b/ü~+?&=#%.json", "日本/😀.json", "a//b", "${x}'\"<>.json", "x" * 250]
)
def test_store_takes_a_put_to_any_key(signer: S3Signer, seaweedfs: SeaweedFS, key: str) -> None:
    """A signed PUT with all its headers arrives under exactly its key."""
    target = signer.presign_put(key, content_type="application/json", acl="private", metadata={"Run": "4  2"})
    assert put(target).status_code == 200
    stored = seaweedfs.client().get_object(Bucket=signer.bucket, Key=key)
    assert stored["Body"].read() == BODY
    assert stored["ContentType"] == "application/json"
    assert stored["Metadata"]["run"].split() == ["4", "2"]


def test_store_rejects_a_tampered_put(signer: S3Signer) -> None:
    """Another key, expiry or signature is rejected."""
    target = signer.presign_put("mine.json", expires=timedelta(seconds=600))
    for wrong in [
        target.url.replace("mine.json", "yours.json"),
        target.url.replace("X-Amz-Expires=600", "X-Amz-Expires=6000"),
        other_end(target.url),
    ]:
        answer = put(target, url=wrong)
        assert (answer.status_code, code(answer)) == (403, "SignatureDoesNotMatch")


def test_store_rejects_an_expired_put(signer: S3Signer) -> None:
    """An expired URL permits nothing."""
    in_the_past(signer)
    answer = put(signer.presign_put("late.json", expires=timedelta(hours=1)))
    assert (answer.status_code, code(answer)) == (403, "AccessDenied")


@pytest.mark.parametrize(
    "change", [{"content-type": "text/plain"}, {"x-amz-meta-run": "43"}, {"x-amz-acl": "public-read"}]
)
def test_store_refuses_a_put_with_other_headers(signer: S3Signer, change: dict[str, str]) -> None:
    """A signed header counts with its value."""
    target = signer.presign_put("h.json", content_type="application/json", acl="private", metadata={"run": "42"})
    answer = put(target, headers={**target.headers, **change})
    assert (answer.status_code, code(answer)) == (403, "SignatureDoesNotMatch")
    missing = {name: value for name, value in target.headers.items() if name not in change}
    assert put(target, headers=missing).status_code == 403


def test_store_writes_once_on_request(signer: S3Signer) -> None:
    """If-None-Match protects existing objects."""
    target = signer.presign_put("once.json", if_none_match=True)
    assert put(target).status_code == 200
    answer = put(target)
    assert (answer.status_code, code(answer)) == (412, "PreconditionFailed")


def test_store_takes_a_post_with_its_fields(signer: S3Signer, seaweedfs: SeaweedFS) -> None:
    """A signed form arrives with its ACL, its metadata and its type."""
    assert post(signer.presign_post("p.json", fields=FIELDS, max_bytes=1000)).status_code == 204
    stored = seaweedfs.client().get_object(Bucket=signer.bucket, Key="p.json")
    assert stored["Body"].read() == BODY
    assert stored["Metadata"] == {"run": "43"}


@pytest.mark.parametrize(
    "name", ["key", "acl", "x-amz-meta-run", "Content-Type", "x-amz-date", "policy", "x-amz-signature"]
)
def test_store_refuses_a_tampered_post(signer: S3Signer, name: str) -> None:
    """No field of a form can be changed after it was signed."""
    target = signer.presign_post("p.json", fields=FIELDS)
    fields = {**target.fields, name: other_end(target.fields[name])}
    assert post(target, fields).status_code in (400, 403)


def test_store_rejects_an_expired_post(signer: S3Signer) -> None:
    """An expired policy permits nothing."""
    in_the_past(signer)
    answer = post(signer.presign_post("late.json", expires=timedelta(hours=1)))
    assert (answer.status_code, code(answer)) == (403, "AccessDenied")


def test_store_refuses_a_post_that_is_too_big(signer: S3Signer) -> None:
    """max_bytes holds."""
    answer = post(signer.presign_post("big.json", max_bytes=10), body=b"x" * 11)
    assert code(answer) == "EntityTooLarge"


def test_store_takes_a_post_with_a_file_name_as_key(signer: S3Signer, seaweedfs: SeaweedFS) -> None:
    """${filename} at the key's end becomes the name of the file."""
    target = signer.presign_post("runs/${filename}")
    answer = requests.post(target.url, data=target.fields, files={"file": ("7.json", BODY)}, timeout=30)
    assert answer.status_code == 204
    assert seaweedfs.client().head_object(Bucket=signer.bucket, Key="runs/7.json")["ContentLength"] == len(BODY)


def test_client_for_signature_version_2_still_signs_with_version_4(
    seaweedfs: SeaweedFS, bucket: str, clients: Callable[..., object]
) -> None:
    """The endpoint and the credentials of the client are used, but not its signature version."""
    target = S3Signer(bucket, client=clients(signature_version="s3")).presign_put("v4.json")
    assert "X-Amz-Signature=" in target.url
    assert put(target).status_code == 200


@pytest.fixture
def clients(seaweedfs: SeaweedFS) -> Callable[..., object]:
    """Return clients of the store with different configurations."""
    import boto3
    from botocore.config import Config

    def make(**config: str) -> object:
        return boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=seaweedfs.endpoint_url,
            aws_access_key_id=seaweedfs.access_key,
            aws_secret_access_key=seaweedfs.secret_key,
            config=Config(**config),  # type: ignore[arg-type]
        )

    return make
