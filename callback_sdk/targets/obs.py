"""Huawei Cloud OBS: signed URLs and POST forms. Its SDKs also sign like S3, which are other kinds.

Sources: "Authentication of Signature in a URL", "PUT Object" and "POST Object" in Huawei's API reference of OBS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import ClassVar

from callback_sdk.targets.dialects import Dialect
from callback_sdk.targets.forms import FormPost
from callback_sdk.targets.identifiers import HMAC_SHA1, UNIX_TIME, Identifiers
from callback_sdk.targets.operations import Family, Operation
from callback_sdk.targets.provider_table import HUAWEI, Provider
from callback_sdk.targets.query_signed import QuerySignedPut
from callback_sdk.targets.signatures import ANY, BASE64_SHA1, SECONDS, Form, Parameters, check_forms

# "APIs" in Huawei's API reference.
OBS = Family(
    operations=(
        Operation("one part of a multipart upload (partNumber, uploadId)", "partnumber uploadid"),
        Operation("the start of a multipart upload (uploads)", "uploads"),
        Operation("a copy of another object (x-obs-copy-source)", "x-obs-copy-source x-obs-copy-source-range"),
        Operation("appending to an object", "append position"),
        # Parallel file systems have files instead of objects.
        Operation("changing a file in place", "modify rename truncate name length"),
        Operation("processing an object (x-image-process)", "x-image-process x-image-save-object x-image-save-bucket"),
        Operation(
            "an attribute of an object, such as its ACL or tags",
            "acl metadata object-lock restore retention select tagging",
        ),
        Operation(
            "a setting of a bucket",
            "backtosource cors customdomain deletebucket directcoldaccess encryption inventory lifecycle location "
            "logging mirrorbacktosource notification obscompresspolicy policy policystatus publicaccessblock quota "
            "replication storageclass storageinfo storagepolicy versioning website",
        ),
        Operation(
            "reading an object or a list of them",
            "versionid response-cache-control response-content-disposition response-content-encoding "
            "response-content-language response-content-type response-expires prefix delimiter marker max-keys "
            "versions delete attname",
        ),
    ),
    hint='Sign the PUT of one object instead: client.createSignedUrl("PUT", bucketName, objectKey, expires=...).',
)


class OBSPut(QuerySignedPut):
    """A signed URL of OBS. Content-Type, Content-MD5 and headers that begin with x-obs- are part of what is signed."""

    kind = "obs-put"
    identifiers = Identifiers(
        "x-obs-*",
        {"AccessKeyId": re.compile("[A-Z0-9]{8,40}"), "Signature": HMAC_SHA1, "Expires": UNIX_TIME},
    )
    marks = frozenset({"AccessKeyId", "Signature", "Expires"})
    forms: ClassVar[Mapping[str, Form]] = {"AccessKeyId": ANY, "Signature": BASE64_SHA1, "Expires": SECONDS}
    family = OBS


class OBSPost(FormPost):
    """A POST form of OBS, also one that is signed like S3's."""

    kind = "obs-post"
    own = frozenset({"accesskeyid"})
    # Its SDKs write starts-with for the bucket.
    dialect: ClassVar[Dialect] = Dialect(strict=False)

    @classmethod
    def is_own(cls, names: Set[str], provider: Provider | None) -> bool:
        """See `FormPost.is_own`."""
        return provider is HUAWEI or super().is_own(names, provider)

    @classmethod
    def check_signature(cls, parameters: Parameters) -> None:
        """See `FormPost.check_signature`."""
        if parameters.find("AccessKeyId") is None:
            super().check_signature(parameters)
        else:
            check_forms(parameters, {"AccessKeyId": ANY, "Signature": BASE64_SHA1})
