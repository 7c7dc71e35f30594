"""URLs signed for other operations: responses of real stores to a PUT, and rejection by the planner."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
import requests
from azure.storage.blob import (
    AccountSasPermissions,
    BlobSasPermissions,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)
from botocore.config import Config

from callback_sdk import JobResult, ResultsWriter
from callback_sdk.errors import WrongOperationError
from callback_sdk.testing import SeaweedFS
from tests.checkers import azurite

RESULT = JobResult(job_id="42", success=True, results={"a": 1})
BODY = b'{"a": 1}'


def refuse(url: str, headers: dict[str, str] | None = None) -> None:
    """Make sure that the writer doesn't use a URL, and gives no receipt."""
    with ResultsWriter() as writer, pytest.raises(WrongOperationError) as caught:
        writer.write(RESULT, url, {"s3_headers": headers} if headers else None)
    assert caught.value.receipts == ()


@pytest.mark.parametrize("signature_version", ["s3v4", "s3"])
@pytest.mark.parametrize("operation", ["upload_part", "upload_part_copy", "copy_object"])
def test_store_responds_200_although_no_object_is_created(
    seaweedfs: SeaweedFS, bucket: str, operation: str, signature_version: str
) -> None:
    """Signed by boto3 in both versions: a part, a copied part, and a copy, which ignores the body."""
    s3 = seaweedfs.client()
    s3.put_object(Bucket=bucket, Key="source", Body=b"of the source")
    place = {"Bucket": bucket, "Key": "k"}
    upload_id = s3.create_multipart_upload(**place)["UploadId"]
    part = {"UploadId": upload_id, "PartNumber": 1} if "part" in operation else {}
    source = {"CopySource": f"{bucket}/source"} if "copy" in operation else {}
    signer = seaweedfs.client(config=Config(signature_version=signature_version))
    url = signer.generate_presigned_url(operation, Params={**place, **part, **source})
    headers = {"x-amz-copy-source": f"{bucket}/source"} if source else {}

    assert requests.put(url, data=BODY, headers=headers, timeout=30).status_code == 200
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert BODY not in [s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys]
    refuse(url, headers)


def test_store_answers_200_to_a_url_that_creates_a_bucket(seaweedfs: SeaweedFS, bucket: str) -> None:
    """Its path has no key."""
    s3 = seaweedfs.client()
    url = s3.generate_presigned_url("create_bucket", Params={"Bucket": f"{bucket}-2"})
    assert requests.put(url, data=BODY, timeout=30).status_code == 200
    assert f"{bucket}-2" in [item["Name"] for item in s3.list_buckets()["Buckets"]]
    refuse(url)


def of_container(server: azurite.Azurite) -> str:
    permission = ContainerSasPermissions(create=True, write=True)
    return generate_container_sas(
        server.account, azurite.CONTAINER, account_key=server.key, expiry=_end(), permission=permission
    )


def of_account(server: azurite.Azurite, **types: bool) -> str:
    permission = AccountSasPermissions(create=True, write=True)
    return generate_account_sas(server.account, server.key, ResourceTypes(**types), permission, _end())


def _end() -> datetime:
    return datetime.now(timezone.utc) + timedelta(hours=1)


BLOCK = base64.b64encode(b"0001").decode().replace("=", "%3D")

AZURE_URLS: dict[str, tuple[Callable[[azurite.Azurite], str], int]] = {
    "block": (lambda azure: f"{azure.url('k')}?comp=block&blockid={BLOCK}&{of_container(azure)}", 201),
    "container": (lambda azure: f"{azure.endpoint}/more?restype=container&{of_account(azure, container=True)}", 201),
    "path of a container": (lambda azure: f"{azure.url('').rstrip('/')}?{of_container(azure)}", 400),
    "path of the account": (lambda azure: f"{azure.endpoint}/?{of_account(azure, object=True)}", 400),
    "containers only": (lambda azure: f"{azure.url('k')}?{of_account(azure, container=True)}", 403),
}


@pytest.mark.parametrize("name", AZURE_URLS)
def test_azure_makes_no_blob_of_it(azure: azurite.Azurite, name: str) -> None:
    """Signed by Azure's own library; some of these are answered with 201."""
    sign, status = AZURE_URLS[name]
    url = sign(azure)
    answer = requests.put(url, data=BODY, headers={"x-ms-blob-type": "BlockBlob"}, timeout=30)
    assert answer.status_code == status
    assert azure.read("k") is None
    refuse(url)


def test_azure_attribute_of_a_blob_is_not_an_upload(azure: azurite.Azurite) -> None:
    """A URL with comp=tags gets the response 201, and the blob isn't changed."""
    blob = azure.sign("kept", permission=BlobSasPermissions(create=True, write=True, tag=True))
    requests.put(blob, data=b"before", headers={"x-ms-blob-type": "BlockBlob"}, timeout=30).raise_for_status()
    refuse(f"{blob}&comp=tags")
    assert azure.read("kept") == b"before"


def test_complete_uploads_are_delivered(azure: azurite.Azurite, seaweedfs: SeaweedFS, bucket: str) -> None:
    """The signatures of a container and of the account with a blob's name, and put_object."""
    urls = [f"{azure.url('a')}?{of_container(azure)}", f"{azure.url('b')}?{of_account(azure, object=True)}"]
    urls.append(seaweedfs.client().generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"}))
    with ResultsWriter() as writer:
        receipts = writer.write(RESULT, urls)
    assert [receipt.status for receipt in receipts] == [201, 201, 200]
    assert azure.read("a") == azure.read("b") == seaweedfs.client().get_object(Bucket=bucket, Key="k")["Body"].read()
