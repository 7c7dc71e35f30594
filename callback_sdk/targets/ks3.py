"""Kingsoft Cloud KS3: the protocol of S3, Signature Versions 4 and 2, with other parameter names.

Sources: "Request signature V2", "Request signature V4" and "POST Object" in Kingsoft's documentation of KS3; its SDKs
for Python and Go.
"""

from __future__ import annotations

from typing import ClassVar

from callback_sdk.targets.dialects import Dialect
from callback_sdk.targets.forms import FormPost
from callback_sdk.targets.identifiers import Identifiers
from callback_sdk.targets.operations import Family, Operation
from callback_sdk.targets.s3 import S3Put, S3PutV2
from callback_sdk.targets.signatures import ANY, BASE64_SHA1, HEX_SHA256, Version4

# The parameters that the SDK for Python signs, and "API list" in Kingsoft's documentation.
KS3 = Family(
    operations=(
        Operation("one part of a multipart upload (partNumber, uploadId)", "partnumber uploadid"),
        Operation("the start of a multipart upload (uploads)", "uploads"),
        Operation(
            "a copy of another object (x-kss-copy-source)",
            "x-kss-copy-source x-kss-copy-source-range x-kss-metadata-directive x-kss-tagging-directive",
        ),
        Operation("appending to an object", "append position"),
        Operation("an object composed of others (compose)", "compose"),
        Operation("an object that is fetched from elsewhere (fetch)", "fetch x-kss-sourceurl"),
        Operation("processing an object", "x-kss-process adp queryadp asyntask querytask thumbnail"),
        Operation(
            "an attribute of an object, such as its ACL or tags",
            "acl tagging restore retention recover clear torrent migration",
        ),
        Operation(
            "a setting of a bucket",
            "accessmonitor archivedirectread bucketpublicnetworkblock bucketqos cors crr dataaccelerator "
            "dataredundancyswitch dataredundancytransition decompresspolicy defaultobjectacl domain encryption http2 "
            "inventory jobid jobs lifecycle location logging mirror notification policy publicnetworkblock quota "
            "recycle requesterqos requestpayment storageclass transferacceleration versioning vpcaccessblock website "
            "websiteconfig worm wormextend wormid",
        ),
        Operation(
            "reading an object or a list of them",
            "x-kss-policy versionid versions delete response-cache-control response-content-disposition "
            "response-content-encoding response-content-language response-content-type response-expires prefix "
            "delimiter marker max-keys",
        ),
    ),
    hint='Sign the PUT of one object instead: connection.generate_url(expires_in, "PUT", bucket, key).',
)

KS3_V4 = Version4(
    prefix="X-Kss-",
    algorithms={"KSS4-HMAC-SHA256": HEX_SHA256},
    services=frozenset({"ks3"}),
    end="kss4_request",
)

KS3_V2 = {"KSSAccessKeyId": ANY, "Signature": BASE64_SHA1}


class KS3Put(S3Put):
    """A signed URL of KS3, Version 4. Its SDKs also sign like S3, which is another kind."""

    kind = "ks3-put"
    identifiers = Identifiers("x-kss-*")
    version = KS3_V4
    vendor = "x-kss-"
    family = KS3
    accepts = frozenset({200})


class KS3PutV2(S3PutV2):
    """A signed URL of KS3, Version 2."""

    kind = "ks3-put-v2"
    identifiers = Identifiers("kssaccesskeyid")
    key_id = "KSSAccessKeyId"
    forms = KS3_V2
    vendor = "x-kss-"
    family = KS3
    accepts = frozenset({200})


class KS3Post(FormPost):
    """A POST form of KS3, Version 4 or 2."""

    kind = "ks3-post"
    own = frozenset({"kssaccesskeyid", "x-kss-signature"})
    version = KS3_V4
    forms = KS3_V2
    dialect: ClassVar[Dialect] = Dialect(strict=False)
