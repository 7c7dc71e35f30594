"""URLs of objects in AIStore clusters, and responses that refuse a token."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk import check_target
from callback_sdk.errors import ConfigurationError, InvalidTargetError, UnsupportedFeatureError, WrongOperationError
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.aistore import check_key, parse_cluster, refuses_token
from callback_sdk.targets.providers import StorageProviders
from tests.signedurls import form, v4

PROXY = "http://aistore:8080"
CLUSTERS = StorageProviders.of((), [PROXY])


@pytest.mark.parametrize("text", [PROXY, f"{PROXY}/", f"{PROXY}/s3", f"{PROXY}/s3/", "HTTP://AIStore.:8080"])
def test_proxy_is_named_by_its_url(text: str) -> None:
    """With the path of the S3 API or without it."""
    assert parse_cluster(text) == ("http", "aistore", 8080)


@pytest.mark.parametrize(
    "text",
    [
        "aistore:8080",
        "",
        "ftp://aistore",
        f"{PROXY}/other",
        f"{PROXY}?a=1",
        "http://user:MARKER@aistore",
        None,
        5,
        "http://[",
    ],
)
def test_other_texts_are_no_proxies(text: Any) -> None:
    """The error shows the form, and not the text, which may have a password."""
    with pytest.raises(ConfigurationError, match="not the URL of a proxy") as caught:
        parse_cluster(text)
    assert "http://aistore:8080" in caught.value.hint
    assert "MARKER" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{PROXY}/s3/b/k", True),
        ("http://AIStore:8080/s3/b/k", True),
        (f"{PROXY}/v1/cluster", False),
        (f"{PROXY}/s3", False),
        (f"{PROXY}/s3x/b", False),
        (f"{PROXY}//s3/b/k", False),
        ("http://aistore/s3/b/k", False),
        ("http://aistore:8081/s3/b/k", False),
        ("https://aistore:8080/s3/b/k", False),
        ("http://aistore.example.org:8080/s3/b/k", False),
        ("http://aistore:8080@example.org/s3/b/k", False),
        ("http://example.org:8080/s3/b/k#@aistore:8080/s3/", False),
    ],
)
def test_only_objects_at_the_proxy_itself_are_in_the_cluster(url: str, expected: bool) -> None:
    """Another scheme, host or port, or the API that administers the cluster, isn't."""
    assert CLUSTERS.in_cluster(SecretURL(url)) is expected
    assert not StorageProviders().in_cluster(SecretURL(url))


@pytest.mark.parametrize("key", ["b/../k", "b/..", "../v1/cluster", "b/%2e%2e/k", "b%2F..%2Fk"])
def test_keys_that_lead_elsewhere_are_rejected(key: str) -> None:
    """A server in front of the cluster may resolve the segment."""
    with pytest.raises(InvalidTargetError, match=r"segment \.\. between slashes"):
        check_key(SecretURL(f"{PROXY}/s3/{key}"))
    check_key(SecretURL(f"{PROXY}/s3/b/a..b/...json"))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, b"", True),
        (403, b"<Error><Code>wrapError</Code><Message>token expired</Message></Error>", True),
        (403, b"<Error><Message>invalid token: signature is invalid</Message></Error>", True),
        (403, b"<Error><Message>insufficient permissions</Message></Error>", False),
        (403, b"<Error><Message>token required</Message></Error>", False),
        (403, b"", False),
        (404, b"token expired", False),
    ],
)
def test_refused_tokens_are_told_from_missing_permissions(status: int, body: bytes, expected: bool) -> None:
    """By the message, as the status is the same."""
    assert refuses_token(status, body) is expected


def test_what_a_cluster_does_not_support_is_told_before_sending() -> None:
    """A form is rejected, and so is the URL of a bucket; a condition without effect is a warning."""
    with pytest.raises(UnsupportedFeatureError, match="AIStore, which doesn't support POST forms"):
        check_target(f"{PROXY}/s3/b", form(expires="2099-01-01T00:00:00Z"), aistore_clusters=[PROXY])
    now = datetime.now(timezone.utc)
    with pytest.raises(WrongOperationError, match="no object key"):
        check_target(f"{PROXY}/s3/b?{v4(date=now)}", aistore_clusters=[PROXY])
    target = check_target(f"{PROXY}/s3/b/k?{v4(date=now)}", aistore_clusters=[PROXY])
    assert (str(target.provider), target.warnings(now)) == ("AIStore", ())
    write_once = f"{PROXY}/s3/b/k?{v4(date=now, signed='host;if-none-match')}"
    (warning,) = check_target(write_once, aistore_clusters=[PROXY]).warnings(now)
    assert "an existing object may be overwritten" in warning
