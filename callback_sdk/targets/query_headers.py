"""Headers whose values are in the query of a signed URL: some SDKs leave it to the upload to send them.

aws-sdk-js 2 has values in the query and their names in `X-Amz-SignedHeaders`; boto3 and aws-sdk-js 2 put all headers of
a URL with Signature Version 2 there.
"""

from __future__ import annotations

from collections.abc import Set

from attrs import evolve

from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.amazon import is_amazon
from callback_sdk.targets.callbacks import Callback

_OBJECT = frozenset(
    {
        *("cache-control", "content-disposition", "content-encoding", "content-language", "content-md5"),
        "content-type",
    }
)
"""Headers of an upload that signers put into the query by their own name. `Expires` is the signature's."""

_READ_BY_AMAZON = (
    *("x-amz-acl", "x-amz-grant-", "x-amz-meta-", "x-amz-object-lock-", "x-amz-server-side-encryption"),
    *("x-amz-storage-class", "x-amz-website-redirect-location"),
)
"""Headers of an upload, or beginnings of their names, that Amazon S3 reads from the query too."""

_TAGGING = "x-amz-tagging"
"""In the query it has no effect, and the object has no tags (aws-sdk-js-v3, issue 3496)."""

_TOKEN = "x-amz-security-token"  # noqa: S105
"""Counted as a header where it is: in the query ("Making requests with temporary credentials", Amazon S3)."""


def with_signed_headers(callback: Callback, signed: Set[str]) -> Callback:
    """Return the callback of a Version 4 URL with the headers in its query that have to be sent.

    Others stay in the query, where the store reads and verifies them. A header that was given too, with the same value,
    is left out: stores reject unsigned headers of their own.

    Args:
        callback: The URL with its headers.
        signed: Names of the signed headers, in lower case.
    """
    query, given = callback.url.lower_query(), callback.headers or SecretFields({})
    # The Content-Type of aws-sdk-js 2 isn't signed as a header, but it is the one that was asked for.
    sent = {name for name in query.reveal().keys() & {*signed, "content-type"} if query.reveal()[name]}
    kept = {name for name in given.reveal() if name in signed or not _same(query, given, name)}
    return _with(callback, query, sent, given, kept)


def with_query_headers(callback: Callback, vendor: str) -> Callback:
    """Return the callback of a Version 2 URL with the headers in its query, which are signed as headers.

    Args:
        callback: The URL with its headers.
        vendor: Prefix of the provider's own headers.
    """
    query, given = callback.url.lower_query(), callback.headers or SecretFields({})
    names = {name for name in query.reveal() if name in _OBJECT or name.startswith(vendor)} - {_TOKEN}
    sent = {name for name in names if query.reveal()[name]}
    return _with(callback, query, sent, given, set(given.reveal()))


def query_warnings(callback: Callback, signed: Set[str]) -> tuple[str, ...]:
    """Return a warning of headers in the query that the store may ignore there.

    Args:
        callback: The URL with its headers.
        signed: Names of the signed headers, in lower case.
    """
    at_amazon = is_amazon(callback.url.host)
    ignored = (_TAGGING,) if at_amazon else (_TAGGING, *_READ_BY_AMAZON)
    names = sorted([name for name in lower_names(callback.url) - signed if name.startswith(ignored)])
    if not names:
        return ()
    effect = "Amazon S3 ignores it there" if at_amazon else "Amazon S3 reads it there, and many other stores ignore it"
    hint = (
        "To have it sent as a header, presign with unhoistableHeaders in JavaScript, and give its value as s3_headers."
    )
    return (f"The URL has {names[0]} in its query; {effect}. {hint}",)


def lower_names(url: SecretURL) -> frozenset[str]:
    """Return the names of the query's parameters in lower case, without their values."""
    return frozenset([name.lower() for name in url.query_names()])


def _same(query: Secret[dict[str, str]], given: SecretFields, name: str) -> bool:
    return query.reveal().get(name) == given.reveal()[name]


def _with(
    callback: Callback, query: Secret[dict[str, str]], sent: Set[str], given: SecretFields, kept: Set[str]
) -> Callback:
    if not sent and len(kept) == len(given.reveal()):
        return callback
    found = SecretFields({name: query.reveal()[name] for name in sent})
    chosen = SecretFields({name: given.reveal()[name] for name in kept})
    return evolve(callback, headers=SecretFields({**found.reveal(), **chosen.reveal()}))
