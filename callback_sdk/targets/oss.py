"""Alibaba Cloud OSS: signed URLs of Versions 4, 2 and 1, and POST forms.

Sources: "Add a V4 signature to a URL", "Add a signature to a URL", "PutObject", "PostObject" and "A V4 signature in a
PostObject request" in Alibaba's documentation of OSS; the SDK `oss2` for Version 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from attrs import define

from callback_sdk.documents.body import Body
from callback_sdk.redaction import SecretFields, SecretURL
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.dialects import Dialect
from callback_sdk.targets.expiry import EPOCH, check_lifetime, incomplete_url_error, parse_expiry, seconds, v4_time
from callback_sdk.targets.forms import FormPost
from callback_sdk.targets.identifiers import Identifiers
from callback_sdk.targets.operations import Family, Operation, check_object_key, check_operation
from callback_sdk.targets.provider_table import WEEK
from callback_sdk.targets.query_signed import QuerySignedPut
from callback_sdk.targets.signatures import (
    ANY,
    BASE64_SHA1,
    BASE64_SHA256,
    HEX_SHA256,
    SECONDS,
    V4_TIME,
    Form,
    Parameters,
    QueryParameters,
    check_forms,
)
from callback_sdk.targets.signed_headers import checked_headers
from callback_sdk.targets.target import Target, TargetSettings

# "List of operations by function" in Alibaba's API reference.
OSS = Family(
    operations=(
        Operation("one part of a multipart upload (partNumber, uploadId)", "partnumber uploadid"),
        Operation("the start of a multipart upload (uploads)", "uploads sequential"),
        Operation("a copy of another object (x-oss-copy-source)", "x-oss-copy-source x-oss-copy-source-range"),
        Operation("appending to an object", "append position"),
        Operation("a symbolic link to another object", "symlink x-oss-symlink-target"),
        Operation("an object that is fetched from elsewhere (asyncFetch)", "asyncfetch"),
        Operation("processing an object (x-oss-process)", "x-oss-process x-oss-async-process img style stylename"),
        Operation(
            "an attribute of an object, such as its ACL or tags",
            "acl tagging restore seal objectmeta objectinfo legalhold",
        ),
        Operation("a live channel", "live vod status comp starttime endtime"),
        Operation(
            "a setting of a bucket",
            "accesspoint accesspointpolicy accessmonitor bucketarchivedirectread bucketinfo cname cors encryption "
            "group httpsconfig inventory inventoryid lifecycle link location logging metaquery policy policystatus "
            "publicaccessblock qos qosinfo redundancytransition referer regionlist replication replicationlocation "
            "replicationprogress requestpayment resourcegroup stat transferacceleration versioning website worm "
            "wormid wormextend",
        ),
        Operation(
            "reading an object or a list of them",
            "versionid response-cache-control response-content-disposition response-content-encoding "
            "response-content-language response-content-type response-expires list-type prefix delimiter marker "
            "max-keys continuation-token start-after versions delete",
        ),
    ),
    hint='Sign the PUT of one object instead: bucket.sign_url("PUT", key, expires, slash_safe=True) in oss2, or '
    "client.presign(PutObjectRequest(...)) in alibabacloud-oss-v2.",
)

# 203: the object is stored, and the callback that its signer asked OSS to make has failed ("Callback").
_ACCEPTS = frozenset({200, 203})


@define(frozen=True, kw_only=True)
class OSSPut(Target):
    """A signed URL of OSS, Version 4 or 2.

    Content-Type and the headers that begin with x-oss- are part of what is signed, but the URL doesn't name them. So
    none of them is sent unless it was given.
    """

    kind = "oss-put"
    identifiers = Identifiers("x-oss-*")
    accepts = _ACCEPTS

    signed: frozenset[str]

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        if "x-oss-signature" not in url.query_names():
            return None
        version = url.query("x-oss-signature-version") or ""
        if version not in _VERSIONS:
            raise incomplete_url_error(url, f"x-oss-signature-version is not {' or '.join(_VERSIONS)}")
        check_forms(QueryParameters(url), _VERSIONS[version])
        expires_at = parse_expiry(url, lambda: _end(url, version))
        if version == _VERSION_4:
            check_lifetime(url, seconds(url, "x-oss-expires"), WEEK)
        signed = frozenset(filter(None, (url.query("x-oss-additional-headers") or "").lower().split(";")))
        check_operation(callback, OSS, signed)
        check_object_key(url, OSS, settings.stores)
        return cls(callback=callback, expires_at=expires_at, signed=signed)

    def check(self, *, now: datetime, size: int | None = None) -> None:
        """See `Target.check`; checks that every named header has a value too."""
        Target.check(self, now=now, size=size)
        checked_headers(self.callback, self.signed)

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        return checked_headers(self.callback, self.signed), document


class OSSPutV1(QuerySignedPut):
    """A signed URL of OSS, Version 1, which signs the value of Content-Type without naming it."""

    kind = "oss-put-v1"
    identifiers = Identifiers("ossaccesskeyid")
    accepts = _ACCEPTS
    marks = frozenset({"OSSAccessKeyId"})
    forms: ClassVar[Mapping[str, Form]] = {"OSSAccessKeyId": ANY, "Signature": BASE64_SHA1, "Expires": SECONDS}
    family = OSS


class OSSPost(FormPost):
    """A POST form of OSS, Version 4 or 1."""

    kind = "oss-post"
    own = frozenset({"ossaccesskeyid", "x-oss-signature", "x-oss-credential"})
    accepts = FormPost.accepts | {203}
    dialect: ClassVar[Dialect] = Dialect(strict=False, lists=True)

    @classmethod
    def check_signature(cls, parameters: Parameters) -> None:
        """See `FormPost.check_signature`."""
        is_first = parameters.find("OSSAccessKeyId") is not None
        check_forms(parameters, _FORM_1 if is_first else _FORM_4)


_VERSION_4 = "OSS4-HMAC-SHA256"

_CREDENTIAL = Form(
    # The service of a CloudBox is oss-cloudbox.
    re.compile("[^/%]+/[0-9]{8}/[a-z0-9-]+/oss(?:-[a-z]+)?/aliyun_v4_request"),
    "KEY/DATE/REGION/oss/aliyun_v4_request",
)

_FORM_1 = {"OSSAccessKeyId": ANY, "Signature": BASE64_SHA1}

_FORM_4 = {
    "x-oss-signature-version": Form(re.compile("OSS4-HMAC-SHA256"), _VERSION_4),
    "x-oss-credential": _CREDENTIAL,
    "x-oss-date": V4_TIME,
    "x-oss-signature": HEX_SHA256,
}

_VERSIONS: dict[str, dict[str, Form]] = {
    _VERSION_4: {
        "x-oss-credential": _CREDENTIAL,
        "x-oss-date": V4_TIME,
        "x-oss-expires": SECONDS,
        "x-oss-signature": HEX_SHA256,
    },
    "OSS2": {"x-oss-access-key-id": ANY, "x-oss-expires": SECONDS, "x-oss-signature": BASE64_SHA256},
}


def _end(url: SecretURL, version: str) -> datetime:
    # Version 2 has a point in time there, Version 4 a number of seconds after the date.
    return (v4_time(url, "x-oss-date") if version == _VERSION_4 else EPOCH) + seconds(url, "x-oss-expires")
