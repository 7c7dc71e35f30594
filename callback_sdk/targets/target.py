"""Target: the base class of all kinds of targets, with expiry, limits and the upload that it calls for."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from attrs import define, field

from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackParamError, ResultTooLargeError, SignedHeaderError, TargetExpiredError
from callback_sdk.redaction import Secret, SecretFields
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.identifiers import Identifiers
from callback_sdk.targets.provider_table import Feature, Provider
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.support import support_warnings
from callback_sdk.targets.upload import Upload

if TYPE_CHECKING:
    from callback_sdk.webhooks import SigningKeys

JSON = "application/json"

GIB = 1024**3

MAX_WEBHOOK_BYTES = 256 * 1024
"""Default limit of a webhook's document, in bytes: below the body limits of common receivers (1 MiB in nginx)."""


@define(frozen=True, kw_only=True, eq=False, repr=False)
class TargetSettings:
    """Configuration of targets.

    Attributes:
        stores: Hosts of known object stores.
        webhook_keys: Returns the signing keys of webhooks, newest first; called for each attempt that is signed.
        max_webhook_bytes: Largest document of a webhook.
    """

    stores: StorageProviders = field(factory=StorageProviders)
    webhook_keys: SigningKeys = tuple
    max_webhook_bytes: int = MAX_WEBHOOK_BYTES


