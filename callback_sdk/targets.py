"""From a callback to a target, and from a target to the one upload it asks for; no network, no clock.

A new kind of target is one class here and its line in `KINDS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

from attrs import define, field

from callback_sdk import webhooks
from callback_sdk.body import Body
from callback_sdk.callbacks import Callback, callbacks
from callback_sdk.errors import (
    InvalidS3FieldsError,
    InvalidTargetError,
    MissingS3FieldsError,
    ResultTooLargeError,
    TargetExpiredError,
)
from callback_sdk.models import Upload
from callback_sdk.multipart import FormFile, encode_form
from callback_sdk.policy import Policy, parse_policy
from callback_sdk.redaction import Secret, SecretFields, SecretURL, hide
from callback_sdk.signed_headers import plain_headers, put_headers
from callback_sdk.stores import Stores

JSON = "application/json"

GIB = 1024**3


@define(frozen=True, kw_only=True)
class Settings:
    """What the planner has to know besides the callback.

    Attributes:
        stores: The hosts that are object stores.
        webhook_keys: What webhooks are signed with, the newest first.
    """

    stores: Stores = field(factory=Stores)
    webhook_keys: tuple[Secret[bytes], ...] = ()


@define(frozen=True, kw_only=True)
class Target:
    """One place that a result goes to, with the rules of its kind.

    Attributes:
        callback: The URL and what came with it.
        expires_at: When its signature's time is over, in UTC; None when it has no end.
    """

    kind: ClassVar[str]
    method: ClassVar[str] = "PUT"
    accepts: ClassVar[frozenset[int]] = frozenset({200, 204})
    redirects: ClassVar[bool] = True
    max_size: ClassVar[int | None] = 5 * GIB

    callback: Callback
    expires_at: datetime | None = None

    @classmethod
    def recognize(cls, callback: Callback, settings: Settings) -> Target | None:
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
            TargetError: Something else that its kind knows.
        """
        url = self.callback.url
        if self.expires_at is not None and now >= self.expires_at:
            raise TargetExpiredError(
                f"{url} expired at {self.expires_at:%Y-%m-%d %H:%M:%S} UTC.",
                hint="Sign a new one, with a longer life than the job may take.",
                url=str(url),
            )
        if size is not None and self.max_size is not None and size > self.max_size:
            raise ResultTooLargeError(
                f"The document has {size} bytes, and {url} takes at most {self.max_size} in one request.",
                hint="Write large results to a store from within the job, and return where they are.",
                url=str(url),
            )

    def upload(self, document: Body, *, delivery_id: str, now: datetime) -> Upload:
        """Return the request that hands a document over.

        Args:
            document: The result document.
            delivery_id: Stable over all tries.
            now: The time of sending.

        Raises:
            TargetError: The target would refuse it.
        """
        self.check(now=now, size=document.size)
        headers, body = self.request(document, delivery_id=delivery_id, now=now)
        return Upload(
            kind=self.kind,
            method=self.method,
            url=self.callback.url,
            headers=Secret(headers.reveal()),
            body=body,
            document=document,
            expires_at=self.expires_at,
            accepts=self.accepts,
            redirects=self.redirects,
        )

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """Return the headers and the body of the request: what differs from kind to kind."""
        raise NotImplementedError


@define(frozen=True, kw_only=True)
class FormPost(Target):
    """An S3 presigned POST: a form with the signed fields in their order, and the document as its file."""

    kind = "s3-post"
    method = "POST"
    accepts = frozenset({200, 201, 204})
    signature_names: ClassVar[frozenset[str]] = frozenset({"x-amz-signature", "signature"})

    policy: Policy

    @classmethod
    def recognize(cls, callback: Callback, settings: Settings) -> Target | None:
        """See `Target.recognize`."""
        if callback.fields is None:
            return None
        names = {name.lower() for name in callback.fields.reveal()}
        url = callback.url
        if _SIGNATURES & url.query_names():
            raise InvalidS3FieldsError(
                f"{url} is signed already, and s3_fields came with it: one of the two is for another target.",
                hint="Leave s3_fields out for a presigned PUT URL; for a presigned POST give the URL that came "
                "with the fields.",
                url=str(url),
            )
        if not names & (cls.signature_names | GCSPost.signature_names) or "policy" not in names:
            raise InvalidS3FieldsError(
                f"s3_fields of {url} has no policy or no signature.",
                hint="These are probably the fields given to generate_presigned_post; pass on the ones that it "
                'returned: response["fields"].',
                url=str(url),
            )
        if not names & cls.signature_names:
            return None
        policy = parse_policy(url, callback.fields)
        return cls(callback=callback, policy=policy, expires_at=policy.expires_at)

    def check(self, *, now: datetime, size: int | None = None) -> None:
        """See `Target.check`; holds the form against its policy besides."""
        Target.check(self, now=now, size=size)
        self.policy.check(self.callback.url, self._fields, size)

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        content_type = next((v for k, v in self._fields.reveal().items() if k.lower() == "content-type"), JSON)
        file = FormFile(name="file", filename=f"{delivery_id}.json", content_type=content_type, body=document)
        body, form_type = encode_form(self._fields, [file])
        return SecretFields({"content-type": form_type}), body

    @property
    def _fields(self) -> SecretFields:
        return self.callback.fields or SecretFields({})


