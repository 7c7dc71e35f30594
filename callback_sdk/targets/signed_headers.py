"""Headers of a PUT to a presigned URL: the signed ones with their values, and no others.

A SigV4 URL has the names of the signed headers, but not their values ("Authenticating Requests: Using Query Parameters"
in Amazon's S3 API reference). The values come with a `PresignedPut` (as `s3_headers`), or are the usual ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from callback_sdk.documents.body import Body
from callback_sdk.errors import ResultTooLargeError, SignedHeaderError
from callback_sdk.redaction import SecretFields, SecretURL
from callback_sdk.targets.amazon import is_amazon
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.checksums import PAYLOADS, check_document
from callback_sdk.targets.header_rules import COMPUTED, is_forbidden
from callback_sdk.targets.headers import given_headers

_USUAL = {
    "if-none-match": "*",
    **dict.fromkeys(PAYLOADS, "UNSIGNED-PAYLOAD"),
}
"""Values of signed headers whose value is not given. `*`: the object is written once (RFC 9110, section 13.1.2)."""

_ASSUMED = (
    "The URL is signed with a Content-Type, and its value is not known; {} is sent. If it was another one, give it "
    'with the URL: callback_param={{"s3_headers": {{"Content-Type": ...}}}}.'
)

_LENGTH_HINT = (
    "Presign without a Content-Length: the size isn't known before the job has run. To limit the size, presign a POST: "
    "S3Signer(bucket).presign_post(key, max_bytes=...)."
)


def check_names(url: SecretURL, signed: Iterable[str]) -> None:
    """Reject a URL that signed a header which is never sent.

    Args:
        url: The URL.
        signed: Names of the signed headers, in lower case.

    Raises:
        SignedHeaderError: The store would demand the header.
    """
    for name in sorted(signed):
        if is_forbidden(name):
            raise SignedHeaderError(
                f"{url} signed the header {name:.100}, which can't be sent.",
                hint="Presign without it: it belongs to the connection, has credentials, or changes the request.",
                url=str(url),
            )


def signed_length(callback: Callback, signed: frozenset[str]) -> str | None:
    """Return the Content-Length that was signed; None if none was.

    Args:
        callback: The URL with its headers.
        signed: Names of the signed headers, in lower case.

    Raises:
        SignedHeaderError: One was, and its value is not known.
    """
    if "content-length" not in signed:
        return None
    headers = callback.headers or SecretFields({})
    length = headers.reveal().get("content-length")
    if length is None:
        raise SignedHeaderError(
            f"{callback.url} signed a Content-Length, and its value is not known.",
            hint=_LENGTH_HINT,
            url=str(callback.url),
        )
    return length


def check_length(callback: Callback, signed: frozenset[str], size: int | None) -> None:
    """Check a document's size against the Content-Length that was signed.

    Args:
        callback: The URL with its headers.
        signed: Names of the signed headers, in lower case.
        size: Bytes of the document; None when it is not known yet.

    Raises:
        SignedHeaderError: The document has another size, or the signed size is not known.
    """
    length = signed_length(callback, signed)
    if length is not None and size is not None and length != str(size):
        raise SignedHeaderError(
            f"{callback.url} is signed with the Content-Length {length:.20}, and the document has {size} bytes.",
            hint=_LENGTH_HINT,
            url=str(callback.url),
        )


def assumed_headers(callback: Callback, signed: frozenset[str], media_type: str) -> tuple[str, ...]:
    """Return a text about a signed Content-Type whose value is not given.

    Args:
        callback: The URL with its headers.
        signed: Names of the signed headers, in lower case.
        media_type: What is sent in its place.
    """
    given = callback.headers or SecretFields({})
    return (_ASSUMED.format(media_type),) if "content-type" in signed - given.reveal().keys() else ()


def check_length_range(url: SecretURL, given: SecretFields, size: int | None, subject: str) -> None:
    """Check a document's size against `x-goog-content-length-range`.

    Args:
        url: The URL.
        given: The headers given with it.
        size: Bytes of the document; None when it is not known yet.
        subject: What is uploaded, for the error.

    Raises:
        ResultTooLargeError: It is too large, or too small.
    """
    length_range = given.reveal().get("x-goog-content-length-range", "")
    match = re.fullmatch("([0-9]{1,18}),([0-9]{1,18})", length_range)
    if match is not None and size is not None and not int(match[1]) <= size <= int(match[2]):
        raise ResultTooLargeError(
            f"{subject} has {size} bytes, and {url} takes {match[1]} to {match[2]}.",
            hint="Presign again with a wider x-goog-content-length-range.",
            url=str(url),
        )


def put_headers(
    url: SecretURL, given: SecretFields, *, signed: frozenset[str], vendor: str | None, media_type: str
) -> SecretFields:
    """Return the headers to send with any document.

    Args:
        url: The URL.
        given: The headers given with it.
        signed: Names of the signed headers, in lower case.
        vendor: Prefix of the provider's own headers, such as `x-amz-`: the store rejects unsigned ones; None if
            it accepts them.
        media_type: Content-Type if none is given.

    Raises:
        SignedHeaderError: The value of a signed header is unknown, or a header that needs a signature has none.
    """
    headers = {"content-type": media_type}
    for name in sorted(signed - COMPUTED):
        if name in headers or name in given.reveal():
            continue
        if name not in _USUAL:
            raise _unknown_value(url, name)
        headers[name] = _USUAL[name]
    own = () if vendor is None else (vendor,)
    refused = (*own, "content-md5") if is_amazon(url.host) else own
    unsigned = sorted(name for name in given.reveal() if name.startswith(refused) and name not in signed)
    if unsigned:
        raise SignedHeaderError(
            f"s3_headers has {unsigned[0]}, which is not signed in {url}: the store would reject it.",
            hint="Presign again with it, or leave it out.",
            url=str(url),
        )
    headers.update(given.reveal())
    return SecretFields(headers)


def document_headers(
    url: SecretURL, headers: SecretFields, document: Body, checksums: SecretFields | None = None
) -> SecretFields:
    """Return the headers to send with a document, with its digest where the store checks an unsigned one.

    Args:
        url: The URL.
        headers: The headers to send with any document.
        document: The document.
        checksums: The checksums in the query.

    Raises:
        SignedHeaderError: A checksum is that of another document.
    """
    check_document(url, headers, checksums or SecretFields({}), document)
    # Most stores check Content-MD5 although it is unsigned, and reject a corrupted body with BadDigest. Amazon rejects
    # the request instead: 403 AccessDenied, "There were headers present in the request which were not signed".
    if is_amazon(url.host):
        return headers
    return SecretFields({**headers.reveal(), "content-md5": document.content_md5})


def checked_headers(callback: Callback, named: frozenset[str]) -> SecretFields:
    """Return the headers given with a URL whose signature names some of them only.

    Args:
        callback: The URL with its headers.
        named: Names in lower case.

    Raises:
        SignedHeaderError: The value of a named header is not known.
    """
    given = given_headers(callback)
    for name in sorted(named - COMPUTED - given.reveal().keys()):
        raise _unknown_value(callback.url, name)
    return given


def _unknown_value(url: SecretURL, name: str) -> SignedHeaderError:
    return SignedHeaderError(
        f"{url} signed the header {name:.100}, and its value is not known.",
        hint=f'Give it with the URL: callback_param={{"s3_headers": {{"{name:.100}": ...}}}}. '
        "S3Signer and the SDKs for Go, Java and Rust return it with the URL.",
        url=str(url),
    )
