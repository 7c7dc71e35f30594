"""Oracle Object Storage: pre-authenticated requests (PAR), whose credential is in the path.

Source: "Pre-Authenticated Request Object URLs in Object Storage" and "PutObject" in Oracle's documentation.
"""

from __future__ import annotations

import re
from datetime import datetime

from attrs import define

from callback_sdk.documents.body import Body
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.expiry import incomplete_url_error
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.operations import Family, Operation, check_operation, wrong_operation
from callback_sdk.targets.provider_table import CONFIGURED, ORACLE
from callback_sdk.targets.target import GIB, Target, TargetSettings

PAR = Family(
    operations=(
        Operation("the start of a multipart upload (opc-multipart)", "opc-multipart"),
        Operation("one part of a multipart upload (uploadId, uploadPartNum)", "uploadid uploadpartnum"),
        Operation("a list of objects", "prefix delimiter fields start end"),
        Operation("one version of an object", "versionid"),
    ),
    hint="Create a pre-authenticated request that permits object writes. To the URL of one for a whole bucket, which "
    "ends with /o/, add the object's name.",
)

_PATH = re.compile(r"/p/[^/]+(/n/[^/]+/b/[^/]+/)([^/]+)/(.*)", re.DOTALL)


@define(frozen=True)
class _Place:
    """The path of a pre-authenticated request after its credential.

    Attributes:
        bucket: The part with namespace and bucket.
        collection: `o` for objects, `u` for parts of uploads.
        name: Name of the object, as it is encoded.
    """

    bucket: str
    collection: str
    name: str


class OraclePAR(Target):
    """The URL of a pre-authenticated request. Its expiry is known to Oracle only."""

    kind = "oracle-par"
    accepts = frozenset({200})
    redirects = False
    max_bytes = 50 * GIB

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        if not url.path.startswith("/p/") or settings.stores.provider(url) not in (ORACLE, CONFIGURED):
            return None
        place = _place(url)
        if place is None:
            raise incomplete_url_error(url, "its path is not /p/TOKEN/n/NAMESPACE/b/BUCKET/o/OBJECT")
        if place.collection != "o":
            raise wrong_operation(url, PAR, "is for one part of a multipart upload")
        if not place.name:
            raise wrong_operation(url, PAR, "has no object name: it is for a whole bucket")
        check_operation(callback, PAR)
        return cls(callback=callback)

    def object_url(self, delivery_id: str) -> str | None:
        """See `Target.object_url`; it is the URL without the credential."""
        place = _place(self.callback.url)
        return None if place is None else f"{self.callback.url.origin}{place.bucket}o/{place.name}"

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        return SecretFields({"content-type": self.media_type, **given_headers(self.callback).reveal()}), document


def _place(url: SecretURL) -> _Place | None:
    # The match has the credential.
    match = Secret(_PATH.fullmatch(url.path))
    return _Place(*match.reveal().groups()) if match.reveal() else None  # type: ignore[union-attr]
