"""Google Cloud Storage: signed URLs that start a resumable upload.

Sources: "Signed URLs" in Google's documentation, and "Initiate a resumable upload" in the reference of its XML API.
"""

from __future__ import annotations

from datetime import datetime

from attrs import evolve

from callback_sdk.documents.body import Body
from callback_sdk.redaction import SecretFields
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.gcs import GCSPut, GCSPutV2
from callback_sdk.targets.gcs_sessions import MAX_OBJECT_SIZE, session_of
from callback_sdk.targets.operations import GCS, RESUMABLE, wrong_operation
from callback_sdk.targets.target import Target, TargetSettings


class _SessionStart(Target):
    """What the two versions have in common."""

    kind = "gcs-resumable"
    method = "POST"
    max_bytes = MAX_OBJECT_SIZE

    def in_parts(self, size: int, encoding: str | None) -> Target | None:
        """See `Target.in_parts`."""
        return session_of(self, encoding=encoding)


class GCSStart(_SessionStart, GCSPut):
    """A signed URL, version 4, that starts a resumable upload."""

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        signed = (callback.url.query("X-Goog-SignedHeaders") or "").lower().split(";")
        if RESUMABLE not in signed and RESUMABLE not in _headers(callback).reveal():
            return None
        return super().recognize(_with_start(callback), settings)

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`; that of the start, which has no body."""
        return self._headers(), Body()


class GCSStartV2(_SessionStart, GCSPutV2):
    """A signed URL, version 2, that starts a resumable upload. The URL doesn't tell: the header has to be given."""

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        if RESUMABLE not in _headers(callback).reveal():
            return None
        return super().recognize(_with_start(callback), settings)

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`; that of the start, which has no body."""
        return self.given, Body()


def _headers(callback: Callback) -> SecretFields:
    return callback.headers or SecretFields({})


def _with_start(callback: Callback) -> Callback:
    """Return the callback with the header that starts a session, whose value is always the same."""
    given = _headers(callback)
    if given.reveal().get(RESUMABLE, "start") != "start":
        raise wrong_operation(callback.url, GCS, f"was signed for another {RESUMABLE} than start")
    return evolve(callback, headers=SecretFields({**given.reveal(), RESUMABLE: "start"}))
