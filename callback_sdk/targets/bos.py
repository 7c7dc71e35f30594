"""Baidu Object Storage (BOS): signed URLs and POST forms. Its S3 endpoints take the URLs of S3, which are other kinds.

Sources: "Generate Authentication String", "Include the Authentication String into the URL" and "PostObject" in Baidu's
documentation.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import ClassVar

from attrs import define

from callback_sdk.documents.body import Body
from callback_sdk.errors import SignedHeaderError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.dialects import Dialect
from callback_sdk.targets.expiry import incomplete_url_error, parse_expiry
from callback_sdk.targets.forms import FormPost
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.identifiers import Identifiers
from callback_sdk.targets.operations import Family, Operation, check_object_key, check_operation
from callback_sdk.targets.signatures import ANY, HEX_SHA256, Parameters, QueryParameters, check_forms
from callback_sdk.targets.signed_headers import assumed_headers, check_length, document_headers, put_headers
from callback_sdk.targets.target import Target, TargetSettings

# "API list" in Baidu's documentation of BOS, and its SDK for Python.
BOS = Family(
    operations=(
        Operation("one part of a multipart upload (partNumber, uploadId)", "partnumber uploadid"),
        Operation("the start of a multipart upload (uploads)", "uploads"),
        Operation(
            "a copy of another object (x-bce-copy-source)",
            "x-bce-copy-source x-bce-copy-source-range x-bce-metadata-directive",
        ),
        Operation("appending to an object", "append offset"),
        Operation("a symbolic link to another object", "symlink x-bce-symlink-target"),
        Operation("an object that is fetched from elsewhere (fetch)", "fetch x-bce-fetch-source"),
        Operation("processing an object (x-bce-process)", "x-bce-process"),
        Operation("an attribute of an object, such as its ACL or tags", "acl tagging restore select"),
        Operation(
            "a setting of a bucket",
            "completeobjectlock copyrightprotection cors encryption extendobjectlock inventory lifecycle location "
            "logging mirroring notification objectlock quota replication replicationprogress requestpayment "
            "storageclass trash userquota versioning website",
        ),
        Operation(
            "reading an object or a list of them",
            "versionid response-cache-control response-content-disposition response-content-encoding "
            "response-content-language response-content-type response-expires responsecachecontrol "
            "responsecontentdisposition responsecontentencoding responsecontentlanguage responsecontenttype "
            "responseexpires prefix delimiter marker maxkeys delete",
        ),
    ),
    hint="Sign the PUT of one object instead: client.generate_pre_signed_url(bucket, key, httpmethod=b'PUT').",
)

_START = "bce-auth-v"
"""How the parameter `authorization` of each version begins."""

_AUTHORIZATION = re.compile(
    r"bce-auth-v1/[^/]+/([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)/(-1|[0-9]{1,12})"
    r"/([a-z0-9!#$%&'*+.^_`|~;-]*)/[0-9a-f]{64}"
)

_NEVER = "-1"
"""Validity period of a URL that doesn't expire ("bos gen_signed_url")."""


@define(frozen=True)
class _Authorization:
    """The public parts of the parameter `authorization`.

    Attributes:
        time: When it was signed.
        period: Seconds until it expires.
        headers: Names of the signed headers, separated by semicolons.
    """

    time: str
    period: str
    headers: str

    def end(self) -> datetime:
        """Return when the signature expires.

        Raises:
            ValueError: The time is none of the calendar.
        """
        start = datetime.strptime(self.time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        return start + timedelta(seconds=int(self.period))


@define(frozen=True, kw_only=True)
class BOSPut(Target):
    """A signed URL of BOS."""

    kind = "bos-put"
    identifiers = Identifiers("x-bce-*", tokens={"authorization": re.compile("(?s)bce-auth-v[0-9]/.*")})
    accepts = frozenset({200})

    signed: frozenset[str]

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        whole = url.secret_query("authorization")
        if whole is None or not whole.reveal().startswith(_START):
            return None
        QueryParameters(url).check_once(["authorization", "x-bce-security-token"])
        authorization = _parse(whole)
        if authorization is None:
            raise incomplete_url_error(
                url, "authorization is not bce-auth-v1/KEY/TIME/SECONDS/HEADERS/ and 64 hexadecimal digits"
            )
        signed = frozenset(filter(None, authorization.headers.split(";")))
        if not signed:
            raise _default_headers(url)
        end = None if authorization.period == _NEVER else parse_expiry(url, authorization.end)
        check_operation(callback, BOS, signed)
        check_object_key(url, BOS, settings.stores)
        return cls(callback=callback, expires_at=end, signed=signed)

    def assumptions(self) -> tuple[str, ...]:
        """See `Target.assumptions`."""
        return assumed_headers(self.callback, self.signed, self.media_type)

    def check(self, *, now: datetime, size: int | None = None) -> None:
        """See `Target.check`; checks that every signed header has a value too."""
        self.check_limits(now=now, size=size)
        self._headers()

    def check_limits(self, *, now: datetime, size: int | None) -> None:
        """See `Target.check_limits`."""
        Target.check_limits(self, now=now, size=size)
        check_length(self.callback, self.signed, size)

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        # BOS verifies the listed headers only, and takes others.
        return document_headers(self.callback.url, self._headers(), document), document

    def _headers(self) -> SecretFields:
        return put_headers(
            self.callback.url, given_headers(self.callback), signed=self.signed, vendor=None, media_type=self.media_type
        )


class BOSPost(FormPost):
    """A POST form of BOS."""

    kind = "bos-post"
    own = frozenset({"accesskey"})
    dialect: ClassVar[Dialect] = Dialect(strict=False)

    @classmethod
    def check_signature(cls, parameters: Parameters) -> None:
        """See `FormPost.check_signature`."""
        check_forms(parameters, {"accessKey": ANY, "signature": HEX_SHA256})


def _parse(whole: Secret[str]) -> _Authorization | None:
    # The match has the credential.
    match = Secret(_AUTHORIZATION.fullmatch(whole.reveal()))
    return _Authorization(*match.reveal().groups()) if match.reveal() else None  # type: ignore[union-attr]


def _default_headers(url: SecretURL) -> SignedHeaderError:
    return SignedHeaderError(
        f"{url} is signed with BOS's default headers, among them the Content-Length, whose value is not known.",
        hint="Sign the header Host only, as Baidu's SDKs do for PUT: headers_to_sign={b'host'}.",
        url=str(url),
    )
