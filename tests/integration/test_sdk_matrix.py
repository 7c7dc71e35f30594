"""URLs and forms that boto3 signs, delivered to a store that verifies signatures.

`tests/unit/targets/test_sdk_urls.py` verifies the requests to those of other SDKs.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from botocore.config import Config

from callback_sdk import JobResult, ResultsWriter
from callback_sdk.errors import SignedHeaderError
from callback_sdk.testing import SeaweedFS
from tests.sdks.python.forms import POSTS, PUTS

KEY = "runs/a b+c/42.json"

VERSIONS = {"4": "s3v4", "2": "s3"}

# The length of the document isn't known here, and the store has no keys for encryption.
FORMS = sorted(PUTS.keys() - {"ContentLength", "ServerSideEncryption"})


def deliver(url: str, param: dict[str, Any] | None) -> None:
    with ResultsWriter(timeout=60) as writer:
        writer.write(JobResult(job_id="42", success=True, results={"life": 7.5}), url, param)


def stored(seaweedfs: SeaweedFS, bucket: str) -> dict[str, Any]:
    return dict(seaweedfs.client().get_object(Bucket=bucket, Key=KEY))


def client(seaweedfs: SeaweedFS, version: str) -> Any:
    return seaweedfs.client(config=Config(signature_version=VERSIONS[version], s3={"addressing_style": "path"}))


@pytest.mark.parametrize(
    ("form", "version"),
    # With Version 2, boto3 drops these headers.
    sorted({(form, version) for form in FORMS for version in VERSIONS} - {("ContentEncoding, CacheControl", "2")}),
)
def test_store_takes_what_boto3_signed_a_put_for(seaweedfs: SeaweedFS, bucket: str, form: str, version: str) -> None:
    """Version 2 has the headers' values in the query; those of Version 4 are given as they were passed to boto3."""
    parameters, asked = PUTS[form]
    given = {"Bucket": bucket, "Key": KEY, **parameters}
    url = client(seaweedfs, version).generate_presigned_url("put_object", given, 600)
    deliver(url, {"s3_headers": asked} if version == "4" else None)
    found = stored(seaweedfs, bucket)
    body = found["Body"].read()
    assert found.get("ContentEncoding") == parameters.get("ContentEncoding")
    if "ContentEncoding" not in parameters:
        assert json.loads(body)["results"] == {"life": 7.5}
    if version == "4" or "ContentType" in parameters:
        assert found["ContentType"] == parameters.get("ContentType", "application/json")
    wanted = {name.removeprefix("x-amz-meta-"): value for name, value in asked.items() if "x-amz-meta-" in name}
    assert {name: " ".join(value.split()) for name, value in found["Metadata"].items()} == {
        name: " ".join(value.split()) for name, value in wanted.items()
    }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("form", POSTS)
def test_store_takes_forms_of_boto3(seaweedfs: SeaweedFS, bucket: str, form: str, version: str) -> None:
    """With the fields exactly as boto3 returned them."""
    fields, conditions = deepcopy(POSTS[form])
    made = client(seaweedfs, version).generate_presigned_post(bucket, KEY, fields, conditions, 600)
    deliver(made["url"], {"s3_fields": made["fields"]})
    found = stored(seaweedfs, bucket)
    assert json.loads(found["Body"].read())["results"] == {"life": 7.5}
    assert found["ContentType"] == fields.get("Content-Type", "application/json")


def test_length_that_boto3_signed_is_the_only_one(seaweedfs: SeaweedFS, bucket: str) -> None:
    """Nothing is sent to a URL that is signed for another size."""
    given = {"Bucket": bucket, "Key": KEY, "ContentLength": 2}
    url = client(seaweedfs, "4").generate_presigned_url("put_object", given, 600)
    with pytest.raises(SignedHeaderError, match="Content-Length"):
        deliver(url, {"s3_headers": {"content-length": 2}})
    assert "Contents" not in seaweedfs.client().list_objects_v2(Bucket=bucket)
