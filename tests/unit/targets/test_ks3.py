"""Kingsoft Cloud KS3: signed URLs of Version 4, which its SDK for Go makes; the others are among the recorded URLs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import InvalidTargetError, WrongOperationError
from callback_sdk.targets import check_target
from tests.checkers.http_store import Request
from tests.checkers.vendor_rules import KS3

SECRET = "secretEXAMPLE"
NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
BASE = (
    "https://bucket.ks3-cn-beijing.ksyuncs.com/runs/42.json?X-Kss-Algorithm=KSS4-HMAC-SHA256"
    "&X-Kss-Credential=AKIDEXAMPLE%2F20990101%2FBEIJING%2Fks3%2Fkss4_request&X-Kss-Date=20990101T115900Z"
    "&X-Kss-Expires=3600&X-Kss-SignedHeaders=host"
)


def signed(base: str = BASE) -> str:
    parts = urlsplit(base)
    request = Request("PUT", parts.path, parts.query, {"host": parts.netloc}, b"")
    return f"{base}&X-Kss-Signature={KS3.signature(request, SECRET)}"


def test_version_4_is_recognized_and_its_request_verifies() -> None:
    """With the region in Kingsoft's own spelling."""
    found = check_target(signed())
    assert (found.kind, str(found.provider)) == ("ks3-put", "Kingsoft Cloud KS3")
    assert found.expires_at == datetime(2099, 1, 1, 12, 59, tzinfo=timezone.utc)
    sent = found.upload(Body(b"{}"), delivery_id="msg_1", now=NOW)
    parts = urlsplit(sent.url.reveal())
    arrived = Request("PUT", parts.path, parts.query, {**sent.headers.reveal(), "host": parts.netloc}, b"{}")
    KS3.check_put(arrived, SECRET, found.expires_at - timedelta(minutes=1))


def test_version_4_is_incomplete_without_any_of_its_parameters() -> None:
    """Also at a custom domain."""
    url = signed(BASE.replace("bucket.ks3-cn-beijing.ksyuncs.com", "files.example.org"))
    start, _, query = url.partition("?")
    for pair in query.split("&"):
        with pytest.raises(InvalidTargetError, match="is incomplete"):
            check_target(f"{start}?{'&'.join(one for one in query.split('&') if one != pair)}")


@pytest.mark.parametrize(
    "more", ["partNumber=1&uploadId=u", "uploads", "append&position=0", "acl", "X-Kss-Policy=e30="]
)
def test_other_operations_are_rejected(more: str) -> None:
    """Nothing would be stored, or not the whole document."""
    with pytest.raises(WrongOperationError):
        check_target(signed(f"{BASE}&{more}"))
