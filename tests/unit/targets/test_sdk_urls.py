"""Signed URLs and forms of other SDKs, which the scripts in `tests/sdks` recorded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from callback_sdk.errors import InvalidS3FieldsError, InvalidTargetError, SignedHeaderError, WrongOperationError
from tests.checkers.http_store import Refusal
from tests.sdks.rows import (
    AS_IT_IS,
    BEGIN,
    BY_STORE,
    END,
    LIFE,
    PAGE,
    REJECTED,
    STORES,
    VERIFY_FORM,
    VERIFY_PUT,
    WITH_HEADERS,
    Row,
    outcome,
    request,
    rows,
    table,
    target,
    upload,
)

KINDS = {
    ("s3", False): "s3-put",
    ("s3", True): "s3-put-v2",
    ("gcs", False): "gcs-put",
    ("gcs", True): "gcs-put-v2",
    ("azure", False): "azure-blob",
    ("oss", False): "oss-put",
    ("oss", True): "oss-put-v1",
    ("cos", False): "cos-put",
    ("obs", True): "obs-put",
    ("swift", False): "swift-put",
    ("tos", False): "tos-put",
    ("ks3", True): "ks3-put-v2",
    ("bos", False): "bos-put",
    ("ufile", True): "ufile-put",
}
"""Kind of a URL by its protocol, and whether it has the parameter `Signature` of an older version."""

ERRORS: dict[tuple[str, str, str], type[Exception]] = {
    ("aws-sdk-go-v2", "PresignGetObject", "plain"): WrongOperationError,
    ("aws-sdk-js 3", "getSignedUrl(GetObjectCommand)", "plain"): WrongOperationError,
    ("aws-sdk-s3", "get_object().presigned()", "plain"): WrongOperationError,
    ("azure-storage-blob", "generate_blob_sas", "read"): InvalidTargetError,
    ("azure-storage-blob", "generate_account_sas", "container, write"): WrongOperationError,
    # Other stores than Amazon compare the document with the checksum of nothing.
    ("aws-sdk-js 3", "getSignedUrl(PutObjectCommand)", "plain, another store"): SignedHeaderError,
    # Every store compares the document with a checksum among the headers.
    ("aws-sdk-go-v2", "PresignPutObject", "ChecksumAlgorithm: SHA256"): SignedHeaderError,
    # It is for all names with this prefix.
    ("python-swiftclient", "generate_temp_url", "prefix"): WrongOperationError,
    ("tos", "pre_signed_url(PUT)", "query: partNumber, uploadId"): WrongOperationError,
    ("ks3sdk", "generate_url('PUT')", "params: acl"): WrongOperationError,
    ("bce-python-sdk", "generate_pre_signed_url(PUT)", "params: uploadId, partNumber"): WrongOperationError,
    # The signature is over the Content-Length too, whose value isn't known.
    ("bce-python-sdk", "generate_pre_signed_url(GET)", "plain"): SignedHeaderError,
    # The SDK leaves adding the key to its caller.
    ("minio", "presigned_post_policy", "fields as it returns them, without key"): InvalidS3FieldsError,
}
"""URLs that no upload can use, rejected before anything is sent."""

UNDETECTABLE = {
    ("aws-sdk-java-v2", "presignGetObject"),
    ("boto3", "generate_presigned_url('get_object')"),
    ("minio", "presigned_get_object"),
    ("minio-go", "PresignedGetObject"),
    ("minio-java", "getPresignedObjectUrl(GET)"),
    ("minio-js", "presignedGetObject"),
    ("s3fs", "sign"),
    ("tos", "pre_signed_url(GET)"),
    ("ks3sdk", "generate_url('GET')"),
    ("ufile", "private_download_url"),
}
"""URLs that were signed for another method, which neither their parameters nor their headers tell."""

ROWS = rows(*STORES)

VALID = [row for row in ROWS if (row.sdk, row.call, row.form) not in ERRORS and (row.sdk, row.call) not in UNDETECTABLE]


def least(row: Row) -> dict[str, Any] | None:
    """Return the least parameter that a valid row is delivered with."""
    params = list(row.params())
    return params[-1] if outcome(row) == WITH_HEADERS else params[0]


@pytest.mark.parametrize("row", VALID, ids=str)
def test_request_to_an_sdks_url_verifies(row: Row) -> None:
    """Its kind, method and expiry are right, and the store's verification of the request succeeds."""
    assert outcome(row) in (AS_IT_IS, WITH_HEADERS)
    found = target(row, least(row))
    if row.fields is None:
        old = "signature" in row.query
        # Only a resumable upload is started by a POST.
        kind = KINDS[row.store, old] if row.method == "PUT" else "gcs-resumable"
        assert (found.kind, found.method) == (kind, row.method)
    else:
        assert (found.kind, found.method) == (f"{row.store}-post", "POST")
    if "si" not in row.query:
        expires = row.now - timedelta(minutes=1) + LIFE
        assert found.expires_at is not None
        # minio-go and its like take the time of a policy before the time of its signature.
        assert abs(found.expires_at - expires) <= timedelta(seconds=2)


