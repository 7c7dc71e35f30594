"""Headers whose values are in the query of a signed URL."""

from __future__ import annotations

from typing import Any

import pytest

from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.targets.query_headers import query_warnings, with_query_headers, with_signed_headers

URL = "https://b.s3.eu-west-1.amazonaws.com/k?Signature=s"


def callback(query: str = "", headers: dict[str, Any] | None = None) -> Callback:
    (found,) = parse_callbacks(f"{URL}{query}", {"s3_headers": headers} if headers else None)
    return found


def headers(found: Callback) -> dict[str, str]:
    return found.headers.reveal() if found.headers is not None else {}


def test_signed_headers_are_taken_from_the_query() -> None:
    """Their names are compared without case; unsigned ones stay in the query, which the store reads."""
    found = with_signed_headers(callback("&X-Amz-Acl=private&x-amz-meta-run=4%20%202"), {"host", "x-amz-acl"})
    assert headers(found) == {"x-amz-acl": "private"}


def test_content_type_of_the_query_is_sent_although_it_is_unsigned() -> None:
    """aws-sdk-js 2 has it there, and no store reads it there."""
    found = with_signed_headers(callback("&Content-Type=text%2Fcsv"), {"host"})
    assert headers(found) == {"content-type": "text/csv"}


def test_given_headers_take_precedence() -> None:
    """Whoever gives a value knows better than the URL."""
    given = {"X-Amz-Acl": "public-read"}
    found = with_signed_headers(callback("&x-amz-acl=private", given), {"host", "x-amz-acl"})
    assert headers(found) == {"x-amz-acl": "public-read"}


def test_header_that_the_query_has_too_is_not_sent_unsigned() -> None:
    """Many instructions say to send it, and Amazon rejects it; with another value it is a mistake to be reported."""
    found = with_signed_headers(callback("&x-amz-acl=private", {"x-amz-acl": "private"}), {"host"})
    assert headers(found) == {}
    found = with_signed_headers(callback("&x-amz-acl=private", {"x-amz-acl": "public-read"}), {"host"})
    assert headers(found) == {"x-amz-acl": "public-read"}


def test_all_headers_of_version_2_are_taken_from_the_query() -> None:
    """But the token of temporary credentials, which counts where it is."""
    query = "&Expires=1&content-type=text%2Fcsv&x-amz-meta-run=42&x-amz-security-token=t"
    found = with_query_headers(callback(query, {"Cache-Control": "no-store"}), "x-amz-")
    assert headers(found) == {"content-type": "text/csv", "x-amz-meta-run": "42", "cache-control": "no-store"}


@pytest.mark.parametrize("query", ["", "&x-amz-checksum-crc32=AAAAAA%3D%3D", "&content-type="])
def test_callback_without_such_headers_stays_as_it_is(query: str) -> None:
    """Nothing is added to most URLs."""
    given = callback(query)
    assert with_signed_headers(given, {"host"}) is given
    assert with_query_headers(given, "x-goog-") is given


@pytest.mark.parametrize(
    ("query", "signed", "host", "warning"),
    [
        (
            "&x-amz-tagging=a%3D1",
            {"host"},
            "b.s3.eu-west-1.amazonaws.com",
            "x-amz-tagging in its query; Amazon S3 ignores",
        ),
        ("&x-amz-meta-run=42", {"host"}, "b.s3.eu-west-1.amazonaws.com", None),
        ("&x-amz-meta-run=42", {"host"}, "minio.example.org/b", "many other stores ignore it"),
        ("&x-amz-acl=private", {"host", "x-amz-acl"}, "minio.example.org/b", None),
        ("&x-amz-checksum-crc32=AAAAAA%3D%3D&x-id=PutObject", {"host"}, "minio.example.org/b", None),
    ],
)
def test_values_that_a_store_ignores_in_the_query_are_warnings(
    query: str, signed: set[str], host: str, warning: str | None
) -> None:
    """The document is stored without them, and no error tells."""
    (found,) = parse_callbacks(f"https://{host}/k?X-Amz-Signature=s{query}")
    warnings = query_warnings(found, signed)
    assert [warning in text for text in warnings] == ([True] if warning else [])
