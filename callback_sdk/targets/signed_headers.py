"""Headers of a PUT to a presigned URL: the signed ones with their values, and no others.

A SigV4 URL has the names of the signed headers, but not their values ("Authenticating Requests: Using Query Parameters"
in Amazon's S3 API reference). The values come with a `PresignedPut` (as `s3_headers`), or are the usual ones.
"""

from __future__ import annotations

import base64
import re

from callback_sdk.documents.body import Body
from callback_sdk.errors import ResultTooLargeError, SignedHeaderError
from callback_sdk.redaction import SecretFields, SecretURL
from callback_sdk.targets.amazon import is_amazon
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.members import HEADERS, HTTP

_OURS = frozenset({"host", "content-length"})
"""Headers that the transport computes."""

_FORBIDDEN = frozenset(
    {
        # Hop-by-hop: RFC 9110, section 7.6.1, and RFC 2616, section 13.5.1.
        *("connection", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "via"),
        # Credentials: a target must not make this package send those of another party.
        *("authorization", "cookie", "cookie2", "set-cookie"),
        # Frameworks and proxies replace method, path, host or client address by these.
        *("x-http-method", "x-http-method-override", "x-method-override", "x-original-method"),
        *("x-original-url", "x-original-uri", "x-rewrite-url", "x-original-host", "x-host"),
        *("forwarded", "x-real-ip", "true-client-ip", "cf-connecting-ip", "x-client-ip"),
    }
)
_LOGIN = frozenset({"authorization", "cookie"})
"""Headers with credentials, which `http` may have: they were given for the host of their URL."""

_FORBIDDEN_PREFIXES = ("proxy-", "x-forwarded-", "sec-")

_USUAL = {"content-type": "application/json", "if-none-match": "*"}
"""Values of signed headers whose value is not given. `*`: the object is written once (RFC 9110, section 13.1.2)."""

_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

_CHECKSUM = "x-amz-checksum-"

