"""Download an object of bounded size, with any boto3 client for S3."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from attrs import evolve

from callback_sdk.receivers.bodies import read_bounded, unzip
from callback_sdk.receivers.objects import BucketObject

_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "404", "MethodNotAllowed"})
"""Codes of an object that doesn't exist any more. A version that is a delete marker is answered with 405."""


def download(client: Any, stored: BucketObject, max_bytes: int) -> tuple[BucketObject, bytes] | None:
    """Download an object.

    In a versioned bucket it is the version of the notification. In any other it is the current object, which may have
    replaced that of the notification; its ETag tells.

    Args:
        client: A boto3 client for S3.
        stored: The object.
        max_bytes: Maximum bytes, also after decompression.

    Returns:
        The object as it is stored, and its bytes, decompressed; None if it was deleted.

    Raises:
        BodyTooLargeError: It has more bytes.
        DocumentError: It is not valid gzip, as its Content-Encoding says.
        botocore.exceptions.ClientError: The request failed.
    """
    version = {} if stored.version_id is None else {"VersionId": stored.version_id}
    try:
        response = client.get_object(Bucket=stored.bucket, Key=stored.key, **version)
    except Exception as error:
        if _code(error) in _GONE:
            return None
        raise
    with closing(response["Body"]) as body:
        data = read_bounded(body.read, response.get("ContentLength"), max_bytes)
    found = evolve(stored, etag=(response.get("ETag") or "").strip('"') or None, size=len(data))
    return found, unzip(data, max_bytes) if response.get("ContentEncoding") == "gzip" else data


def _code(error: Exception) -> str:
    """Return the error code of a `botocore.exceptions.ClientError`; empty for any other error."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
