"""Read the webhooks of SeaweedFS, whose filer reports changes of all its files; pure.

Source: what SeaweedFS 4.48 sends; `weed scaffold -config=notification` documents the settings.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from callback_sdk.receivers.objects import BucketObject

_BUCKETS = "/buckets/"
_STORES = frozenset({"create", "update", "rename"})
_VERSIONS = ".versions/"
"""Ends the key of an object in a versioned bucket; the name of the version follows."""

_ETAG, _VERSION, _DELETED = "Seaweed-X-Amz-ETag", "Seaweed-X-Amz-Version-Id", "Seaweed-X-Amz-Delete-Marker"
"""Extended attributes of a file, in base64."""


def is_filer_event(event: Mapping[str, Any]) -> bool:
    """Return whether a notification is that of SeaweedFS.

    Args:
        event: The notification.
    """
    return isinstance(event.get("event_type"), str) and isinstance(event.get("message"), dict)


def stored_by_filer(event: Mapping[str, Any]) -> Iterator[BucketObject]:
    """Yield the object that was stored, if it is one: directories, parts of uploads and delete markers are none.

    Args:
        event: The notification.
    """
    entry, path = event["message"].get("new_entry"), event.get("key")
    if event["event_type"] not in _STORES or not isinstance(entry, dict) or not isinstance(path, str):
        return
    bucket, _, key = path.removeprefix(_BUCKETS).partition("/")
    attributes = entry.get("extended")
    attributes = attributes if isinstance(attributes, dict) else {}
    is_hidden = bucket.startswith(".") or key.startswith(".uploads/")
    if not path.startswith(_BUCKETS) or not key or is_hidden or entry.get("is_directory") or _DELETED in attributes:
        return
    version = _attribute(attributes, _VERSION)
    if version is not None:
        key = key.rpartition(_VERSIONS)[0] or key
    version = None if version == "null" else version
    yield BucketObject(bucket=bucket, key=key, version_id=version, etag=_attribute(attributes, _ETAG))


def _attribute(attributes: Mapping[str, Any], name: str) -> str | None:
    value = attributes.get(name)
    try:
        return base64.b64decode(value, validate=True).decode() if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None
