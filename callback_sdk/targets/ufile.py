"""UCloud UFile (US3): signed URLs. Its S3 endpoints take the URLs of S3, which are other kinds.

Sources: "API signature algorithm", section "Query string request authentication alternative", and "File management" in
UCloud's documentation; the example `demo_presignedurl.go` of its SDK for Go.
"""

from __future__ import annotations

import re
from datetime import datetime

from callback_sdk.documents.body import Body
from callback_sdk.redaction import SecretFields
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.expiry import EPOCH, parse_expiry, seconds
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.identifiers import Identifiers
from callback_sdk.targets.operations import Family, Operation, check_object_key, check_operation
from callback_sdk.targets.signatures import ANY, SECONDS, Form, QueryParameters, check_forms
from callback_sdk.targets.target import Target, TargetSettings

UFILE = Family(
    operations=(
        Operation("one part of a multipart upload (partNumber, uploadId)", "partnumber uploadid"),
        Operation("the start of a multipart upload (uploads)", "uploads"),
        Operation("a copy of another object (x-ufile-copy-source)", "x-ufile-copy-source x-ufile-copy-source-range"),
        Operation("appending to an object", "append position"),
        Operation("a new name of an object (newfilename)", "newfilename"),
        Operation("a copy by its checksum (uploadhit)", "uploadhit hash"),
        Operation("processing an object (iopcmd)", "iopcmd"),
        Operation("an attribute of an object", "storageclass restore opmeta acl"),
        Operation("reading a list of objects", "list listobjects listuploads prefix marker delimiter max-keys limit"),
    ),
    hint='Sign the PUT of one object instead: GenPresignedURL(key, expires, "PUT") in Go, or put_object with an S3 '
    "client for one of UFile's S3 endpoints, such as https://s3-cn-bj.ufileos.com.",
)

_FORMS = {
    "UCloudPublicKey": ANY,
    # Its SDK for Python doesn't escape a `+`, which reads as a space; UFile takes it.
    "Signature": Form(re.compile("[A-Za-z0-9+/ ]{27}="), "the base64 of 20 bytes"),
    "Expires": SECONDS,
}


class UFilePut(Target):
    """A signed URL of UFile.

    Content-Type and Content-MD5 are part of what is signed, but the URL doesn't name them. So neither is sent unless it
    was given.
    """

    kind = "ufile-put"
    identifiers = Identifiers("ucloudpublickey")
    accepts = frozenset({200})

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        if "UCloudPublicKey" not in url.query_names():
            return None
        check_forms(QueryParameters(url), _FORMS)
        check_operation(callback, UFILE)
        check_object_key(url, UFILE, settings.stores)
        return cls(callback=callback, expires_at=parse_expiry(url, lambda: EPOCH + seconds(url, "Expires")))

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        return given_headers(self.callback), document
