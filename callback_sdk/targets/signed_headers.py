"""The headers of a PUT to a presigned URL: those that were signed, with their values, and no others.

A SigV4 URL names the headers that it signed, and not their values. The values come from the signer's own
`PresignedPut` (as `s3_headers`), or are the ones that everybody signs.
"""

from __future__ import annotations

import re

from callback_sdk.documents.body import Body
from callback_sdk.errors import ResultTooLargeError, SignedHeaderError
from callback_sdk.redaction import SecretFields
from callback_sdk.targets.callbacks import Callback

_OURS = frozenset({"host", "content-length"})
"""What the connection itself says; a value for one of them can't be chosen."""

_FORBIDDEN = frozenset(
    {
        # Of the connection and of those on the way: RFC 9110, section 7.6.1, and what came before it.
        *("connection", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "via"),
        # Credentials and sessions of somebody else.
        *("authorization", "cookie", "cookie2", "set-cookie"),
        # Frameworks and proxies take another method, path, host or sender from these.
        *("x-http-method", "x-http-method-override", "x-method-override", "x-original-method"),
        *("x-original-url", "x-original-uri", "x-rewrite-url", "x-original-host", "x-host"),
        *("forwarded", "x-real-ip", "true-client-ip", "cf-connecting-ip", "x-client-ip"),
    }
)
_FORBIDDEN_PREFIXES = ("proxy-", "x-forwarded-", "sec-")

_USUAL = {"content-type": "application/json", "if-none-match": "*"}
"""Values of headers that are signed without a value being known."""

_AMAZON = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")

_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

_EMPTY = frozenset({"AAAAAA==", "AAAAAAAAAAA="})
"""CRC-32 and CRC-64 of no bytes: what a signer that has no document yet takes for the document's checksum."""


def check_checksum(callback: Callback) -> None:
    """Refuse a URL that is signed for an empty document, as Amazon's SDK for JavaScript makes them.

    SeaweedFS and others hold the body to a checksum in the query. Amazon S3 is reported to take no notice of it, so a
    URL there is let through.

    Args:
        callback: The URL.

    Raises:
        SignedHeaderError: The store would refuse every document.
    """
    url = callback.url
    names = [name for name in url.query_names() if name.lower().startswith("x-amz-checksum-")]
    if not url.host.endswith(".amazonaws.com") and any(url.query(name) in _EMPTY for name in names):
        raise SignedHeaderError(
            f"{url} is signed with the checksum of an empty document ({names[0].lower()}).",
            hint='Sign it with requestChecksumCalculation: "WHEN_REQUIRED" in the options of the S3Client.',
            url=str(url),
        )


def check_length_range(callback: Callback, size: int | None) -> None:
    """Hold a document's size against `x-goog-content-length-range`.

    Args:
        callback: The URL, and the values that came with it.
        size: Bytes of the document; None when it is not known yet.

    Raises:
        ResultTooLargeError: The store would refuse it; also when it is too small.
    """
    length_range = _given(callback).reveal().get("x-goog-content-length-range", "")
    match = re.fullmatch("([0-9]{1,18}),([0-9]{1,18})", length_range)
    if match is not None and size is not None and not int(match[1]) <= size <= int(match[2]):
        raise ResultTooLargeError(
            f"The document has {size} bytes, and {callback.url} takes {match[1]} to {match[2]}.",
            hint="Sign again with a wider x-goog-content-length-range.",
            url=str(callback.url),
        )


def put_headers(callback: Callback, *, signed: frozenset[str], vendor: str, document: Body | None) -> SecretFields:
    """Return the headers to send.

    Args:
        callback: The URL, and the values that came with it.
        signed: Names that the URL signed, in lower case.
        vendor: Prefix of the provider's own headers, such as `x-amz-`: the store refuses unsigned ones.
        document: What is sent; None when it does not exist yet.

    Raises:
        SignedHeaderError: A header was signed that can't be met, or given and not signed.
    """
    given = _given(callback)
    headers = {"content-type": _USUAL["content-type"]}
    for name in sorted(signed - _OURS):
        if name in given.reveal():
            continue
        if name not in _USUAL:
            raise SignedHeaderError(
                f"{callback.url} signed the header {name}, and its value is not known.",
                hint=f'Give it with the URL: callback_param={{"s3_headers": {{"{name}": ...}}}}; '
                "a PresignedPut of S3Signer brings it along.",
                url=str(callback.url),
            )
        headers[name] = _USUAL[name]
    refused = (vendor, "content-md5") if callback.url.host.endswith(_AMAZON) else vendor
    unsigned = sorted(name for name in given.reveal() if name.startswith(refused) and name not in signed)
    if unsigned:
        raise SignedHeaderError(
            f"s3_headers has {unsigned[0]}, which {callback.url} did not sign: the store would refuse it.",
            hint="Sign the URL again with it, or leave it out.",
            url=str(callback.url),
        )
    headers.update(given.reveal())
    if document is None or ("content-md5" not in signed and callback.url.host.endswith(_AMAZON)):
        return SecretFields(headers)
    return SecretFields(_with_digest(callback, SecretFields(headers), document))


def plain_headers(callback: Callback) -> SecretFields:
    """Return the headers that came with a URL whose signature doesn't name any."""
    return _given(callback)


def _given(callback: Callback) -> SecretFields:
    values = callback.headers or SecretFields({})
    given = SecretFields({name.lower(): value for name, value in values.reveal().items() if name.lower() not in _OURS})
    for name in given.reveal():
        broken = not _NAME.fullmatch(name) or not _VALUE.fullmatch(given.reveal()[name])
        if broken or name in _FORBIDDEN or name.startswith(_FORBIDDEN_PREFIXES):
            raise SignedHeaderError(
                f"s3_headers of {callback.url} has {name!r}, which can't be sent as a header.",
                hint="Leave it out: it has a character that HTTP forbids, belongs to the connection, carries a "
                "login, or changes the method, the place or the sender of the request.",
                url=str(callback.url),
            )
    return given


def _with_digest(callback: Callback, headers: SecretFields, document: Body) -> dict[str, str]:
    # Most stores check Content-MD5 although it is unsigned: a body damaged on the way is refused, not kept. Amazon
    # refuses the request instead: AccessDenied, "There were headers present in the request which were not signed".
    digest = document.content_md5
    if headers.reveal().get("content-md5", digest) != digest:
        raise SignedHeaderError(
            f"{callback.url} signed the Content-MD5 of another document.",
            hint="Sign without Content-MD5: the document is not known before the job has run.",
            url=str(callback.url),
        )
    return {**headers.reveal(), "content-md5": digest}
