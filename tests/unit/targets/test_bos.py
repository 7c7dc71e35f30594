"""Baidu Object Storage: what the parameter `authorization` may be; the SDK's URLs are among the recorded ones."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from callback_sdk.errors import (
    InvalidTargetError,
    SignedHeaderError,
    TargetError,
    TargetExpiredError,
    WrongOperationError,
)
from callback_sdk.targets import check_target

BASE = "https://bucket.bj.bcebos.com/runs/42.json?authorization="
HEX = "5f" * 32


def url(time: str = "2099-01-31T12:00:00Z", seconds: str = "3600", headers: str = "host", base: str = BASE) -> str:
    return f"{base}bce-auth-v1%2FAK%2F{time}%2F{seconds}%2F{headers}%2F{HEX}"


def test_signed_url_is_recognized_at_any_host() -> None:
    """By the beginning of the parameter's value."""
    found = check_target(url())
    assert (found.kind, str(found.provider)) == ("bos-put", "Baidu Object Storage")
    assert found.expires_at == datetime(2099, 1, 31, 13, tzinfo=timezone.utc)
    assert check_target(url(base="https://files.example.org/k?authorization=")).kind == "bos-put"


def test_url_may_never_expire() -> None:
    """A validity period of -1."""
    assert check_target(url(seconds="-1")).expires_at is None
    with pytest.raises(TargetExpiredError):
        check_target(url("2020-01-31T12:00:00Z"))


@pytest.mark.parametrize(
    "broken",
    [
        url()[:-1],
        url().replace("%2F3600", ""),
        url().replace("bce-auth-v1", "bce-auth-v2"),
        url("2099-02-31T12:00:00Z"),
        url(seconds="999999999999"),
        url("2099-01-31"),
    ],
)
def test_malformed_authorization_is_rejected(broken: str) -> None:
    """Each of its parts has a form."""
    with pytest.raises(InvalidTargetError, match="is incomplete"):
        check_target(broken)


def test_default_headers_have_a_length_that_is_not_known() -> None:
    """BOS signs Content-Length by default, which no signer knows."""
    with pytest.raises(SignedHeaderError, match="default headers"):
        check_target(url(headers=""))


def test_signed_headers_need_their_values() -> None:
    """Except those that are known."""
    with pytest.raises(SignedHeaderError, match="x-bce-acl"):
        check_target(url(headers="host%3Bx-bce-acl"))
    given = {"s3_headers": {"x-bce-acl": "private"}}
    assert check_target(url(headers="host%3Bx-bce-acl"), given).kind == "bos-put"
    assert check_target(url(headers="content-type%3Bhost")).assumptions()
    with pytest.raises(SignedHeaderError, match="Content-Length"):
        check_target(url(headers="content-length%3Bhost"))


@pytest.mark.parametrize(
    "base", ["https://bj.bcebos.com/bucket?authorization=", "https://bucket.bj.bcebos.com/?authorization="]
)
def test_url_of_a_bucket_is_rejected(base: str) -> None:
    """A PUT there creates the bucket."""
    with pytest.raises(WrongOperationError, match="no object key"):
        check_target(url(base=base))


def test_form_needs_its_fields() -> None:
    """Its signature is hexadecimal, and its key has a name of its own."""
    with pytest.raises(TargetError, match="signature is not 64 hexadecimal digits"):
        check_target(
            "https://bucket.bj.bcebos.com/",
            {"s3_fields": {"accessKey": "AK", "policy": "e30=", "signature": "abc", "key": "k"}},
        )