@define(frozen=True, kw_only=True)
class Target:
    """A destination of one result, with the rules of its kind.

    Attributes:
        callback: The URL with its parameters.
        expires_at: When the signature expires, in UTC; None if it doesn't.
        max_inline_bytes: Size above which the document has the URL of the results instead of the results.
        provider: The object storage provider of its host; None for an unknown host.
        media_type: Media type of what is uploaded.
        subject: What is uploaded, as errors of its size begin.
    """

    kind: ClassVar[str]
    identifiers: ClassVar[Identifiers] = Identifiers()
    """Query parameters of this kind's signature: a URL with them that isn't recognized is rejected as incomplete."""
    method: ClassVar[str] = "PUT"
    accepts: ClassVar[frozenset[int]] = frozenset({200, 204})
    redirects: ClassVar[bool] = True
    max_bytes: ClassVar[int | None] = 5 * GIB
    compressible: ClassVar[bool] = True
    encoding_header: ClassVar[str] = "content-encoding"
    traced: ClassVar[bool] = False
    """Whether requests carry `traceparent`. An object store may reject an unsigned header."""

    takes_files: ClassVar[bool] = True
    """Whether it stores what it is sent, so that it may be an output file."""

    has_bucket: ClassVar[bool] = True
    """Whether its object is in a bucket, whose name may be in the host or in the path of the URL."""

    callback: Callback
    expires_at: datetime | None = None
    max_inline_bytes: int | None = None
    provider: Provider | None = None
    media_type: str = JSON
    subject: str = "The document"

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """Return the target if the callback is of this kind, else None.

        Raises:
            TargetError: It is of this kind and invalid.
        """
        raise NotImplementedError

    def check(self, *, now: datetime, size: int | None = None) -> None:
        """Check offline whether the target would accept a document, now or after its issuer replaced it.

        Args:
            now: The time of sending.
            size: Bytes of the document; None before they are known.

        Raises:
            TargetExpiredError: The signature has expired, and there is no issuer.
            ResultTooLargeError: The document is too large.
            SignedHeaderError: A given header can't be sent.
            TargetError: Another check of this kind failed.
        """
        self.check_limits(now=now, size=size)
        # Kinds whose signature names no headers check them only when they send.
        given_headers(self.callback)

    def check_limits(self, *, now: datetime, size: int | None) -> None:
        """Do the part of `check` that `request` doesn't include."""
        url = self.callback.url
        if self.callback.issuer is None:
            self.check_expiry(now)
        if size is not None and self.max_bytes is not None and size > self.max_bytes:
            raise ResultTooLargeError(
                f"{self.subject} has {size} bytes, and {url} takes at most {self.max_bytes} in one request.",
                hint="Store large results from within the job, and return their URLs.",
                url=str(url),
            )
        self.content_encoding(None)

    def has_expired(self, now: datetime) -> bool:
        """Return whether the signature has expired."""
        return self.expires_at is not None and now >= self.expires_at

    def check_expiry(self, now: datetime) -> None:
        """Reject an expired target.

        Raises:
            TargetExpiredError: The signature has expired.
        """
        if self.has_expired(now):
            url = self.callback.url
            raise TargetExpiredError(
                f"{url} expired at {self.expires_at:%Y-%m-%d %H:%M:%S} UTC.",
                hint="Presign a new URL with an `expires` longer than the job and its retries take.",
                url=str(url),
            )

    def needs(self) -> frozenset[Feature]:
        """Return what the target needs that some object stores don't support."""
        return frozenset()

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """Return what may go wrong although `check` finds no error.

        Args:
            now: The time of sending.
        """
        return () if self.provider is None else support_warnings(self.needs(), self.provider)

    def assumptions(self) -> tuple[str, ...]:
        """Return what is assumed of the signature because the URL doesn't tell it, and is usually right."""
        return ()

    def content_encoding(self, wanted: str | None) -> str | None:
        """Return the content encoding of the document: the signed one, else the wanted one.

        Args:
            wanted: `"gzip"` or None.

        Raises:
            SignedHeaderError: The signed encoding is not supported.
        """
        signed = self.signed_encoding()
        if signed not in (None, "gzip", "identity"):
            raise SignedHeaderError(
                f"{self.callback.url} is signed with the unsupported Content-Encoding {signed!r}.",
                hint="Presign with gzip, or without Content-Encoding.",
                url=str(self.callback.url),
            )
        if signed is not None:
            return "gzip" if signed == "gzip" else None
        return wanted if self.compressible else None

    def signed_encoding(self) -> str | None:
        """Return the Content-Encoding given with the target."""
        headers = self.callback.headers or SecretFields({})
        return headers.reveal().get("content-encoding")

    def public_path_start(self, provider: Provider | None) -> int | None:
        """Return where the name of an object begins in the URL's path, which is not secret; None without such a name.

        Args:
            provider: The provider of its host; None for an unknown host.
        """
        return 0

    def object_url(self, delivery_id: str) -> str | None:
        """Return the object's URL without a signature; None for a target that stores no object."""
        # A URL whose path is a credential must not be given to another target.
        return None if self.callback.url.has_secret_path else self.callback.url.bare

    def takes_outputs(self) -> bool:
        """Return whether its signature permits output files beside the document, under any name."""
        return False

    def below(self, name: str, media_type: str) -> Target:
        """Return the target of one output file.

        Args:
            name: The file's name.
            media_type: The file's media type.

        Raises:
            OutputError: The key would be too long.
        """
        raise NotImplementedError

    def takes_events(self) -> bool:
        """Return whether events can be sent to it.

        Each event must be an object of its own. A request that timed out may still arrive: as another version of the
        document it would replace the result.
        """
        return self.callback.prefix is not None and self.takes_outputs()

    def check_events(self) -> None:
        """Reject a subscription to events before the end if the target takes none.

        Raises:
            CallbackParamError: The target is for a single object.
        """
        if self.callback.takes_events and not self.takes_events():
            raise CallbackParamError(
                f"{self.callback.shown_url} takes a single object, and its events have started or progress: an event "
                "that arrives late would replace the result.",
                hint="Send the events to a webhook, or presign a prefix with S3Signer(bucket).presign_prefix(...), "
                "below which each event is an object of its own.",
                url=str(self.callback.shown_url),
            )

    def of_event(self, sequence: int) -> Target:
        """Return the target of one event.

        Args:
            sequence: The number of the event.

        Raises:
            OutputError: The key would be too long.
        """
        if self.callback.prefix is None:
            raise TypeError(f"{self.kind} takes no events")
        return self.below(self.callback.prefix.event(sequence), JSON)

    def upload(self, document: Body, *, delivery_id: str, now: datetime, encoding: str | None = None) -> Upload:
        """Return the request that uploads a document.

        Args:
            document: The result document, encoded.
            delivery_id: The same in every attempt.
            now: The time of sending.
            encoding: The document's content encoding.

        Raises:
            TargetError: The target would reject it.
        """
        self.check_expiry(now)
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
            accepts=self.success_statuses(),
            redirects=self.redirects,
            fields=self.callback.fields,
            assumptions=self.assumptions(),
        )

    def in_parts(self, size: int, encoding: str | None) -> Target | None:
        """Return the `MultipartTarget` for a document that takes several requests; None for one request.

        Args:
            size: Bytes of the document.
            encoding: The document's content encoding.
        """
        return None

    def success_statuses(self) -> frozenset[int]:
        """Return the statuses of success."""
        return self.accepts

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """Return headers and body of the request, the part that differs between kinds."""
        raise NotImplementedError
