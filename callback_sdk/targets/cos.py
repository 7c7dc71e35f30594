"""Tencent Cloud COS: signed URLs and POST forms.

Sources: "Request Signature", "PUT Object" and "POST Object" in Tencent's documentation of COS.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import ClassVar

from attrs import define

from callback_sdk.documents.body import Body
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.dialects import Dialect
from callback_sdk.targets.expiry import EPOCH, incomplete_url_error, parse_expiry
from callback_sdk.targets.forms import FormPost
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.identifiers import Identifiers
from callback_sdk.targets.operations import Family, Operation, check_object_key, check_operation
from callback_sdk.targets.signatures import ANY, Form, Parameters, QueryParameters, check_forms
from callback_sdk.targets.signed_headers import assumed_headers, document_headers, put_headers
from callback_sdk.targets.target import Target, TargetSettings

# "API list" in Tencent's documentation.
COS = Family(
    operations=(
        Operation("one part of a multipart upload (partNumber, uploadId)", "partnumber uploadid"),
        Operation("the start of a multipart upload (uploads)", "uploads"),
        Operation("a copy of another object (x-cos-copy-source)", "x-cos-copy-source x-cos-copy-source-range"),
        Operation("appending to an object", "append position"),
        Operation("a symbolic link to another object", "symlink x-cos-symlink-target"),
        Operation("processing an object (ci-process)", "ci-process imagemogr2 imageview2 watermark"),
        Operation(
            "an attribute of an object, such as its ACL or tags",
            "acl tagging restore select select-type legal-hold object-lock retention uploadtype",
        ),
        Operation(
            "a setting of a bucket",
            "accelerate analytics asyncfetch cors domain encryption intelligenttiering inventory lifecycle logging "
            "origin policy referer replication versioning website",
        ),
        Operation(
            "reading an object or a list of them",
            "versionid response-cache-control response-content-disposition response-content-encoding "
            "response-content-language response-content-type response-expires prefix delimiter marker max-keys "
            "versions delete",
        ),
    ),
    hint='Sign the PUT of one object instead: client.get_presigned_url(Bucket=..., Key=..., Method="PUT").',
)

_TIMES = Form(re.compile("[0-9]{1,12};[0-9]{1,12}"), "two numbers of seconds with a semicolon between them")

_NAMES = Form(re.compile("[A-Za-z0-9_.~%;-]*"), "a list of names with semicolons between them")

_FORMS = {
    "q-sign-algorithm": Form(re.compile("sha1"), "sha1"),
    "q-ak": ANY,
    "q-sign-time": _TIMES,
    "q-key-time": _TIMES,
    "q-signature": Form(re.compile("[0-9a-fA-F]{40}"), "40 hexadecimal digits"),
}


@define(frozen=True, kw_only=True)
class COSPut(Target):
    """A signed URL of COS."""

    kind = "cos-put"
    identifiers = Identifiers("q-sign-algorithm q-ak q-sign-time q-key-time q-header-list q-url-param-list q-signature")
    accepts = frozenset({200})

    signed: frozenset[str]

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        signature = _signature(url)
        if signature is None:
            return None
        check_forms(signature, {**_FORMS, "q-header-list": _NAMES, "q-url-param-list": _NAMES})
        headers, parameters = _names_in_list(signature, "q-header-list"), _names_in_list(signature, "q-url-param-list")
        missing = sorted(parameters - {name.lower() for name in url.query_names()})
        if missing:
            raise incomplete_url_error(url, f"the signed parameter {missing[0]!r} is missing")
        check_operation(callback, COS, headers)
        check_object_key(url, COS, settings.stores)
        return cls(callback=callback, expires_at=parse_expiry(url, lambda: _end(signature)), signed=headers)

    def assumptions(self) -> tuple[str, ...]:
        """See `Target.assumptions`."""
        return assumed_headers(self.callback, self.signed, self.media_type)

    def check(self, *, now: datetime, size: int | None = None) -> None:
        """See `Target.check`; checks that every signed header has a value too."""
        self.check_limits(now=now, size=size)
        self._headers()

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        # COS verifies the listed headers only, and takes others.
        return document_headers(self.callback.url, self._headers(), document), document

    def _headers(self) -> SecretFields:
        return put_headers(
            self.callback.url, given_headers(self.callback), signed=self.signed, vendor=None, media_type=self.media_type
        )


class COSPost(FormPost):
    """A POST form of COS."""

    kind = "cos-post"
    own = frozenset({"q-signature", "q-ak", "q-sign-algorithm"})
    # The policy names the time q-sign-time, and the form q-key-time ("POST Object", section "Signature protection").
    dialect: ClassVar[Dialect] = Dialect(strict=False, aliases={"q-sign-time": "q-key-time"})

    @classmethod
    def check_signature(cls, parameters: Parameters) -> None:
        """See `FormPost.check_signature`."""
        check_forms(parameters, {name: form for name, form in _FORMS.items() if name != "q-sign-time"})


@define(frozen=True)
class _SignParameter(QueryParameters):
    """The whole signature as the value of the parameter `sign`, as older SDKs put it into the URL.

    Attributes:
        values: Its parameters.
    """

    values: SecretFields

    def find(self, name: str) -> Secret[str] | None:
        """See `Parameters.find`."""
        return Secret(self.values.reveal()[name]) if name in self.values.reveal() else None


def _signature(url: SecretURL) -> Parameters | None:
    if "q-signature" in url.query_names():
        return QueryParameters(url)
    whole = url.secret_query("sign")
    if whole is None or not whole.reveal().startswith("q-sign-algorithm="):
        return None
    pairs = Secret([part.partition("=")[::2] for part in whole.reveal().split("&")])
    return _SignParameter(url, SecretFields(dict(pairs.reveal())))


def _names_in_list(signature: Parameters, name: str) -> frozenset[str]:
    return frozenset(filter(None, _plain(signature, name).lower().split(";")))


def _end(signature: Parameters) -> datetime:
    """Return the earlier end of the two validity periods, that of the signature and that of its key."""
    ends = [int(_plain(signature, name).partition(";")[2]) for name in ("q-sign-time", "q-key-time")]
    return EPOCH + timedelta(seconds=min(ends))


def _plain(signature: Parameters, name: str) -> str:
    value = signature.find(name)
    return "" if value is None else value.reveal()
