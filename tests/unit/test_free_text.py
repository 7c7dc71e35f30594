"""callback_sdk.redaction.without_credentials: foreign texts with URLs."""

from __future__ import annotations

import pytest

from callback_sdk.redaction import without_credentials
from tests.growth import assert_linear


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "PUT https://b.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature=topsecret done",
            "PUT https://b.s3.amazonaws.com/k?*** done",
        ),
        (
            "'https://account.blob.core.windows.net/c/b?sv=1&sig=topsecret'",
            "'https://account.blob.core.windows.net/c/b?***'",
        ),
        ("(https://h/k?token=top(secret)", "(https://h/k?***"),
        ("to postgresql://me:topsecret@db:5432/name?sslmode=require", "to postgresql://db:5432/name?***"),
        ("https://topsecret@host/path", "https://host/path"),
        ("https://me:top/secret@host/path", "***"),
        ("url=https://hooks.slack.com/services/T0/B0/topsecret", "url=https://hooks.slack.com/services/T0/B0/***"),
        ("see https://host/cb#access_token=topsecret&x=1", "see https://host/cb"),
        ("https://h/?to=https%3A%2F%2Fb%2Fk%3Fsig%3Dtopsecret", "https://h/?***"),
        ("https://h/?to=ftp://me:topsecret@b/", "https://h/?***"),
        ("https://h:topsecret@[::1/", "***"),
    ],
)
@pytest.mark.parametrize("show_plain_queries", [False, True])
def test_credentials_of_urls_are_hidden(text: str, shown: str, show_plain_queries: bool) -> None:
    """Signatures, tokens, passwords, and paths that are credentials, of mistyped and nested URLs too."""
    assert without_credentials(text, show_plain_queries=show_plain_queries) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "epoch 3: loss 0.25 [00:01<00:02]",
        "GET https://example.org/items?page=2&order=asc#top 200",
        "s3://bucket/data/part-0001.parquet, file:///tmp/x, http://[::1]:8000/",
        "HTTPS://Example.org/@someone",
        "x://a:b:c, 3:4@5",
        "://",
    ],
)
def test_output_without_credentials_is_unchanged(text: str) -> None:
    """The output of an algorithm stays as it was written."""
    assert without_credentials(text, show_plain_queries=True) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://example.org/items?page=2 failed", "GET https://example.org/items?*** failed"),
        ("no me:topsecret@host", "no host"),
        ("host/cb?x=topsecret", "host/cb?***"),
        ("Why? At 12:30, see a@b.org or f(x=1).", "Why? At 12:30, see a@b.org or f(x=1)."),
    ],
)
def test_any_query_may_be_a_credential(text: str, shown: str) -> None:
    """In texts of libraries and users, also without a scheme."""
    assert without_credentials(text) == shown


@pytest.mark.parametrize("show_plain_queries", [False, True])
@pytest.mark.parametrize(
    "unit", ["a://", "://x@", "https://h/?sig=1&", "a", "://h/a/b?", "%00://", "@:", "?=", "(", "`"]
)
def test_a_long_text_takes_linear_time(unit: str, show_plain_queries: bool) -> None:
    """An algorithm may print anything."""

    def work(text: str) -> None:
        without_credentials(text, show_plain_queries=show_plain_queries)

    assert_linear(work, unit * 1000, unit * 32_000, ratio=32)
