"""Presigned multipart uploads: URLs of the parts, the completion, the abort and the object.

Sources: "Amazon S3 multipart upload limits" in the S3 user guide; UploadPart, CompleteMultipartUpload,
AbortMultipartUpload and HeadObject in its API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from attrs import define, evolve

from callback_sdk.errors import SigningError
from callback_sdk.models import PresignedMultipart
from callback_sdk.redaction import Secret, SecretFields
from callback_sdk.signer.buckets import Location
from callback_sdk.signer.options import MAX_LIFETIME
from callback_sdk.signer.puts import signed_urls
from callback_sdk.signer.signing_context import SigningContext
from callback_sdk.targets.s3_multipart import MAX_PART_SIZE, MIN_PART_SIZE
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.limits import MAX_PARTS

MAX_OBJECT_SIZE = 5 * 1024**4
"""Maximum bytes of an object at most stores. Amazon S3 has accepted more since the end of 2025."""

_ON_EACH = {"RequestPayer": "x-amz-request-payer", "ExpectedBucketOwner": "x-amz-expected-bucket-owner"}
"""Arguments of boto3 that every request of an upload has, with their headers."""

_OWN = frozenset({"Bucket", "Key", "ContentType", "ACL", "Metadata"})
"""Arguments of boto3 that are given by other names."""

_NEED_THE_DOCUMENT = ("SSECustomer", "Checksum")
"""Beginnings of arguments of boto3 after which each part needs a key or a checksum of its own."""


@define(frozen=True)
class PartSizes:
    """The sizes of a multipart upload.

    Attributes:
        part_size: Bytes of each part but the last one.
        count: Number of parts.
    """

    part_size: int
    count: int

    @classmethod
    def of(cls, part_size: int, max_bytes: int) -> PartSizes:
        """Return the sizes for objects up to a size.

        Raises:
            SigningError: S3 has no such upload.
        """
        for name, value, most in (("part_size", part_size, MAX_PART_SIZE), ("max_bytes", max_bytes, MAX_OBJECT_SIZE)):
            if type(value) is not int or not 1 <= value <= most:
                raise SigningError(f"{name} is {short_repr(value)}.", hint=f"Give a number of bytes, up to {most}.")
        if part_size < MIN_PART_SIZE:
            raise SigningError(
                f"part_size is {part_size}.",
                hint=f"Give {MIN_PART_SIZE} bytes (5 MiB) at least: S3 takes smaller parts only at the end.",
            )
        count = -(-max_bytes // part_size)
        if count > MAX_PARTS:
            raise SigningError(
                f"An object of {max_bytes} bytes has {count} parts of {part_size} bytes; S3 takes {MAX_PARTS}.",
                hint=f"Give a part_size of {-(-max_bytes // MAX_PARTS)} bytes at least.",
            )
        return cls(part_size, count)


def creation(
    content_type: str | None, acl: str | None, metadata: Mapping[str, str] | None, create: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the arguments of boto3's `create_multipart_upload`.

    Raises:
        SigningError: One of them belongs elsewhere, or needs more than presigned URLs can have.
    """
    if create is not None and not isinstance(create, Mapping):
        raise SigningError(f"create is of type {type(create).__name__}.", hint='Give a dict: {"Tagging": "run=42"}.')
    for name in create or {}:
        if name in _OWN:
            raise SigningError(f"create has {name}.", hint="Give it by its own argument of presign_multipart.")
        if name == "ContentEncoding":
            raise SigningError(
                "create has ContentEncoding.", hint="Leave it out: documents are sent in parts as they are."
            )
        if isinstance(name, str) and name.startswith(_NEED_THE_DOCUMENT):
            raise SigningError(
                f"create has {name}, after which each part needs a key or a checksum that a URL doesn't have.",
                hint='Leave it out. For encryption give {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": ...}.',
            )
    given = {"ContentType": content_type, "ACL": acl, "Metadata": None if metadata is None else dict(metadata)}
    return {name: value for name, value in {**given, **(create or {})}.items() if value is not None}


def common_headers(create: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that every request of an upload has, by lower-case names."""
    return {header: str(create[name]) for name, header in _ON_EACH.items() if name in create}


def longer(context: SigningContext, credentials_end: datetime | None) -> SigningContext:
    """Return the context of signatures that outlive others by a day, as far as the credentials last.

    Args:
        context: That of the others.
        credentials_end: When the credentials expire; None if they don't.
    """
    extra = (
        timedelta(days=1) if credentials_end is None else min(timedelta(days=1), credentials_end - context.expires_at)
    )
    seconds = min(context.seconds + max(0, int(extra.total_seconds())), int(MAX_LIFETIME.total_seconds()))
    return evolve(
        context, seconds=seconds, expires_at=context.expires_at + timedelta(seconds=seconds - context.seconds)
    )


def multipart_urls(
    place: Location,
    key: str,
    upload_id: Secret[str],
    sizes: PartSizes,
    headers: Mapping[str, str],
    *,
    context: SigningContext,
    lasting: SigningContext,
    write_once: bool,
) -> PresignedMultipart:
    """Sign the URLs of an upload.

    Args:
        place: Location of the bucket.
        key: The key, from `encode_key`.
        upload_id: Id of the upload.
        sizes: Size and number of the parts.
        headers: Headers of every request, by lower-case names.
        context: Timestamp, credentials and validity of parts and completion.
        lasting: The same for the requests that abort the upload and that query the object, valid for longer.
        write_once: Whether the completion fails if the object exists.
    """
    own = Secret(f"uploadId={quote(upload_id.reveal(), safe='-_.~')}")
    completing = {"if-none-match": "*", **headers} if write_once else headers
    part, numbers = signed_urls("PUT", place, headers, context), range(1, sizes.count + 1)
    return PresignedMultipart(
        url=signed_urls("POST", place, completing, context)(key, own.reveal()),
        parts=Secret(
            {
                "part_size": sizes.part_size,
                "urls": [part(key, f"partNumber={number}&{own.reveal()}").reveal() for number in numbers],
                "abort": signed_urls("DELETE", place, headers, lasting)(key, own.reveal()).reveal(),
                "head": signed_urls("HEAD", place, headers, lasting)(key).reveal(),
            }
        ),
        headers=SecretFields(completing),
        expires_at=context.expires_at,
    )