@pytest.mark.parametrize("row", [row for row in VALID if row.asked], ids=str)
def test_what_the_caller_asked_for_reaches_the_store(row: Row) -> None:
    """Each header that was signed is in the query, among the headers, or in the form, with its value."""
    sent = upload(target(row, least(row)), row)
    arrived = request(sent).form()[0] if row.fields is not None else request(sent).headers
    given = {**row.query, **{name.lower(): value for name, value in arrived.items()}}
    assert {name: given.get(name.lower()) for name in row.asked} == dict(row.asked)


@pytest.mark.parametrize("row", [row for row in VALID if row.headers is not None], ids=str)
def test_headers_are_taken_as_the_sdk_returned_them(row: Row) -> None:
    """Lists of values and the header Host included: nobody has to convert them."""
    assert upload(target(row, {"s3_headers": row.headers}), row)


@pytest.mark.parametrize("row", [row for row in ROWS if (row.sdk, row.call, row.form) in ERRORS], ids=str)
def test_url_that_no_upload_can_use_is_rejected(row: Row) -> None:
    """The error is typed, and says what to sign instead."""
    with pytest.raises(ERRORS[row.sdk, row.call, row.form]) as caught:
        target(row, next(row.params()))
    assert outcome(row) == REJECTED
    assert caught.value.hint  # type: ignore[attr-defined]


@pytest.mark.parametrize("row", [row for row in ROWS if (row.sdk, row.call) in UNDETECTABLE], ids=str)
def test_method_of_a_signature_is_known_to_the_store_only(row: Row) -> None:
    """A signature of another method has no sign of it, so the store's response is the first to tell."""
    assert row.method != "PUT"
    assert outcome(row) == BY_STORE


def test_key_that_an_sdk_leaves_to_its_caller_is_asked_for() -> None:
    """minio for Python returns no key, so passing its fields unchanged is no advice."""
    (row,) = [row for row in rows("s3") if row.form == "fields as it returns them, without key"]
    with pytest.raises(InvalidS3FieldsError) as caught:
        target(row, {"s3_fields": row.fields})
    assert "Add the object's key" in caught.value.hint


def test_every_exception_is_recorded() -> None:
    """A row that was renamed or dropped doesn't leave its exception behind."""
    assert ERRORS.keys() <= {(row.sdk, row.call, row.form) for row in ROWS}
    assert {(row.sdk, row.call) for row in ROWS} >= UNDETECTABLE


@pytest.mark.parametrize("row", [row for row in VALID if row.fields is None and row.store != "azure"], ids=str)
def test_verification_notices_another_method(row: Row) -> None:
    """The verifiers reject a request that differs from what was signed."""
    arrived = request(upload(target(row, least(row)), row))
    with pytest.raises(Refusal, match=r"SignatureDoesNotMatch|TempURLInvalid"):
        VERIFY_PUT[row.store](row, evolve(arrived, method={"PUT": "POST", "POST": "PUT"}[row.method]))


@pytest.mark.parametrize("row", [row for row in VALID if row.store == "azure"], ids=str)
def test_verification_notices_another_blob_version_or_header(row: Row) -> None:
    """Azure signs parameters and, in a SAS of one blob, the path."""
    arrived = request(upload(target(row, least(row)), row))
    with pytest.raises(Refusal, match="AuthenticationFailed"):
        VERIFY_PUT["azure"](row, evolve(arrived, query=arrived.query.replace("sv=2026", "sv=2025")))
    headers = {name: value for name, value in arrived.headers.items() if name != "x-ms-blob-type"}
    with pytest.raises(Refusal, match="MissingRequiredHeader"):
        VERIFY_PUT["azure"](row, evolve(arrived, headers=headers))


@pytest.mark.parametrize("row", [row for row in VALID if row.fields is not None], ids=str)
def test_verification_notices_another_field(row: Row) -> None:
    """A policy is signed, and the policies of S3 and Google have a condition for the key."""
    fields, _ = request(upload(target(row, least(row)), row)).form()
    if row.store in ("s3", "gcs"):
        with pytest.raises(Refusal, match="AccessDenied"):
            VERIFY_FORM[row.store](row, {**fields, "key": "another"})
    signature = next(name for name in fields if name.lower().endswith("signature"))
    with pytest.raises(Refusal, match="SignatureDoesNotMatch"):
        VERIFY_FORM[row.store](row, {**fields, signature: fields[signature][::-1]})


def test_compatibility_page_has_this_table() -> None:
    """The documented table is what the rows say; `python -m tests.sdks.rows` writes it."""
    assert f"{BEGIN}{table()}{END}" in PAGE.read_text(encoding="utf-8"), "Run: python -m tests.sdks.rows"