@define(frozen=True, kw_only=True)
class GCSPost(FormPost):
    """A Google Cloud Storage policy document: the same form with other names."""

    kind = "gcs-post"
    signature_names = frozenset({"x-goog-signature"})


@define(frozen=True, kw_only=True)
class S3Put(Target):
    """An S3 presigned PUT URL with Signature Version 4."""

    kind = "s3-put"
    prefix: ClassVar[str] = "X-Amz-"
    vendor: ClassVar[str] = "x-amz-"

    signed: frozenset[str]

    @classmethod
    def recognize(cls, callback: Callback, settings: Settings) -> Target | None:
        """See `Target.recognize`."""
        url, prefix = callback.url, cls.prefix
        names = url.query_names()
        if f"{prefix}Signature" not in names:
            if names & {f"{prefix}Algorithm", f"{prefix}Credential", f"{prefix}SignedHeaders"}:
                raise _cut_off(url)
            return None
        expires_at = _read(url, lambda: _v4_time(url, f"{prefix}Date") + _seconds(url, f"{prefix}Expires"))
        signed = frozenset((url.query(f"{prefix}SignedHeaders") or "").lower().split(";"))
        if "host" not in signed:
            raise _cut_off(url)
        return cls(callback=callback, expires_at=expires_at, signed=signed)

    def check(self, *, now: datetime, size: int | None = None) -> None:
        """See `Target.check`; looks for signed headers that can't be met besides."""
        Target.check(self, now=now, size=size)
        put_headers(self.callback, signed=self.signed, vendor=self.vendor, document=None)

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        headers = put_headers(self.callback, signed=self.signed, vendor=self.vendor, document=document)
        return headers, document


@define(frozen=True, kw_only=True)
class GCSPut(S3Put):
    """A Google Cloud Storage signed URL, version 4."""

    kind = "gcs-put"
    prefix = "X-Goog-"
    vendor = "x-goog-"
    accepts = frozenset({200, 201, 204})


