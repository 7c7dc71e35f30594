"""Signed URLs of Google Cloud Storage: the protocol of S3 with other parameter names.

Source: "Signed URLs" and "Fully migrate from Amazon S3" in Google's documentation.
"""

from __future__ import annotations

from callback_sdk.targets.operations import GCS
from callback_sdk.targets.s3 import S3Put, S3PutV2


class GCSPut(S3Put):
    """A Google Cloud Storage signed URL, version 4."""

    kind = "gcs-put"
    prefix = "X-Goog-"
    vendor = "x-goog-"
    family = GCS
    accepts = frozenset({200, 201, 204})


class GCSPutV2(S3PutV2):
    """A Google Cloud Storage signed URL, version 2."""

    kind = "gcs-put-v2"
    names = frozenset({"GoogleAccessId", "Signature", "Expires"})
    family = GCS
    accepts = frozenset({200, 201, 204})
