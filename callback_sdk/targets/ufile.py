"""UCloud UFile (US3): signed URLs. Its S3 endpoints take the URLs of S3, which are other kinds.

Sources: "API signature algorithm", section "Query string request authentication alternative", and "File management" in
UCloud's documentation; the example `demo_presignedurl.go` of its SDK for Go.
"""

from __future__ import annotations

import re

from callback_sdk.targets.identifiers import Identifiers
from callback_sdk.targets.operations import Family, Operation
from callback_sdk.targets.query_signed import QuerySignedPut
from callback_sdk.targets.signatures import ANY, SECONDS, Form

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


class UFilePut(QuerySignedPut):
    """A signed URL of UFile. Content-Type and Content-MD5 are part of what is signed."""

    kind = "ufile-put"
    identifiers = Identifiers("ucloudpublickey")
    accepts = frozenset({200})
    marks = frozenset({"UCloudPublicKey"})
    forms = _FORMS
    family = UFILE
