"""Supabase Storage: signed upload URLs, whose token is a JWT.

Source: `createSignedUploadUrl` and `uploadToSignedUrl` in Supabase's reference, and its server, `supabase/storage`.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

from callback_sdk.documents.body import Body
from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.expiry import EPOCH, incomplete_url_error
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.operations import Family, wrong_operation
from callback_sdk.targets.signatures import QueryParameters
from callback_sdk.targets.target import Target, TargetSettings

SUPABASE = Family(
    operations=(),
    hint="Create an upload URL: storage.from_(bucket).create_signed_upload_url(path).",
)

_UPLOAD = "/storage/v1/object/upload/sign/"
_OTHERS = {
    "/storage/v1/object/sign/": "is for reading an object",
    "/storage/v1/render/image/sign/": "is for reading an image",
    "/storage/v1/upload/resumable": "is for a resumable upload (TUS)",
}


class SupabaseUpload(Target):
    """A signed upload URL of Supabase Storage. Whether it may replace an object is in its token (upsert)."""

    kind = "supabase-put"
    accepts = frozenset({200})
    redirects = False
    # Its server keeps Content-Type and Cache-Control, and no Content-Encoding.
    compressible = False

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        for prefix, problem in _OTHERS.items():
            if url.path.startswith(prefix):
                raise wrong_operation(url, SUPABASE, problem)
        if not url.path.startswith(_UPLOAD):
            return None
        bucket, _, name = url.path.removeprefix(_UPLOAD).partition("/")
        if not bucket or not name:
            raise wrong_operation(url, SUPABASE, "has no object name: its path ends with the bucket")
        claims = _claims(url)
        if claims.reveal().get("url") not in (None, unquote(f"{bucket}/{name}")):
            raise InvalidTargetError(
                f"The token of {url} is for another object.",
                hint="Pass the signed URL unchanged, as create_signed_upload_url returned it.",
                url=str(url),
            )
        return cls(callback=callback, expires_at=_end(url, claims))

    def object_url(self, delivery_id: str) -> str | None:
        """See `Target.object_url`."""
        url = self.callback.url
        return f"{url.origin}/storage/v1/object/{url.path.removeprefix(_UPLOAD)}"

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        return SecretFields({"content-type": self.media_type, **given_headers(self.callback).reveal()}), document


def _claims(url: SecretURL) -> Secret[dict[str, Any]]:
    """Return the claims of the token (RFC 7519). Only the server can verify its signature."""
    QueryParameters(url).check_once(["token"])
    token = url.secret_query("token") or Secret("")
    parts = Secret(token.reveal().split("."))
    try:
        claims = Secret(json.loads(base64.urlsafe_b64decode(f"{parts.reveal()[1]}===")))
    except (IndexError, ValueError, RecursionError):
        claims = Secret(None)
    if len(parts.reveal()) != 3 or not all(parts.reveal()) or not isinstance(claims.reveal(), dict):
        raise incomplete_url_error(url, "token is not a JWT")
    return claims


def _end(url: SecretURL, claims: Secret[dict[str, Any]]) -> datetime | None:
    end = claims.reveal().get("exp")
    if end is None:
        return None
    if isinstance(end, bool) or not isinstance(end, (int, float)) or not 0 <= end < 10**11:
        raise incomplete_url_error(url, "the expiry in its token is not a time")
    return EPOCH + timedelta(seconds=end)
