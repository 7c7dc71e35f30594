"""Volcengine TOS (Tinder Object Storage): the protocol of S3 with other parameter names.

Sources: "Signature in a URL", "Signature in a form" and "API overview" in Volcengine's documentation of TOS.
"""

from __future__ import annotations

from typing import ClassVar

from callback_sdk.targets.dialects import Dialect
from callback_sdk.targets.forms import FormPost
from callback_sdk.targets.identifiers import Identifiers
from callback_sdk.targets.operations import Family, Operation
from callback_sdk.targets.s3 import S3Put
from callback_sdk.targets.signatures import HEX_SHA256, Version4

TOS = Family(
    operations=(
        Operation("one part of a multipart upload (partNumber, uploadId)", "partnumber uploadid"),
        Operation("the start of a multipart upload (uploads)", "uploads"),
        Operation(
            "a copy of another object (x-tos-copy-source)",
            "x-tos-copy-source x-tos-copy-source-range x-tos-metadata-directive x-tos-tagging-directive",
        ),
        Operation("appending to an object", "append offset"),
        Operation("changing an object in place", "modify rename name"),
        Operation("a symbolic link to another object", "symlink x-tos-symlink-target"),
        Operation("an object that is fetched from elsewhere (fetch)", "fetch fetchtask"),
        Operation("processing an object (x-tos-process)", "x-tos-process x-tos-save-object x-tos-save-bucket"),
        Operation("a folder (x-tos-directory)", "x-tos-directory", lambda value: value.lower() == "false"),
        Operation(
            "an attribute of an object, such as its ACL or tags",
            "acl tagging metadata restore objectexpires time stat",
        ),
        Operation(
            "a setting of a bucket",
            "accessmonitor cors customdomain encryption inventory lifecycle location mirror notification objectset "
            "policy quota realtimelog replication storageclass trash versioning website",
        ),
        Operation(
            "reading an object or a list of them",
            "x-tos-policy versionid response-cache-control response-content-disposition response-content-encoding "
            "response-content-language response-content-type response-expires list-type prefix delimiter marker "
            "max-keys continuation-token start-after versions delete fetch-owner encoding-type",
        ),
    ),
    hint="Sign the PUT of one object instead: client.pre_signed_url(HttpMethodType.Http_Method_Put, bucket, key).",
)

TOS_V4 = Version4(
    prefix="X-Tos-",
    algorithms={"TOS4-HMAC-SHA256": HEX_SHA256},
    services=frozenset({"tos"}),
    end="request",
)


class TOSPut(S3Put):
    """A signed URL of TOS."""

    kind = "tos-put"
    identifiers = Identifiers("x-tos-*")
    version = TOS_V4
    vendor = "x-tos-"
    family = TOS
    accepts = frozenset({200})


class TOSPost(FormPost):
    """A POST form of TOS."""

    kind = "tos-post"
    own = frozenset({"x-tos-signature"})
    version = TOS_V4
    dialect: ClassVar[Dialect] = Dialect(strict=False, lists=True)
