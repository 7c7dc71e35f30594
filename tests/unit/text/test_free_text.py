"""callback_sdk.text.free_text"""

from __future__ import annotations

import pytest

from callback_sdk.text.free_text import without_credentials
from tests.growth import assert_linear


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "PUT https://b.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature=topsecret done",
            "https://b.s3.amazonaws.com/k?***",
        ),
        ("'https://account.blob.core.windows.net/c/b?sv=1&sig=topsecret'", "account.blob.core.windows.net/c/b?***'"),
        (
            "connecting to postgresql://me:topsecret@db:5432/name?sslmode=require",
            "postgresql://me:***@db:5432/name?sslmode",
        ),
        ("https://topsecret@host/path", "https://***@host/path"),
        ("https://hooks.slack.com/services/T0/B0/topsecret", "https://hooks.slack.com/services/T0/B0/***"),
        ("see https://host/cb#access_token=topsecret&x=1", "https://host/cb#***"),
        ("https://h/a?token=topsecret https://h/b?page=2", "https://h/b?page=2"),
    ],
)
def test_credentials_of_urls_are_hidden(text: str, shown: str) -> None:
    """Signatures, tokens, passwords, and paths that are credentials."""
    found = without_credentials(text)
    assert shown in found
    assert "topsecret" not in found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "epoch 3: loss 0.25 [00:01<00:02]",
        "GET https://example.org/items?page=2&order=asc#top 200",
        "s3://bucket/data/part-0001.parquet, file:///tmp/x, http://[::1]:8000/",
        "://",
    ],
)
def test_any_other_text_is_unchanged(text: str) -> None:
    """Also URLs without credentials."""
    assert without_credentials(text) == text


@pytest.mark.parametrize("unit", ["a://", "://x@", "https://h/?sig=1&", "a", "://h/a/b?", "%00://"])
def test_a_long_text_takes_linear_time(unit: str) -> None:
    """An algorithm may print anything."""
    assert_linear(without_credentials, unit * 1000, unit * 32_000, ratio=32)
