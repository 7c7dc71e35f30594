"""Checksums of an empty document, or of another one, among what a URL signed."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timezone
from urllib.parse import quote

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import SignedHeaderError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from tests.signedurls import google_v4, v2, v4

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
AMAZON = "https://b.s3.eu-central-1.amazonaws.com/k?"
OWN = "https://minio.example.org/b/k?"
BODY = Body(b"{}")

# Of zero bytes: CRC32, CRC32C and CRC64NVME are zero by definition, the others are of hashlib and of xxhash.
EMPTY = {
    "x-amz-checksum-crc32": base64.b64encode(bytes(4)).decode(),
    "x-amz-checksum-crc32c": base64.b64encode(bytes(4)).decode(),
    "x-amz-checksum-crc64nvme": base64.b64encode(bytes(8)).decode(),
    **{
        f"x-amz-checksum-{name}": base64.b64encode(hashlib.new(name, b"").digest()).decode()
        for name in ("md5", "sha1", "sha256", "sha512")
    },
    "x-amz-checksum-xxhash64": base64.b64encode(bytes.fromhex("ef46db3751d8e999")).decode(),
    "x-amz-checksum-xxhash3": base64.b64encode(bytes.fromhex("2d06800538d394c2")).decode(),
    "x-amz-checksum-xxhash128": base64.b64encode(bytes.fromhex("99aa06d3014798d86001c324468d497f")).decode(),
    "content-md5": base64.b64encode(hashlib.md5(b"").digest()).decode(),
    "x-amz-content-sha256": hashlib.sha256(b"").hexdigest(),
}


def target(url: str, headers: object = None) -> Target:
    (callback,) = parse_callbacks(url, {"s3_headers": headers} if headers else None)
    return plan(callback)


def signed(*names: str) -> str:
    return v4(signed=";".join(["host", *names]))


@pytest.mark.parametrize("name", EMPTY)
def test_checksum_of_an_empty_document_is_rejected_in_a_header(name: str) -> None:
    """No store accepts another document, Amazon's own included."""
    for url in (AMAZON, OWN):
        for put in (
            target(url + signed(name), {name.title(): EMPTY[name]}),
            target(f"{url}{signed(name)}&{name}={quote(EMPTY[name], safe='')}"),
            target(f"{url}{v2()}&{name}={quote(EMPTY[name], safe='')}"),
        ):
            with pytest.raises(SignedHeaderError, match=rf"checksum of an empty document \({name}\)"):
                put.check(now=NOW)


@pytest.mark.parametrize("name", sorted(EMPTY.keys() - {"content-md5"}))
def test_checksum_of_an_empty_document_is_rejected_in_the_query(name: str) -> None:
    """Amazon is reported to ignore it there, and other stores aren't. The digest of the payload counts everywhere."""
    for value in (quote(EMPTY[name], safe=""), EMPTY[name]):
        with pytest.raises(SignedHeaderError, match=rf"checksum of an empty document \({name}\)"):
            target(f"{OWN}{signed()}&{name.title()}={value}").check(now=NOW)
    amazon = target(f"{AMAZON}{signed()}&{name}={quote(EMPTY[name], safe='')}")
    if name == "x-amz-content-sha256":
        with pytest.raises(SignedHeaderError, match="empty document"):
            amazon.check(now=NOW)
    else:
        amazon.check(now=NOW)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("content-md5", BODY.content_md5),
        ("x-amz-checksum-sha256", base64.b64encode(BODY.sha256).decode()),
        ("x-amz-content-sha256", BODY.sha256.hex()),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
    ],
)
def test_checksum_of_another_document_is_rejected_when_the_document_is_known(name: str, own: str) -> None:
    """Who signed it can't have known the document."""
    put = target(AMAZON + signed(name), {name: own})
    assert put.upload(BODY, delivery_id="msg_1", now=NOW).headers.reveal()[name] == own
    if own != "UNSIGNED-PAYLOAD":
        put.check(now=NOW)
        with pytest.raises(SignedHeaderError, match="of another document"):
            put.upload(Body(b"[]"), delivery_id="msg_1", now=NOW)


def test_payload_of_a_presigned_url_is_unsigned_unless_it_says_otherwise() -> None:
    """Some signers sign the header and leave out its value."""
    sent = target(AMAZON + signed("x-amz-content-sha256")).upload(BODY, delivery_id="msg_1", now=NOW)
    assert sent.headers.reveal()["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


@pytest.mark.parametrize(
    "url",
    [
        f"{AMAZON}{signed()}&X-Amz-Content-Sha256=STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        f"{OWN}{signed('x-amz-content-sha256')}&x-amz-content-sha256=STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    ],
)
def test_url_for_a_body_in_chunks_is_rejected(url: str) -> None:
    """Each chunk would need a signature, or the last one a checksum."""
    with pytest.raises(SignedHeaderError, match="signed chunks"):
        target(url).check(now=NOW)


def test_md5_in_the_query_of_version_2_has_to_be_the_documents() -> None:
    """It is sent as a header, which the store compares with the body."""
    url = f"{AMAZON}{v2()}&content-md5="
    sent = target(url + quote(BODY.content_md5, safe="")).upload(BODY, delivery_id="msg_1", now=NOW)
    assert sent.headers.reveal() == {"content-md5": BODY.content_md5}
    with pytest.raises(SignedHeaderError, match="Content-MD5 of another document"):
        target(url + quote(BODY.content_md5, safe="")).upload(Body(b"[]"), delivery_id="msg_1", now=NOW)


def test_checksum_in_the_query_is_compared_where_the_store_compares_it() -> None:
    """SeaweedFS responds with BadDigest to each attempt; Amazon S3 ignores the query's checksum."""
    other = {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(b"[]").digest()).decode()}
    own = {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(b"{}").digest()).decode()}
    with pytest.raises(SignedHeaderError, match="SHA-256 of another document"):
        target(OWN + v4(**other)).upload(BODY, delivery_id="msg_1", now=NOW)
    target(OWN + v4(**own)).upload(BODY, delivery_id="msg_1", now=NOW)
    target(AMAZON + v4(**other)).upload(BODY, delivery_id="msg_1", now=NOW)


GOOGLE = "https://storage.googleapis.com/b/k?" + google_v4(signed="host;x-goog-content-sha256;x-goog-hash")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-goog-hash": "crc32c=AAAAAA=="},
        {"x-goog-hash": "crc32c=n03x6A==, md5=1B2M2Y8AsgTpgAmY7PhCfg=="},
        {"x-goog-content-sha256": hashlib.sha256(b"").hexdigest(), "x-goog-hash": "crc32c=n03x6A=="},
    ],
)
def test_googles_checksums_of_an_empty_document_are_rejected(headers: dict[str, str]) -> None:
    """One header has several algorithms."""
    with pytest.raises(SignedHeaderError, match="checksum of an empty document"):
        target(GOOGLE, headers).check(now=NOW)


def test_googles_md5_has_to_be_the_documents() -> None:
    """The digest of the payload isn't signed unless it is given."""
    put = target(GOOGLE, {"x-goog-hash": f"crc32c=n03x6A==,md5={BODY.content_md5}"})
    assert (
        put.upload(BODY, delivery_id="msg_1", now=NOW).headers.reveal()["x-goog-content-sha256"] == "UNSIGNED-PAYLOAD"
    )
    with pytest.raises(SignedHeaderError, match=r"the MD5 of another document \(x-goog-hash\)"):
        put.upload(Body(b"[]"), delivery_id="msg_1", now=NOW)
