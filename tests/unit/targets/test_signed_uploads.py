"""Signed uploads of stores that S3's protocol is not for: what is sent has the signature that the SDKs made."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from attrs import evolve

from callback_sdk.errors import InvalidTargetError, TargetExpiredError
from tests.checkers.http_store import Refusal
from tests.sdks.rows import LIFE, VERIFY_PUT, Row, request, rows, target, upload

ROWS = [row for row in rows("oss", "cos", "obs", "swift") if row.form != "prefix"]
# Old URLs of COS have all parameters in one.
PUTS = [row for row in ROWS if row.fields is None and "sign" not in row.query]

OPTIONAL = frozenset(
    {
        *("security-token", "x-oss-security-token", "x-oss-additional-headers", "x-cos-security-token", "run"),
        *("q-url-param-list", "q-header-list", "temp_url_prefix", "temp_url_ip_range"),
    }
)
"""Parameters that a URL may lack; only the store can tell that they were signed."""


def with_url(row: Row, change: Callable[[str], str]) -> Row:
    return evolve(row, url=change(row.url))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_signed_upload_ends_with_its_life(row: Row) -> None:
    """Whether the end, the length or both are in it."""
    found = target(row, list(row.params())[-1])
    assert found.expires_at is not None
    # cos-nodejs-sdk-v5 begins a second earlier.
    assert -2 <= (found.expires_at - (row.now + LIFE)).total_seconds() + 60 <= 0
    with pytest.raises(TargetExpiredError):
        found.check(now=found.expires_at)


@pytest.mark.parametrize("row", [row for row in PUTS if row.store in ("oss", "obs")], ids=str)
def test_content_type_that_was_not_signed_breaks_the_signature(row: Row) -> None:
    """OSS and OBS sign its value without naming it, so none is sent unless it was given."""
    sent = request(upload(target(row, list(row.params())[-1]), row))
    assert ("content-type" in sent.headers) is ("content-type" in row.asked)
    VERIFY_PUT[row.store](row, sent)
    with pytest.raises(Refusal, match="SignatureDoesNotMatch"):
        VERIFY_PUT[row.store](row, evolve(sent, headers={**sent.headers, "content-type": "text/other"}))


@pytest.mark.parametrize("row", PUTS, ids=str)
def test_url_without_one_of_its_parameters_is_refused(row: Row) -> None:
    """Whichever is lost, the URL is neither used nor taken for a webhook."""
    query = urlsplit(row.url).query.split("&")
    for lost in query:
        if lost.partition("=")[0] not in OPTIONAL:
            rest = "&".join(part for part in query if part != lost)
            with pytest.raises(InvalidTargetError, match="is incomplete"):
                target(with_url(row, lambda url, rest=rest: f"{url.partition('?')[0]}?{rest}"), None)  # type: ignore[misc]


@pytest.mark.parametrize("row", PUTS, ids=str)
def test_signature_that_is_cut_off_is_refused(row: Row) -> None:
    """Without its last character it is no signature."""
    names = ("Signature", "x-oss-signature", "q-signature", "temp_url_sig")
    query = urlsplit(row.url).query
    signed = next(part for part in query.split("&") if part.partition("=")[0] in names)
    with pytest.raises(InvalidTargetError, match="is incomplete"):
        target(with_url(row, lambda url: url.replace(signed, signed.removesuffix("%3D")[:-1])), None)
