"""Checksums that came with a signed URL: those of an empty document, and those of another one.

A signer without the document has nothing but zero bytes to compute a checksum from. Then the store rejects every
document with BadDigest or XAmzContentSHA256Mismatch.

Sources: "Checking object integrity in Amazon S3", and "PutObject" in Amazon's S3 API reference; "HTTP headers and query
string parameters for XML API" in Google's.
"""

from __future__ import annotations

import base64

from callback_sdk.documents.body import Body
from callback_sdk.errors import SignedHeaderError
from callback_sdk.redaction import SecretFields, SecretURL
from callback_sdk.targets.amazon import is_amazon

PAYLOADS = ("x-amz-content-sha256", "x-goog-content-sha256", "x-tos-content-sha256", "x-kss-content-sha256")
"""Headers and parameters with the digest of the payload, which is a part of what is signed with Version 4."""

_NO_BYTES = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

_EMPTY = {
    "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==",
    **dict.fromkeys(PAYLOADS, _NO_BYTES),
    "x-amz-checksum-crc32": "AAAAAA==",
    "x-amz-checksum-crc32c": "AAAAAA==",
    "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=",
    "x-amz-checksum-md5": "1B2M2Y8AsgTpgAmY7PhCfg==",
    "x-amz-checksum-sha1": "2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
    "x-amz-checksum-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    "x-amz-checksum-sha512": "z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
    "x-amz-checksum-xxhash3": "LQaABTjTlMI=",
    "x-amz-checksum-xxhash64": "70bbN1HY6Zk=",
    "x-amz-checksum-xxhash128": "maoG0wFHmNhgAcMkRo1Jfw==",
}
"""The checksum of zero bytes in each algorithm."""

_IN_QUERY = frozenset(_EMPTY.keys() - {"content-md5"})
"""Checksums that SeaweedFS and others compare in the query too."""

_PAYLOADS_ONLY = frozenset(PAYLOADS)

_HASH = "x-goog-hash"

_COMPARED = frozenset({*_EMPTY, _HASH})
"""Headers and parameters with a checksum."""

_EMPTY_HASHES = {"crc32c": "AAAAAA==", "md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}

_CHUNKED = "STREAMING-"
"""Beginning of the payload's digest when each chunk of the body is signed."""

_UNSIGNED = "UNSIGNED-PAYLOAD"

_HINT = (
    'Presign without a checksum: requestChecksumCalculation: "WHEN_REQUIRED" in the options of the S3Client in '
    "JavaScript, no ChecksumAlgorithm in other languages. The document doesn't exist before the job has run."
)


def query_checksums(url: SecretURL) -> SecretFields:
    """Return the checksums in the query that the store compares with the body, by their names in lower case."""
    compared = _PAYLOADS_ONLY if is_amazon(url.host) else _IN_QUERY
    query = url.lower_query()
    # An unescaped `+` reads as a space.
    return SecretFields({name: query.reveal()[name].replace(" ", "+") for name in query.reveal().keys() & compared})


def check_checksums(url: SecretURL, given: SecretFields, checksums: SecretFields) -> None:
    """Reject a URL that is signed for an empty document.

    aws-sdk-js since version 3.729 has such a checksum in the query, aws-sdk-go-v2 with a ChecksumAlgorithm in a signed
    header. Every store compares the body with a header, and with the digest of the payload. SeaweedFS and others
    compare it with the query too. Amazon S3 is reported to ignore that, so URLs there are accepted.

    Args:
        url: The URL.
        given: The headers given with it.
        checksums: The checksums in its query.

    Raises:
        SignedHeaderError: The store would reject every document.
    """
    if _COMPARED.isdisjoint((*given.reveal(), *checksums.reveal())):
        return
    names = [*_empty(given), *_empty(checksums)]
    if names:
        raise _error(url, f"the checksum of an empty document ({names[0]})")
    for name in PAYLOADS:
        if any(values.reveal().get(name, "").startswith(_CHUNKED) for values in (given, checksums)):
            raise _error(url, f"a body that is sent in signed chunks ({name})")


def check_document(url: SecretURL, headers: SecretFields, checksums: SecretFields, document: Body) -> None:
    """Reject a document with another checksum than a header has, or the query where the store compares it.

    Args:
        url: The URL.
        headers: The headers to send, by names in lower case.
        checksums: The checksums in its query.
        document: The document.

    Raises:
        SignedHeaderError: The store would reject it.
    """
    given = SecretFields({**checksums.reveal(), **headers.reveal()})
    names = given.reveal().keys()
    if _COMPARED.isdisjoint(names):
        return
    if "content-md5" in names and given.reveal()["content-md5"] != document.content_md5:
        raise _error(url, "the Content-MD5 of another document")
    sha256 = "x-amz-checksum-sha256"
    if sha256 in names and given.reveal()[sha256] != base64.b64encode(document.sha256).decode():
        raise _error(url, "the SHA-256 of another document")
    for name in sorted(names & {*PAYLOADS}):
        if given.reveal()[name] not in (_UNSIGNED, document.sha256.hex()):
            raise _error(url, f"the SHA-256 of another document ({name})")
    hashes = _hashes(given)
    if "md5" in hashes.reveal() and hashes.reveal()["md5"] != document.content_md5:
        raise _error(url, f"the MD5 of another document ({_HASH})")


def _empty(values: SecretFields) -> list[str]:
    found = [name for name in values.reveal() if values.reveal()[name] == _EMPTY.get(name)]
    return [*found, _HASH] if _hashes(values).reveal().items() & _EMPTY_HASHES.items() else found


def _hashes(values: SecretFields) -> SecretFields:
    """Return Google's checksums by algorithm: `x-goog-hash: crc32c=AAAAAA==,md5=1B2M2Y8AsgTpgAmY7PhCfg==`."""
    if _HASH not in values.reveal():
        return SecretFields({})
    pairs = (text.strip().partition("=") for text in values.reveal()[_HASH].split(","))
    return SecretFields({name: value for name, _, value in pairs})


def _error(url: SecretURL, what: str) -> SignedHeaderError:
    return SignedHeaderError(f"{url} is signed with {what}.", hint=_HINT, url=str(url))
