"""Signed URLs of Google Cloud Storage: the protocol of S3 with other parameter names.

Sources: "Signed URLs", "Fully migrate from Amazon S3" and "Perform resumable uploads" in Google's documentation.
"""

from __future__ import annotations

import re
from datetime import datetime

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.documents.body import Body
from callback_sdk.redaction import SecretFields
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.identifiers import RSA_2048, UNIX_TIME, Identifiers
from callback_sdk.targets.operations import GCS, wrong_operation
from callback_sdk.targets.provider_table import GOOGLE, WEEK
from callback_sdk.targets.s3 import S3Put, S3PutV2
from callback_sdk.targets.signatures import GOOGLE_V2, GOOGLE_V4
from callback_sdk.targets.target import GIB, Target, TargetSettings


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


_UPLOAD = "/upload/storage/v1/b/"
"""The path of uploads in the JSON API, at storage.googleapis.com and www.googleapis.com."""


class GCSSession(Target):
    """The URI of a resumable upload's session."""

    kind = "gcs-session"
    identifiers = Identifiers(
        values={
            "upload_id": re.compile("[A-Za-z0-9_-]{40,}"),
            "uploadType": re.compile("media|multipart|resumable"),
            "upload_protocol": re.compile("resumable"),
        }
    )
    accepts = frozenset({200, 201})
    # 308 is not a redirect there: it means that the upload is incomplete.
    redirects = False
    # Content-Encoding is metadata, which belongs to the session's start.
    compressible = False
    max_bytes = 5 * 1024 * GIB

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        has_session = "upload_id" in url.query_names()
        if not has_session and url.query("uploadType") != "resumable":
            return None
        # A session that a signed URL started has the parameters of its signature too.
        is_signed = "X-Goog-Signature" in url.query_names() or "GoogleAccessId" in url.query_names()
        if not (is_signed or url.path.startswith(_UPLOAD)) and settings.stores.provider(url) is not GOOGLE:
            return None
        if not has_session:
            raise wrong_operation(url, GCS, "only starts a resumable upload (uploadType)")
        return cls(callback=callback)

    def object_url(self, delivery_id: str) -> str | None:
        """See `Target.object_url`; the JSON API has the name of the object in the query."""
        url = self.callback.url
        return None if url.path.startswith(_UPLOAD) else url.bare

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`; of a session each request has a range, see `callback_sdk.targets.gcs_sessions`."""
        return SecretFields({"content-type": self.media_type, **given_headers(self.callback).reveal()}), document

    def in_parts(self, size: int, encoding: str | None) -> Target | None:
        """See `Target.in_parts`."""
        # Imported here, because few processes need it.
        with no_fork:
            from callback_sdk.targets.gcs_sessions import session_of

        return session_of(self, is_own=False)
