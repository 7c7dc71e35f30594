"""Forms of stores other than those of S3's protocol."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.errors import InvalidS3FieldsError, PolicyError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from tests.sdks.rows import rows
from tests.signedurls import KEY, SHA1, cos, form, obs, oss_v1, oss_v2, oss_v4, signed_fields, swift

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def target(url: str, param: Any = None) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback)


NAMES = {
    "OSS form v1": ("form signed by hand, V1", "content-length-range, in"),
    "OSS form v4": ("form signed by hand, V4", "content-length-range, in"),
    "COS form": ("form signed by hand", "starts-with $key"),
    "OBS form": ("createPostSignature", "content-type"),
}

ROWS = {(row.call, row.form): row for row in rows("oss", "cos", "obs") if row.language == "Python"}
SIGNED = {name: ROWS[key] for name, key in NAMES.items()}


@pytest.mark.parametrize("name", ["OSS form v1", "OSS form v4", "COS form", "OBS form"])
def test_form_is_checked_against_its_policy(name: str) -> None:
    """Fields without a condition are taken; a changed one, a lost one and a cut signature are not."""
    url, fields = SIGNED[name].url, SIGNED[name].fields or {}
    target(url, {"s3_fields": {**fields, "success_action_status": "200"}}).check(now=NOW, size=10)
    signature = next(field for field in fields if "signature" in field.lower() and not field.endswith("version"))
    with pytest.raises(InvalidS3FieldsError, match="incomplete"):
        target(url, {"s3_fields": {**fields, signature: fields[signature][:-1]}})
    if name.startswith("OSS"):
        with pytest.raises(PolicyError, match="0 to 1000"):
            target(url, {"s3_fields": fields}).check(now=NOW, size=1001)
    else:
        with pytest.raises(PolicyError, match="'key'"):
            target(url, {"s3_fields": {**fields, "key": "others/42.json"}}).check(now=NOW, size=10)


def test_cos_form_signs_the_time_of_its_key() -> None:
    """The policy calls it q-sign-time, the form q-key-time."""
    fields = SIGNED["COS form"].fields or {}
    with pytest.raises(PolicyError, match="q-key-time"):
        target(SIGNED["COS form"].url, {"s3_fields": {**fields, "q-key-time": "1;1769864400"}}).check(now=NOW)


@pytest.mark.parametrize("query", [oss_v4(), oss_v2(), oss_v1(), cos(), obs(), swift()])
def test_signed_url_with_fields_is_refused(query: str) -> None:
    """One of the two is for another target."""
    with pytest.raises(InvalidS3FieldsError, match="is a signed URL"):
        target(f"https://files.example.org/k?{query}", {"s3_fields": SIGNED["OBS form"].fields})


@pytest.mark.parametrize("signed", [signed_fields(), {"AWSAccessKeyId": KEY, "signature": SHA1}])
def test_huawei_form_for_any_bucket_is_taken(signed: dict[str, str]) -> None:
    """Its SDK signs like S3, too, with starts-with for the bucket, which Amazon's policies don't have."""
    param = form(["starts-with", "$bucket", ""], expires="2026-01-31T13:00:00Z", signed=signed)
    found = target("https://b.obs.cn-north-4.myhuaweicloud.com/", param)
    found.check(now=NOW)
    assert found.kind == "obs-post"
    with pytest.raises(InvalidS3FieldsError, match="starts-with for 'bucket'"):
        target("https://b.s3.eu-central-1.amazonaws.com/", param)
