"""S3 presigned PUT URLs, Signature Version 4 and 2.

Sources: "Authenticating Requests: Using Query Parameters" and "Signing and Authenticating REST Requests" in Amazon's S3
documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar
from urllib.parse import unquote

from attrs import define

from callback_sdk.documents.body import Body
from callback_sdk.redaction import SecretFields
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.checksums import check_checksums, check_document, query_checksums
from callback_sdk.targets.expiry import EPOCH, check_lifetime, parse_expiry, seconds, v4_time
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.identifiers import HMAC_SHA1, UNIX_TIME, Identifiers
from callback_sdk.targets.operations import S3, Family, check_object_key, check_operation, key_warnings
from callback_sdk.targets.provider_table import WEEK, Feature, Provider
from callback_sdk.targets.query_headers import lower_names, query_warnings, with_query_headers, with_signed_headers
from callback_sdk.targets.signatures import (
    AMAZON_V2,
    AMAZON_V4,
    SECONDS,
    Form,
    QueryParameters,
    Version4,
    check_forms,
    check_session,
)
from callback_sdk.targets.signed_headers import (
    assumed_headers,
    check_length,
    check_length_range,
    check_names,
    document_headers,
    put_headers,
    signed_length,
)
from callback_sdk.targets.target import Target, TargetSettings

_SESSION_LIFETIME = timedelta(minutes=5)
"""Lifetime of the credentials in URLs of directory buckets ("CreateSession" in Amazon's S3 API reference)."""


@define(frozen=True, kw_only=True)
class S3Put(Target):
    """An S3 presigned PUT URL with Signature Version 4.

    Attributes:
        signed: Names of the signed headers, in lower case.
        lifetime: How long it is signed for.
        given: Headers given with the URL, or in its query.
        checksums: Checksums in its query that the store compares with the document.
    """

    kind = "s3-put"
    identifiers = Identifiers("x-amz-*")
    version: ClassVar[Version4] = AMAZON_V4
    vendor: ClassVar[str] = "x-amz-"
    family: ClassVar[Family] = S3
    max_lifetime: ClassVar[timedelta | None] = None
    """Maximum lifetime at any host; None if it depends on the provider."""

    signed: frozenset[str]
    lifetime: timedelta
    given: SecretFields
    checksums: SecretFields

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url, prefix = callback.url, cls.version.prefix
        if not cls.version.has_signed(url):
            return None
        cls.version.check_url(url)
        lifetime = seconds(url, f"{prefix}Expires")
        if f"{prefix}S3session-Token" in url.query_names():
            lifetime = min(lifetime, _SESSION_LIFETIME)
        expires_at = parse_expiry(url, lambda: v4_time(url, f"{prefix}Date") + lifetime)
        check_lifetime(url, lifetime, cls.max_lifetime or _max_lifetime(settings.stores.provider(url)))
        signed = frozenset((url.query(f"{prefix}SignedHeaders") or "").lower().split(";"))
        check_operation(callback, cls.family, signed)
        check_object_key(url, cls.family, settings.stores)
        check_names(url, signed)
        callback = with_signed_headers(callback, signed)
        return cls(
            callback=callback,
            expires_at=expires_at,
            signed=signed,
            lifetime=lifetime,
            given=given_headers(callback),
            checksums=query_checksums(url),
        )

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """See `Target.warnings`."""
        found = [
            *Target.warnings(self, now),
            *query_warnings(self.callback, self.signed),
            *_key_warnings(self.callback, self.family),
        ]
        if self.lifetime > WEEK and _max_lifetime(self.provider) is None:
            found.append(f"The URL is signed for {self.lifetime.days} days. Most stores reject more than 7 days.")
        length = signed_length(self.callback, self.signed)
        if length is not None:
            found.append(f"The URL is signed for a document of exactly {length:.20} bytes, and rejects any other.")
        return tuple(found)

    def assumptions(self) -> tuple[str, ...]:
        """See `Target.assumptions`."""
        return assumed_headers(self.callback, self.signed, self.media_type)

    def needs(self) -> frozenset[Feature]:
        """See `Target.needs`."""
        return _features(self.callback, self.signed)

    def check(self, *, now: datetime, size: int | None = None) -> None:
        """See `Target.check`; checks that every signed header has a value too."""
        self.check_limits(now=now, size=size)
        self.content_encoding(None)
        self._headers()

    def check_limits(self, *, now: datetime, size: int | None) -> None:
        """See `Target.check_limits`."""
        Target.check_limits(self, now=now, size=size)
        check_checksums(self.callback.url, self.given, self.checksums)
        check_length(self.callback, self.signed, size)
        check_length_range(self.callback.url, self.given, size, self.subject)

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        return document_headers(self.callback.url, self._headers(), document, self.checksums), document

    def _headers(self) -> SecretFields:
        return put_headers(
            self.callback.url, self.given, signed=self.signed, vendor=self.vendor, media_type=self.media_type
        )


@define(frozen=True, kw_only=True)
class S3PutV2(Target):
    """An S3 presigned PUT URL with Signature Version 2.

    Content-Type and Content-MD5 are part of the string to sign, but the URL doesn't tell whether they have values. So
    neither is sent unless it was given, or is in the query.

    Attributes:
        given: Headers given with the URL, or in its query.
        checksums: Checksums in its query that the store compares with the document.
    """

    kind = "s3-put-v2"
    # A Signature and an Expires are also those of webhooks; here the signature is an HMAC-SHA1.
    identifiers = Identifiers("awsaccesskeyid", {"Signature": HMAC_SHA1, "Expires": UNIX_TIME})
    key_id: ClassVar[str] = "AWSAccessKeyId"
    """Parameter that no other kind has."""
    forms: ClassVar[Mapping[str, Form]] = AMAZON_V2
    vendor: ClassVar[str] = "x-amz-"
    family: ClassVar[Family] = S3

    given: SecretFields
    checksums: SecretFields

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        if cls.key_id not in url.query_names():
            return None
        check_forms(QueryParameters(url), {**cls.forms, "Expires": SECONDS})
        check_session(QueryParameters(url), cls.key_id)
        check_operation(callback, cls.family)
        check_object_key(url, cls.family, settings.stores)
        callback = with_query_headers(callback, cls.vendor)
        return cls(
            callback=callback,
            expires_at=parse_expiry(url, lambda: EPOCH + seconds(url, "Expires")),
            given=given_headers(callback),
            checksums=query_checksums(url),
        )

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """See `Target.warnings`."""
        return (*Target.warnings(self, now), *_key_warnings(self.callback, self.family))

    def needs(self) -> frozenset[Feature]:
        """See `Target.needs`."""
        return _features(self.callback) | {"signature-v2"}

    def check_limits(self, *, now: datetime, size: int | None) -> None:
        """See `Target.check_limits`."""
        Target.check_limits(self, now=now, size=size)
        check_checksums(self.callback.url, self.given, self.checksums)

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        check_document(self.callback.url, self.given, self.checksums, document)
        return self.given, document


def _key_warnings(callback: Callback, family: Family) -> tuple[str, ...]:
    return key_warnings(callback.url, unquote(callback.url.path)) if family is S3 else ()


def _max_lifetime(provider: Provider | None) -> timedelta | None:
    return None if provider is None else provider.max_expiry


_FEATURES: dict[str, Feature] = {"if-none-match": "if-none-match", "x-amz-acl": "acl"}
"""Headers and query parameters that some stores don't support."""


def _features(callback: Callback, signed: frozenset[str] = frozenset()) -> frozenset[Feature]:
    headers = callback.headers or SecretFields({})
    # Amazon's SDK for JavaScript signs an ACL in the query.
    places = (signed, headers.reveal().keys(), lower_names(callback.url))
    return frozenset([feature for name, feature in _FEATURES.items() if any(name in names for names in places)])
