"""Sessions of resumable uploads to Google Cloud Storage, which take a document in consecutive ranges.

Only a completed upload is an object. A session that was given up is discarded after a week.

Source: "Resumable uploads" and "Perform resumable uploads" in Google's documentation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import define, evolve

from callback_sdk.documents.body import Body
from callback_sdk.errors import DeliveryError, InvalidTargetError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.locations import resolve_location
from callback_sdk.targets.multipart import SessionTarget, StoreResponse
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.target import GIB, Target
from callback_sdk.targets.upload import Upload
from callback_sdk.text.limits import MAX_URL

MAX_OBJECT_SIZE = 5 * 1024 * GIB
"""Maximum bytes of an object."""

RANGE_SIZE = 64 * 1024**2
"""Bytes of each request of a session but the last one: a multiple of 256 KiB, which Google stores whole."""

_STORED = re.compile(r"bytes=0-([0-9]{1,15})")
_MD5 = re.compile(r"md5=([A-Za-z0-9+/]{22}==)")

_GONE = frozenset({404, 410, 499})
"""Statuses of a session that has expired, has failed or was canceled."""

_INCOMPLETE = 308
"""Status of a request after which bytes are missing. It is not a redirect."""


@define(frozen=True, kw_only=True)
class GCSUpload(SessionTarget):
    """A resumable upload: its session, and what starts one.

    Attributes:
        origin: The target that starts a session, or that is one.
        session: The session; None before it is started.
        encoding: Content encoding of the document.
        is_own: Whether each attempt starts a session. A session that was given may have bytes of an earlier attempt.
    """

    kind = "gcs-resumable"
    accepts = frozenset({200, 201})
    redirects = False

    origin: Target
    session: SecretURL | None
    encoding: str | None
    is_own: bool

    def start(self, document: Body, *, now: datetime) -> Upload | None:
        """See `MultipartTarget.start`."""
        if not self.is_own:
            return None
        return evolve(
            self.origin.upload(document, delivery_id="", now=now, encoding=self.encoding),
            accepts=self.accepts,
            redirects=False,
        )

    def with_session(self, response: StoreResponse) -> GCSUpload:
        """See `MultipartTarget.started`.

        Raises:
            DeliveryError: The response has no URI of a session, or that of another provider.
        """
        url, location = self.callback.url, Secret(response.headers.get("location", ""))
        session = _session(url, location)
        if session is None:
            raise DeliveryError(
                f"{url} answered {response.status} to the start of a resumable upload without the URI of a session "
                "(Location) at the same provider; nothing was sent there.",
                hint="A proxy between here and the store removes or changes it: have it pass this header.",
                url=str(url),
                status=response.status,
            )
        return evolve(self, session=session)

    def query(self, document: Body, *, now: datetime) -> Upload:
        """See `SessionTarget.query`."""
        return self._put(document, Body(), {"content-range": f"bytes */{document.size}"})

    def send_from(self, start: int, document: Body, *, now: datetime) -> Upload:
        """See `SessionTarget.send_from`.

        The last request has the MD5 of the whole document: Google compares it with what the session has.
        """
        body = document.cut(start, self.part_size)
        end = start + body.size
        which = f"{start}-{end - 1}" if body.size else "*"
        hashes = {"x-goog-hash": f"md5={document.content_md5}"} if end == document.size else {}
        return self._put(document, body, {"content-range": f"bytes {which}/{document.size}", **hashes})

    def progress(self, response: StoreResponse, document: Body) -> int | None:
        """See `SessionTarget.progress`."""
        if response.status != _INCOMPLETE:
            return None
        match = _STORED.fullmatch(response.headers.get("range", "").strip())
        # Without a range nothing is stored ("Check the status of a resumable upload").
        count = int(match[1]) + 1 if match else 0
        if count > document.size:
            raise self._of_another(f"has {count} bytes, and the document {document.size}", response)
        return count

    def check_stored(self, response: StoreResponse, document: Body) -> None:
        """See `SessionTarget.check_stored`."""
        size, md5 = _size_and_md5(response)
        if size not in (None, str(document.size)) or md5 not in (None, document.content_md5):
            raise self._of_another("stored an object with another size or MD5 than the document", response)

    def has_lost_parts(self, error: DeliveryError) -> bool:
        """See `MultipartTarget.has_lost_parts`."""
        return error.status in _GONE

    def abort(self, *, now: datetime) -> Upload | None:
        """See `MultipartTarget.abort`; a session that was given stays as it is."""
        if self.session is None or not self.is_own:
            return None
        return evolve(self._put(Body(), Body(), {}), method="DELETE", accepts=_GONE | {204})

    def _put(self, document: Body, body: Body, own: Mapping[str, str]) -> Upload:
        # The headers of an own session were sent with its start.
        given = SecretFields({}) if self.is_own else given_headers(self.callback)
        usual = {} if self.is_own else {"content-type": self.media_type}
        return Upload(
            kind=self.origin.kind,
            method="PUT",
            url=self.session or self.callback.url,
            headers=Secret({**usual, **given.reveal(), **own}),
            body=body,
            document=document,
            expires_at=None,
            accepts=self.accepts,
            redirects=False,
            other_secrets=self.callback.url.secrets(),
        )

    def _of_another(self, problem: str, response: StoreResponse) -> DeliveryError:
        url = self.callback.url
        return DeliveryError(
            f"The upload session of {url} {problem}: it was begun with another document, or the document was damaged.",
            hint="Start another session for this document, and check the object.",
            url=str(url),
            status=response.status,
            retryable=self.is_own,
        )


def session_of(origin: Target, *, encoding: str | None = None, is_own: bool = True) -> GCSUpload:
    """Return the upload of a target.

    Args:
        origin: What starts a session, or is one.
        encoding: The document's content encoding.
        is_own: Whether the upload starts the session.
    """
    return GCSUpload(
        callback=origin.callback,
        expires_at=origin.expires_at,
        provider=origin.provider,
        media_type=origin.media_type,
        part_size=RANGE_SIZE,
        max_parts=MAX_OBJECT_SIZE // RANGE_SIZE,
        origin=origin,
        session=None if is_own else origin.callback.url,
        encoding=encoding,
        is_own=is_own,
    )


def _session(url: SecretURL, location: Secret[str]) -> SecretURL | None:
    """Return the URI of a session; None if it is not one, or at another provider than the URL that started it."""
    if not 0 < len(location.reveal()) <= MAX_URL:
        return None
    try:
        session = resolve_location(url, location.reveal())
    except InvalidTargetError:
        return None
    stores = StorageProviders()
    provider = stores.provider(url)
    is_near = session.host == url.host or (provider is not None and stores.provider(session) is provider)
    is_safe = session.scheme == "https" or (session.scheme == url.scheme == "http")
    is_plain = not (session.has_userinfo or session.has_forbidden_characters)
    if not (is_near and is_safe and is_plain and "upload_id" in session.query_names()):
        return None
    return session.with_public_path() if session.path == url.path else session


def _size_and_md5(response: StoreResponse) -> tuple[str | None, str | None]:
    """Return size and MD5 in base64 of the object in the response to its last range; None where it doesn't tell.

    The XML API has them in headers, and the JSON API in the object's metadata.
    """
    metadata = _json_object(response.body)
    match = _MD5.search(response.headers.get("x-goog-hash", ""))
    size = response.headers.get("x-goog-stored-content-length") or metadata.get("size")
    md5 = match[1] if match else metadata.get("md5Hash")
    return (size if isinstance(size, str) else None, md5 if isinstance(md5, str) else None)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body) if body.lstrip()[:1] == b"{" else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
