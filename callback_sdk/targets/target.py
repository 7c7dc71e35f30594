"""What every kind of target has: a callback, an end, limits, and the one upload that it asks for."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from attrs import define, field

from callback_sdk.documents.body import Body
from callback_sdk.errors import ResultTooLargeError, SignedHeaderError, TargetExpiredError
from callback_sdk.redaction import Secret, SecretFields
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.signed_headers import plain_headers
from callback_sdk.targets.upload import Upload

JSON = "application/json"

GIB = 1024**3

MAX_WEBHOOK_BYTES = 256 * 1024
"""Bytes that a receiver of webhooks may be expected to take, unless it is told otherwise."""


@define(frozen=True, kw_only=True)
class TargetSettings:
    """What the planner has to know besides the callback.

    Attributes:
        stores: The hosts that are object stores.
        webhook_keys: What webhooks are signed with, the newest first.
        max_webhook_bytes: Most bytes of a webhook's document.
    """

    stores: StorageProviders = field(factory=StorageProviders)
    webhook_keys: tuple[Secret[bytes], ...] = ()
    max_webhook_bytes: int = MAX_WEBHOOK_BYTES


@define(frozen=True, kw_only=True)
class Target:
    """One place that a result goes to, with the rules of its kind.

    Attributes:
        callback: The URL and what came with it.
        expires_at: When its signature's time is over, in UTC; None when it has no end.
        max_inline_bytes: Bytes above which the document says where the results are, and doesn't hold them.
    """

    kind: ClassVar[str]
    method: ClassVar[str] = "PUT"
    accepts: ClassVar[frozenset[int]] = frozenset({200, 204})
    redirects: ClassVar[bool] = True
    max_bytes: ClassVar[int | None] = 5 * GIB
    compressible: ClassVar[bool] = True
    encoding_header: ClassVar[str] = "content-encoding"
    traced: ClassVar[bool] = False
    """Whether it is told of the trace. An object store might refuse a header that isn't signed."""

    callback: Callback
    expires_at: datetime | None = None
    max_inline_bytes: int | None = None

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """Return the target when the callback is of this kind.

        Raises:
            TargetError: It is of this kind, and broken.
        """
        raise NotImplementedError

    def check(self, *, now: datetime, size: int | None = None) -> None:
        """Refuse what the target would refuse.

        Args:
            now: The time of sending.
            size: Bytes of the document; None when it is not known yet.

        Raises:
            TargetExpiredError: Its time is over.
            ResultTooLargeError: It doesn't take as much.
            SignedHeaderError: A header came with it that can't be sent.
            TargetError: Something else that its kind knows.
        """
        self.check_limits(now=now, size=size)
        # Kinds whose signature names no headers would look at them only when they send.
        plain_headers(self.callback)

    def check_limits(self, *, now: datetime, size: int | None) -> None:
        """Do the part of `check` that `request` doesn't do by itself."""
        url = self.callback.url
        if self.expires_at is not None and now >= self.expires_at:
            raise TargetExpiredError(
                f"{url} expired at {self.expires_at:%Y-%m-%d %H:%M:%S} UTC.",
                hint="Sign a new one, with a longer life than the job may take.",
                url=str(url),
            )
        if size is not None and self.max_bytes is not None and size > self.max_bytes:
            raise ResultTooLargeError(
                f"The document has {size} bytes, and {url} takes at most {self.max_bytes} in one request.",
                hint="Write large results to a store from within the job, and return where they are.",
                url=str(url),
            )

    def content_encoding(self, wanted: str | None) -> str | None:
        """Return how the document is to be encoded: as the target was signed, else as it is wanted.

        Args:
            wanted: `"gzip"` or None.

        Raises:
            SignedHeaderError: The target was signed for an encoding that isn't made here.
        """
        signed = self.signed_encoding()
        if signed not in (None, "gzip", "identity"):
            raise SignedHeaderError(
                f"{self.callback.url} is to have the Content-Encoding {signed!r}.",
                hint="Sign it with gzip, or without Content-Encoding.",
                url=str(self.callback.url),
            )
        if signed is not None:
            return "gzip" if signed == "gzip" else None
        return wanted if self.compressible else None

    def signed_encoding(self) -> str | None:
        """Return the Content-Encoding that came with the target."""
        headers = self.callback.headers or SecretFields({})
        return next((value for name, value in headers.reveal().items() if name.lower() == "content-encoding"), None)

    def object_url(self, delivery_id: str) -> str | None:
        """Return where the object will be, without a signature; None for a target that keeps none."""
        # For a place whose path is a credential there is no URL to give to somebody else.
        return None if self.callback.url.has_secret_path else self.callback.url.bare

    def upload(self, document: Body, *, delivery_id: str, now: datetime, encoding: str | None = None) -> Upload:
        """Return the request that hands a document over.

        Args:
            document: The result document, encoded already.
            delivery_id: Stable over all tries.
            now: The time of sending.
            encoding: The document's content encoding.

        Raises:
            TargetError: The target would refuse it.
        """
        self.check_limits(now=now, size=document.size)
        headers, body = self.request(document, delivery_id=delivery_id, now=now)
        if encoding is not None:
            headers = SecretFields({**headers.reveal(), self.encoding_header: encoding})
        return Upload(
            kind=self.kind,
            method=self.method,
            url=self.callback.url,
            headers=Secret(headers.reveal()),
            body=body,
            document=document,
            expires_at=self.expires_at,
            accepts=self.accepted(),
            redirects=self.redirects,
            fields=self.callback.fields,
        )

    def accepted(self) -> frozenset[int]:
        """Return the statuses that mean: the target has it."""
        return self.accepts

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """Return the headers and the body of the request: what differs from kind to kind."""
        raise NotImplementedError