@define(frozen=True, kw_only=True)
class S3PutV2(Target):
    """An S3 presigned PUT URL with Signature Version 2.

    Its string to sign holds Content-Type and Content-MD5 without naming them, so neither is sent unless told.
    """

    kind = "s3-put-v2"
    names: ClassVar[frozenset[str]] = frozenset({"AWSAccessKeyId", "Signature", "Expires"})

    @classmethod
    def recognize(cls, callback: Callback, settings: Settings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        if not cls.names <= url.query_names():
            return None
        return cls(callback=callback, expires_at=_read(url, lambda: _EPOCH + _seconds(url, "Expires")))

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        return plain_headers(self.callback), document


@define(frozen=True, kw_only=True)
class GCSPutV2(S3PutV2):
    """A Google Cloud Storage signed URL, version 2."""

    kind = "gcs-put-v2"
    names = frozenset({"GoogleAccessId", "Signature", "Expires"})
    accepts = frozenset({200, 201, 204})


@define(frozen=True, kw_only=True)
class AzureBlob(Target):
    """An Azure Blob URL with a shared access signature."""

    kind = "azure-blob"
    accepts = frozenset({201})
    redirects = False
    max_size = 5000 * 1024**2

    @classmethod
    def recognize(cls, callback: Callback, settings: Settings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        if not {"sig", "sv", "se"} <= url.query_names():
            return None
        if not set(url.query("sp") or "w") & set("cw"):
            raise InvalidTargetError(
                f"The shared access signature of {url} doesn't permit to create or write a blob.",
                hint="Make one with BlobSasPermissions(create=True, write=True).",
                url=str(url),
            )
        return cls(callback=callback, expires_at=_read(url, lambda: _iso_time(url, "se")))

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        usual = {"x-ms-blob-type": "BlockBlob", "content-type": JSON, "content-md5": document.content_md5}
        return SecretFields({**usual, **plain_headers(self.callback).reveal()}), document


@define(frozen=True, kw_only=True)
class Webhook(Target):
    """Any other URL: the document as a JSON POST with the headers of Standard Webhooks."""

    kind = "webhook"
    method = "POST"
    accepts = frozenset(range(200, 300))
    redirects = False
    max_size = None

    keys: tuple[Secret[bytes], ...]

    @classmethod
    def recognize(cls, callback: Callback, settings: Settings) -> Target | None:
        """See `Target.recognize`."""
        provider = settings.stores.provider(callback.url)
        if provider is None:
            return cls(callback=callback, keys=settings.webhook_keys)
        raise MissingS3FieldsError(
            f"{callback.url} is at {provider}, and has neither a signature nor s3_fields.",
            hint='For a presigned POST give its fields: callback_param={"s3_fields": fields}; for a PUT give the '
            "whole presigned URL, with its query.",
            url=str(callback.url),
        )

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        headers = webhooks.sign(self.keys, delivery_id, now, document)
        return SecretFields({"content-type": JSON, **headers}), document


KINDS: tuple[type[Target], ...] = (FormPost, GCSPost, S3Put, GCSPut, S3PutV2, GCSPutV2, AzureBlob, Webhook)
"""Every kind of target. The first that recognizes a callback has it, so the webhook is last."""

_SIGNATURES = frozenset({"X-Amz-Signature", "X-Goog-Signature", "Signature", "sig"})


def plan(callback: Callback, settings: Settings | None = None) -> Target:
    """Find out what a callback is.

    Args:
        callback: The URL and what came with it.
        settings: What to know besides.

    Raises:
        TargetError: A result can't go there; the subclass tells why.
    """
    settings = settings or Settings()
    _check_url(callback.url)
    return next(target for kind in KINDS if (target := kind.recognize(callback, settings)) is not None)


def check_callback(callback: Callback, settings: Settings | None = None, *, size: int | None = None) -> Target:
    """Refuse, without any network, a callback that a result could never be delivered to.

    Args:
        callback: The URL and what came with it.
        settings: What to know besides.
        size: Bytes of the document; None when it is not known yet.

    Returns:
        What the callback is.

    Raises:
        TargetError: A result can't go there; the subclass tells why.
    """
    target = plan(callback, settings)
    target.check(now=datetime.now(timezone.utc), size=size)
    return target


def check_target(
    url: Any, param: Any = None, *, storage_endpoints: Iterable[str] = (), size: int | None = None
) -> Target:
    """Tell what a callback is, and refuse one that a result could never be delivered to. It makes no request.

    Client and service run the same check when a job is submitted.

    Args:
        url: A URL, a `PutTarget` or a `PostTarget`.
        param: Its `callback_param`.
        storage_endpoints: URLs of object stores besides the known providers.
        size: Bytes of the document; None when it is not known yet.

    Returns:
        The target: its `kind`, and when it `expires_at`.

    Raises:
        TargetError: A result can't go there; the subclass tells why.

    Example:
        >>> check_target("https://example.org/done").kind
        'webhook'
    """
    given, param = Secret([url]), hide(param)
    del url
    (callback,) = callbacks(given, param)
    return check_callback(callback, Settings(stores=Stores.of(storage_endpoints)), size=size)


def _check_url(url: SecretURL) -> None:
    if url.scheme not in ("http", "https"):
        scheme = f"the scheme {url.scheme}" if url.scheme else "no scheme"
        raise InvalidTargetError(
            f"The callback URL {url} has {scheme}; a result goes to http or https.",
            hint="Sign the object instead: S3Signer(bucket).put(key)." if url.scheme == "s3" else "Give a whole URL.",
            url=str(url),
        )
    if not url.host or url.port == 0 or url.has_userinfo or url.has_forbidden_characters:
        what = (
            "no host"
            if not url.host
            else "a user or a password in it"
            if url.has_userinfo
            else "a character or a port that no URL has"
        )
        raise InvalidTargetError(f"The callback URL {url} has {what}.", hint="Copy it again, whole.", url=str(url))


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _read(url: SecretURL, time: Callable[[], datetime]) -> datetime:
    try:
        return time()
    except (ValueError, OverflowError):
        pass
    raise _cut_off(url)


def _cut_off(url: SecretURL) -> InvalidTargetError:
    return InvalidTargetError(
        f"The signature of {url} is not whole.",
        hint="A part of its query is missing or broken; in a shell, put the URL in single quotes, as it has '&'.",
        url=str(url),
    )


def _seconds(url: SecretURL, name: str) -> timedelta:
    text = url.query(name) or ""
    if not re.fullmatch("[0-9]{1,12}", text):
        raise ValueError(name)
    return timedelta(seconds=int(text))


def _v4_time(url: SecretURL, name: str) -> datetime:
    return datetime.strptime(url.query(name) or "", "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)


def _iso_time(url: SecretURL, name: str) -> datetime:
    text = (url.query(name) or "").replace("Z", "+00:00")
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
