"""Lists of the objects and uploads in a bucket of the fake AIStore; pure.

Source: AIStore's `ais/s3/lso.go`: keys are not URL-encoded, whatever `encoding-type` asks for, and the only delimiter
is a slash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from attrs import define, field

from callback_sdk.testing.aistore.responses import xml_error, xml_response, xml_text
from callback_sdk.testing.faults import FaultResponse

_MOST = 1000
TIME = "2026-01-01T00:00:00.000Z"


@define
class MultipartUpload:
    """A multipart upload that was started.

    Attributes:
        bucket: Name of the bucket.
        key: Key of the object.
        parts: Bodies of the parts by number.
    """

    bucket: str
    key: str
    parts: dict[int, bytes] = field(factory=dict)


def etag(body: bytes) -> str:
    """Return the ETag of a body."""
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def list_uploads(bucket: str, uploads: Mapping[str, MultipartUpload]) -> FaultResponse:
    """Return the uploads to a bucket, as ListMultipartUploads does.

    Args:
        bucket: Name of the bucket.
        uploads: All uploads by id.
    """
    found = "".join(
        f"<Upload><Key>{xml_text(upload.key)}</Key><UploadId>{identity}</UploadId><Initiated>{TIME}</Initiated></Upload>"
        for identity, upload in uploads.items()
        if upload.bucket == bucket
    )
    return xml_response("ListMultipartUploadsResult", f"<Bucket>{bucket}</Bucket>{found}")


def list_parts(identity: str, upload: MultipartUpload) -> FaultResponse:
    """Return the parts of an upload, as ListParts does.

    Args:
        identity: Id of the upload.
        upload: The upload.
    """
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{xml_text(etag(body))}</ETag><Size>{len(body)}</Size></Part>"
        for number, body in sorted(upload.parts.items())
    )
    head = f"<Bucket>{upload.bucket}</Bucket><Key>{xml_text(upload.key)}</Key><UploadId>{identity}</UploadId>"
    return xml_response("ListPartsResult", head + parts)


def list_objects(bucket: str, objects: Mapping[str, bytes], query: Mapping[str, list[str]]) -> FaultResponse:
    """Return one page of a list of objects, as ListObjectsV2 does.

    Args:
        bucket: Name of the bucket.
        objects: Bodies by key.
        query: Parameters of the request.
    """
    prefix, delimiter, token, after, most = (
        query.get(name, [default])[0]
        for name, default in (
            ("prefix", ""),
            ("delimiter", ""),
            ("continuation-token", ""),
            ("start-after", ""),
            ("max-keys", str(_MOST)),
        )
    )
    if delimiter not in ("", "/") or not most.isdecimal():
        return xml_error(400, "wrapError", "invalid parameter of a list")
    after = base64.urlsafe_b64decode(token).decode(errors="surrogateescape") if token else after
    entries = sorted({_entry(key, prefix, delimiter) for key in objects if key.startswith(prefix)})
    rest = [entry for entry in entries if entry > after]
    page = rest[: min(int(most), _MOST)]
    truncated = len(rest) > len(page) and bool(page)
    members = [
        f"<Name>{bucket}</Name><Prefix>{xml_text(prefix)}</Prefix><ContinuationToken>{token}</ContinuationToken>",
        f"<KeyCount>{len(page)}</KeyCount><MaxKeys>{most}</MaxKeys><IsTruncated>{str(truncated).lower()}</IsTruncated>",
    ]
    members += [_contents(entry, objects, common=bool(delimiter) and entry != prefix) for entry in page]
    if truncated:
        next_token = base64.urlsafe_b64encode(page[-1].encode(errors="surrogateescape")).decode()
        members += [f"<NextContinuationToken>{next_token}</NextContinuationToken>"]
    return xml_response("ListBucketResult", "".join(members))


def _entry(key: str, prefix: str, delimiter: str) -> str:
    """Return a key, or the common prefix up to the delimiter."""
    first, found, _ = key[len(prefix) :].partition("/")
    return prefix + first + found if delimiter else key


def _contents(entry: str, objects: Mapping[str, bytes], *, common: bool) -> str:
    name = xml_text(entry)
    if common and entry.endswith("/"):
        return f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"
    return (
        f"<Contents><Key>{name}</Key><LastModified>{TIME}</LastModified><Size>{len(objects[entry])}</Size></Contents>"
    )
