"""Lists of the objects in a bucket of the fake AIStore; pure.

Source: AIStore's `ais/s3/lso.go`: keys are not URL-encoded, whatever `encoding-type` asks for, and the only delimiter
is a slash.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from callback_sdk.testing.aistore.responses import xml_error, xml_response, xml_text
from callback_sdk.testing.faults import FaultResponse

_MOST = 1000
TIME = "2026-01-01T00:00:00.000Z"


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
    members = [f"<Name>{bucket}</Name><Prefix>{xml_text(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"]
    members += [_contents(entry, objects, common=bool(delimiter) and entry != prefix) for entry in page]
    if len(rest) > len(page) and page:
        next_token = base64.urlsafe_b64encode(page[-1].encode(errors="surrogateescape")).decode()
        members += [f"<IsTruncated>true</IsTruncated><NextContinuationToken>{next_token}</NextContinuationToken>"]
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