_EMPTY = frozenset(
    {"AAAAAA==", "AAAAAAAAAAA=", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
)
"""CRC-32, CRC-64, SHA-1 and SHA-256 of zero bytes, in base64: a signer without the document has nothing else to compute
them from."""


def check_checksum(callback: Callback) -> None:
    """Reject a URL that is signed for an empty document.

    aws-sdk-js since version 3.729 has such a checksum in the query, aws-sdk-go-v2 with a ChecksumAlgorithm in a signed
    header. Every store compares the body with a header. SeaweedFS and others compare it with the query too. Amazon S3
    is reported to ignore that, so URLs there are accepted.

    Args:
        callback: The URL with its headers.

    Raises:
        SignedHeaderError: The store would reject every document.
    """
    url, headers = callback.url, _given(callback)
    found = [name for name in headers.reveal() if name.startswith(_CHECKSUM) and headers.reveal()[name] in _EMPTY]
    if not is_amazon(url.host):
        names = [name for name in url.query_names() if name.lower().startswith(_CHECKSUM)]
        found += [name.lower() for name in names if url.query(name) in _EMPTY]
    if found:
        raise SignedHeaderError(
            f"{url} is signed with the checksum of an empty document ({found[0]}).",
            hint='Presign without a checksum: requestChecksumCalculation: "WHEN_REQUIRED" in the options of the '
            "S3Client in JavaScript, no ChecksumAlgorithm in other languages.",
            url=str(url),
        )


def check_length(callback: Callback, signed: frozenset[str], size: int | None) -> None:
    """Check a document's size against the Content-Length that was signed.

    Args:
        callback: The URL with its headers.
        signed: Names of the signed headers, in lower case.
        size: Bytes of the document; None when it is not known yet.

    Raises:
        SignedHeaderError: The document has another size.
    """
    headers = callback.headers or SecretFields({})
    length = next((value for name, value in headers.reveal().items() if name.lower() == "content-length"), None)
    if "content-length" in signed and length is not None and size is not None and length != str(size):
        raise SignedHeaderError(
            f"{callback.url} is signed with the Content-Length {length:.20}, and the document has {size} bytes.",
            hint="Presign without ContentLength: the size isn't known before the job has run.",
            url=str(callback.url),
        )


def check_length_range(callback: Callback, size: int | None) -> None:
    """Check a document's size against `x-goog-content-length-range`.

    Args:
        callback: The URL with its headers.
        size: Bytes of the document; None when it is not known yet.

    Raises:
        ResultTooLargeError: It is too large, or too small.
    """
    length_range = _given(callback).reveal().get("x-goog-content-length-range", "")
    match = re.fullmatch("([0-9]{1,18}),([0-9]{1,18})", length_range)
    if match is not None and size is not None and not int(match[1]) <= size <= int(match[2]):
        raise ResultTooLargeError(
            f"The document has {size} bytes, and {callback.url} takes {match[1]} to {match[2]}.",
            hint="Presign again with a wider x-goog-content-length-range.",
            url=str(callback.url),
        )


def put_headers(
    callback: Callback, *, signed: frozenset[str], vendor: str | None, document: Body | None
) -> SecretFields:
    """Return the headers to send.

    Args:
        callback: The URL with its headers.
        signed: Names of the signed headers, in lower case.
        vendor: Prefix of the provider's own headers, such as `x-amz-`: the store rejects unsigned ones; None if
            it accepts them.
        document: The document; None before it exists.

    Raises:
        SignedHeaderError: The value of a signed header is unknown, or a header that needs a signature has none.
    """
    given = _given(callback)
    headers = {"content-type": _USUAL["content-type"]}
    for name in sorted(signed - _OURS):
        if name in given.reveal():
            continue
        if name not in _USUAL:
            raise _unknown_value(callback.url, name)
        headers[name] = _USUAL[name]
    own = () if vendor is None else (vendor,)
    refused = (*own, "content-md5") if is_amazon(callback.url.host) else own
    unsigned = sorted(name for name in given.reveal() if name.startswith(refused) and name not in signed)
    if unsigned:
        raise SignedHeaderError(
            f"s3_headers has {unsigned[0]}, which is not signed in {callback.url}: the store would reject it.",
            hint="Presign again with it, or leave it out.",
            url=str(callback.url),
        )
    headers.update(given.reveal())
    if document is not None:
        _check_sha256(callback, document)
    if document is None or ("content-md5" not in signed and is_amazon(callback.url.host)):
        return SecretFields(headers)
    return SecretFields(_with_digest(callback, SecretFields(headers), document))


def plain_headers(callback: Callback) -> SecretFields:
    """Return the headers given with a URL whose signature names none."""
    return _given(callback)


def checked_headers(callback: Callback, named: frozenset[str]) -> SecretFields:
    """Return the headers given with a URL whose signature names some of them only.

    Args:
        callback: The URL with its headers.
        named: Names in lower case.

    Raises:
        SignedHeaderError: The value of a named header is not known.
    """
    given = _given(callback)
    for name in sorted(named - _OURS - given.reveal().keys()):
        raise _unknown_value(callback.url, name)
    return given


def _unknown_value(url: SecretURL, name: str) -> SignedHeaderError:
    return SignedHeaderError(
        f"{url} signed the header {name}, and its value is not known.",
        hint=f'Give it with the URL: callback_param={{"s3_headers": {{"{name}": ...}}}}. '
        "A PresignedPut of S3Signer includes it.",
        url=str(url),
    )


def http_headers(callback: Callback) -> SecretFields:
    """Return the headers of `http`, with credentials for the server of the URL.

    Raises:
        SignedHeaderError: One can't be sent.
    """
    headers = callback.http or SecretFields({})
    return _sendable(callback.url, HTTP, headers, forbidden=(_FORBIDDEN | _OURS) - _LOGIN)


def _given(callback: Callback) -> SecretFields:
    values = callback.headers or SecretFields({})
    given = SecretFields({name: value for name, value in values.reveal().items() if name.lower() not in _OURS})
    return _sendable(callback.url, HEADERS, given, forbidden=_FORBIDDEN)


def _sendable(url: SecretURL, member: str, headers: SecretFields, *, forbidden: frozenset[str]) -> SecretFields:
    """Return headers by their names in lower case, all of which can be sent."""
    given = SecretFields({name.lower(): value for name, value in headers.reveal().items()})
    for name in given.reveal():
        broken = not _NAME.fullmatch(name) or not _VALUE.fullmatch(given.reveal()[name])
        if broken or name in forbidden or name.startswith(_FORBIDDEN_PREFIXES):
            raise SignedHeaderError(
                f"{member} of {url} has {name!r}, which can't be sent as a header.",
                hint="Leave it out: it has a character that HTTP forbids, is a hop-by-hop header, has credentials, or "
                "changes the method, path, host or client address of the request.",
                url=str(url),
            )
    return given


def _with_digest(callback: Callback, headers: SecretFields, document: Body) -> dict[str, str]:
    # Most stores check Content-MD5 although it is unsigned, and reject a corrupted body with BadDigest. Amazon rejects
    # the request instead: 403 AccessDenied, "There were headers present in the request which were not signed".
    digest = document.content_md5
    if headers.reveal().get("content-md5", digest) != digest:
        raise SignedHeaderError(
            f"{callback.url} is signed with the Content-MD5 of another document.",
            hint="Presign without Content-MD5: the document doesn't exist before the job has run.",
            url=str(callback.url),
        )
    return {**headers.reveal(), "content-md5": digest}


def _check_sha256(callback: Callback, document: Body) -> None:
    digest = base64.b64encode(document.sha256).decode()
    if _given(callback).reveal().get(f"{_CHECKSUM}sha256", digest) != digest:
        raise SignedHeaderError(
            f"{callback.url} is signed with the SHA-256 of another document.",
            hint="Presign without a checksum: the document doesn't exist before the job has run.",
            url=str(callback.url),
        )
