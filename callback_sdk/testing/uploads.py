"""Multipart uploads of the fake object store, with the rules of Amazon S3.

Source: "Amazon S3 multipart upload limits" in the S3 user guide; CompleteMultipartUpload in its API reference.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from attrs import define, field

MIN_PART_SIZE = 5 * 1024 * 1024
"""Minimum bytes of each part but the last one."""


class RefusedUploadError(Exception):
    """The store refuses a request of a multipart upload.

    Attributes:
        status: HTTP status.
        code: The store's code.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@define
class StartedUpload:
    """A multipart upload that was neither completed nor aborted.

    Attributes:
        place: Bucket and key.
        headers: Headers of the object.
        parts: The parts that arrived, by number.
    """

    place: str
    headers: Mapping[str, str]
    parts: dict[int, bytes] = field(factory=dict, repr=False)


class StartedUploads:
    """The multipart uploads of a store. Not thread-safe."""

    def __init__(self) -> None:
        self._uploads: dict[str, StartedUpload] = {}

    def __len__(self) -> int:
        return len(self._uploads)

    def start(self, place: str, headers: Mapping[str, str]) -> str:
        """Start an upload, and return its id."""
        identity = secrets.token_urlsafe(24)
        self._uploads[identity] = StartedUpload(place, headers)
        return identity

    def put(self, place: str, identity: str, number: str, body: bytes) -> str:
        """Store a part, and return its ETag.

        Raises:
            RefusedUploadError: There is no such upload, or the number is not one.
        """
        upload = self.get(place, identity)
        if not (number.isascii() and number.isdigit() and 1 <= int(number) <= 10_000):
            message = "Part number must be an integer between 1 and 10000, inclusive"
            raise RefusedUploadError(400, "InvalidArgument", message)
        upload.parts[int(number)] = body
        return _md5(body)

    def join(self, place: str, identity: str, document: bytes) -> tuple[StartedUpload, bytes, str]:
        """Return an upload, the bytes of its parts, and the ETag of the object.

        Args:
            place: Bucket and key.
            identity: Id of the upload.
            document: The XML document with numbers and ETags of the parts.

        Raises:
            RefusedUploadError: There is no such upload, or the parts are not those of an object.
        """
        upload = self.get(place, identity)
        listed = _read_parts(document)
        if [number for number, _ in listed] != sorted({number for number, _ in listed}):
            raise RefusedUploadError(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
        for number, etag in listed:
            if number not in upload.parts or _md5(upload.parts[number]) != etag:
                raise RefusedUploadError(400, "InvalidPart", "One or more of the specified parts could not be found.")
        bodies = [upload.parts[number] for number, _ in listed]
        if any(len(body) < MIN_PART_SIZE for body in bodies[:-1]):
            message = "Your proposed upload is smaller than the minimum allowed size"
            raise RefusedUploadError(400, "EntityTooSmall", message)
        return upload, b"".join(bodies), f"{_md5(b''.join(map(_digest, bodies)))}-{len(bodies)}"

    def get(self, place: str, identity: str) -> StartedUpload:
        """Return an upload.

        Raises:
            RefusedUploadError: There is none with this id for this object.
        """
        upload = self._uploads.get(identity)
        if upload is None or upload.place != place:
            raise RefusedUploadError(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        return upload

    def remove(self, place: str, identity: str) -> None:
        """Forget an upload with its parts.

        Raises:
            RefusedUploadError: There is none with this id for this object.
        """
        self.get(place, identity)
        del self._uploads[identity]

    def list_xml(self, bucket: str) -> bytes:
        """Return the uploads of a bucket as ListMultipartUploads does."""
        found = "".join(
            f"<Upload><Key>{escape(upload.place.partition('/')[2])}</Key><UploadId>{identity}</UploadId></Upload>"
            for identity, upload in self._uploads.items()
            if upload.place.partition("/")[0] == bucket
        )
        return xml("ListMultipartUploadsResult", f"<Bucket>{escape(bucket)}</Bucket>{found}")


def xml(name: str, content: str) -> bytes:
    """Return an XML document."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}>{content}</{name}>'.encode()


def _read_parts(document: bytes) -> Sequence[tuple[int, str]]:
    try:
        root = ElementTree.fromstring(document)  # noqa: S314 - a test's own document
        parts = [{_name(child): child.text or "" for child in part} for part in root if _name(part) == "Part"]
        found = [(int(part["PartNumber"]), part["ETag"].strip('"')) for part in parts]
    except (ElementTree.ParseError, KeyError, ValueError):
        found = []
    if not found:
        raise RefusedUploadError(400, "MalformedXML", "The XML you provided was not well-formed.")
    return found


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _digest(body: bytes) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()


def _md5(body: bytes) -> str:
    return _digest(body).hex()
