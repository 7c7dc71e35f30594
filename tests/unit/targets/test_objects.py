"""callback_sdk.targets.objects"""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from callback_sdk.targets import Target, plan
from callback_sdk.targets.amazon import is_region
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.objects import object_names
from tests.signedurls import v4


def target(place: str) -> Target:
    region = next((part for part in urlsplit(place).netloc.lower().split(".") if is_region(part)), "us-east-1")
    (callback,) = parse_callbacks([f"{place}?{v4(date='20900101T000000Z', region=region)}"])
    return plan(callback)


def is_one(first: str, second: str) -> bool:
    return bool(object_names(target(first)) & object_names(target(second)))


@pytest.mark.parametrize(
    "other",
    [
        "https://b.s3.eu-central-1.amazonaws.com/k/%70",
        "https://b.s3.amazonaws.com/k/p",
        "https://s3.eu-central-1.amazonaws.com/b/k/p",
        "https://s3.dualstack.eu-central-1.amazonaws.com/b/k/p",
        "https://b.s3-accelerate.amazonaws.com/k/p",
        "http://B.S3.EU-central-1.amazonaws.com:80/k/p",
    ],
)
def test_an_object_of_amazon_has_many_urls(other: str) -> None:
    """Virtual-hosted and path-style ones, in any region's host, encoded or not."""
    assert is_one("https://b.s3.eu-central-1.amazonaws.com/k/p", other)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("https://my.bucket.minio.example.org:9000/k/p", "https://minio.example.org:9000/my.bucket/k/p"),
        ("https://b.nyc3.digitaloceanspaces.com/k", "https://nyc3.digitaloceanspaces.com/b/k"),
    ],
)
def test_the_bucket_is_in_the_host_or_in_the_path(first: str, second: str) -> None:
    """Also at hosts that aren't known."""
    assert is_one(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("https://b.s3.amazonaws.com/k", "https://b.s3.amazonaws.com/K"),
        ("https://b.s3.amazonaws.com/k", "https://c.s3.amazonaws.com/k"),
        ("https://b.s3.amazonaws.com/k", "https://b.s3.cn-north-1.amazonaws.com.cn/k"),
        ("https://b.minio.example.org/k", "https://minio.example.org/k"),
        ("https://minio.example.org:9000/b/k", "https://minio.example.org:9001/b/k"),
        ("https://10.0.0.1/b/k", "https://0.1/10.0/b/k"),
    ],
)
def test_other_objects(first: str, second: str) -> None:
    """Another key, bucket, partition, host or port."""
    assert not is_one(first, second)


def test_webhooks_are_no_objects() -> None:
    """Nor is a form whose key the delivery decides."""
    (webhook,) = parse_callbacks(["https://example.org/hook"])
    assert not object_names(plan(webhook))


def test_a_server_for_files_has_no_buckets() -> None:
    """Host and path of a plain PUT are one file."""

    def names(url: str) -> frozenset[tuple[str, bytes, bytes]]:
        (callback,) = parse_callbacks([(url, {"http": {"method": "PUT", "headers": {}}})])
        return object_names(plan(callback))

    assert not names("https://a.example.org/x") & names("https://example.org/a/x")
    assert names("https://a.example.org/x") & names("https://a.example.org/%78")
