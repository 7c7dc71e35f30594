"""Uploads to URLs and forms that botocore signs, verified by rules that were written from Amazon's documentation."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from callback_sdk.targets import plan
from callback_sdk.targets.callbacks import parse_callbacks
from tests.checkers import s3_rules
from tests.property.strategies import header_values, keys, metadata
from tests.sdks.rows import DOCUMENT, request

SECRET = "invented-secret"

parameters = st.fixed_dictionaries(
    {},
    optional={
        "ContentType": header_values,
        "ACL": st.sampled_from(["private", "bucket-owner-full-control"]),
        "Metadata": metadata,
        "Tagging": st.sampled_from(["a=1", "a=1&b=x%20y"]),
        "StorageClass": st.just("STANDARD_IA"),
    },
)

HEADERS = {
    "ContentType": "content-type",
    "ACL": "x-amz-acl",
    "Tagging": "x-amz-tagging",
    "StorageClass": "x-amz-storage-class",
}


@cache
def client(version: str) -> Any:
    return boto3.client(
        "s3",
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=SECRET,
        config=Config(signature_version=version, s3={"addressing_style": "virtual"}),
    )


def headers_of(given: dict[str, Any]) -> dict[str, str]:
    named = {HEADERS[name]: value for name, value in given.items() if name in HEADERS}
    return {**named, **{f"x-amz-meta-{name.lower()}": value for name, value in given.get("Metadata", {}).items()}}


@settings(max_examples=40)
@pytest.mark.parametrize("version", ["s3v4", "s3"])
@given(key=keys, given=parameters)
def test_put_verifies_whatever_was_signed(version: str, key: str, given: dict[str, Any]) -> None:
    """Headers come from the query (Version 2), or with the URL (Version 4), and all of them arrive."""
    url = client(version).generate_presigned_url("put_object", {"Bucket": "bucket", "Key": key, **given}, 600)
    wanted = headers_of(given)
    (callback,) = parse_callbacks(url, {"s3_headers": wanted} if version == "s3v4" else None)
    now = datetime.now(timezone.utc)
    found = plan(callback)
    found.check(now=now, size=DOCUMENT.size)
    arrived = request(found.upload(DOCUMENT, delivery_id="msg_1", now=now))
    s3_rules.check_put(arrived, SECRET, now, bucket="bucket")
    assert wanted.items() <= arrived.headers.items()


@settings(max_examples=40)
@pytest.mark.parametrize("version", ["s3v4", "s3"])
@given(key=keys, given=parameters)
def test_form_verifies_whatever_was_signed(version: str, key: str, given: dict[str, Any]) -> None:
    """The fields arrive as they were signed, and the policy holds."""
    fields = headers_of(given)
    conditions = [{name: value} for name, value in fields.items()]
    made = client(version).generate_presigned_post("bucket", key, dict(fields), conditions, 600)
    (callback,) = parse_callbacks(made["url"], {"s3_fields": made["fields"]})
    now = datetime.now(timezone.utc)
    found = plan(callback)
    found.check(now=now, size=DOCUMENT.size)
    arrived, file = request(found.upload(DOCUMENT, delivery_id="msg_1", now=now)).form()
    assert file == DOCUMENT.read()
    s3_rules.check_form(arrived, "bucket", len(file), SECRET, now)
    assert fields.items() <= arrived.items()
