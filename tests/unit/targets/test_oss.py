"""Signed URLs of Alibaba OSS."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.errors import InvalidTargetError, SignedHeaderError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from tests.signedurls import oss_v1, oss_v2, oss_v4

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def target(url: str, param: Any = None) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback)


HOST = "https://results.oss-cn-hangzhou.aliyuncs.com"
ADDITIONAL = f"{HOST}/k?{oss_v4()}&x-oss-additional-headers=cache-control"


def test_oss_header_that_the_url_names_needs_its_value() -> None:
    """Additional headers are named; the host and the length are known."""
    with pytest.raises(SignedHeaderError, match="cache-control"):
        target(ADDITIONAL).check(now=NOW)
    target(ADDITIONAL.replace("cache-control", "host%3Bcontent-length")).check(now=NOW)


@pytest.mark.parametrize("query", [oss_v4(), oss_v2(), oss_v1()])
def test_object_is_stored_although_its_callback_failed(query: str) -> None:
    """OSS answers 203 if a callback fails that the signer asked it to make; trying again would change nothing."""
    found = target(f"{HOST}/k?{query}")
    assert found.success_statuses() == {200, 203}


@pytest.mark.parametrize("version", ["OSS3", "OSS4-HMAC-SHA512", "", "oss2"])
def test_unknown_version_of_the_signature_is_refused(version: str) -> None:
    """Nobody knows what its parameters mean."""
    with pytest.raises(InvalidTargetError, match="x-oss-signature-version is not OSS4-HMAC-SHA256 or OSS2"):
        target(f"{HOST}/k?{oss_v2()}".replace("=OSS2", f"={version}"))


@pytest.mark.parametrize(
    "credential",
    [
        *("AK", "AK/20260101/cn-hangzhou/oss", "AK/20260101/cn-hangzhou/oss/aws4_request"),
        "AK/20260101/cn-hangzhou/s3/aliyun_v4_request",
    ],
)
def test_credential_without_its_scope_is_refused(credential: str) -> None:
    """Key, date, region, service and the constant end."""
    before, _, after = oss_v4().partition("x-oss-credential=")
    with pytest.raises(InvalidTargetError, match="x-oss-credential is not KEY/DATE"):
        target(f"{HOST}/k?{before}x-oss-credential={credential}&{after.partition('&')[2]}")


def test_signature_of_more_than_a_week_is_refused() -> None:
    """OSS rejects it, whatever the host; Version 2 has no such limit."""
    target(f"{HOST}/k?{oss_v4(expires=604800)}")
    with pytest.raises(InvalidTargetError, match="604801 seconds"):
        target(f"{HOST}/k?{oss_v4(expires=604801)}")
    target(f"{HOST}/k?{oss_v2(expires=4095989824)}")
