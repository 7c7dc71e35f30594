"""Signed URLs of Google Cloud Storage: the protocol of S3 with other parameter names.

Source: "Signed URLs" and "Fully migrate from Amazon S3" in Google's documentation.
"""

from __future__ import annotations

from callback_sdk.targets.identifiers import RSA_2048, UNIX_TIME, Identifiers
from callback_sdk.targets.operations import GCS
from callback_sdk.targets.provider_table import WEEK
from callback_sdk.targets.s3 import S3Put, S3PutV2
from callback_sdk.targets.signatures import GOOGLE_V2, GOOGLE_V4


class GCSPut(S3Put):
    """A Google Cloud Storage signed URL, version 4."""

    kind = "gcs-put"
    identifiers = Identifiers("x-goog-*")
    version = GOOGLE_V4
    vendor = "x-goog-"
    family = GCS
    max_lifetime = WEEK
    accepts = frozenset({200, 201, 204})


class GCSPutV2(S3PutV2):
    """A Google Cloud Storage signed URL, version 2."""

    kind = "gcs-put-v2"
    # The signature is one of RSA with 2,048 bits. CloudFront's, which has the same length, ends with "__".
    identifiers = Identifiers("googleaccessid", {"Signature": RSA_2048, "Expires": UNIX_TIME})
    key_id = "GoogleAccessId"
    forms = GOOGLE_V2
    vendor = "x-goog-"
    family = GCS
    accepts = frozenset({200, 201, 204})
