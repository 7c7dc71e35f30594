"""S3 multipart uploads through presigned URLs: for each part, the completion and the abort.

Sources: "Uploading and copying objects using multipart upload in Amazon S3" and "Amazon S3 multipart upload limits" in
the S3 user guide; UploadPart, CompleteMultipartUpload and AbortMultipartUpload in its API reference.
"""

from __future__ import annotations

import codecs
import hashlib
import html
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar
from xml.sax.saxutils import escape

from attrs import define, evolve

from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackParamError, DeliveryError, InvalidTargetError, SignedHeaderError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.checksums import check_document
from callback_sdk.targets.multipart import MultipartTarget, PartRange, StoreResponse
from callback_sdk.targets.operations import MULTIPART, VERIFICATION, Family
from callback_sdk.targets.provider_table import Feature
from callback_sdk.targets.s3 import S3Put, S3PutV2
from callback_sdk.targets.signed_parts import SignedParts
from callback_sdk.targets.target import GIB, Target, TargetSettings
from callback_sdk.targets.upload import Upload

MIN_PART_SIZE = 5 * 1024 * 1024
"""Minimum bytes of each part but the last one."""

MAX_PART_SIZE = 5 * GIB
"""Maximum bytes of a part."""

_RESULT = re.compile(rb"<(?:[A-Za-z0-9]{1,20}:)?CompleteMultipartUploadResult[\s>]")
_ETAG = re.compile(rb"<(?:[A-Za-z0-9]{1,20}:)?ETag>([^<]{1,1024})</")
_MD5 = re.compile("[0-9a-f]{32}")

_MAX_ETAG = 1024

_MAY_EXIST = frozenset({"NoSuchUpload", "PreconditionFailed", "ConditionalRequestConflict"})
"""Codes of errors that a completion has if an earlier one has succeeded."""

_HINT = "Pass URL and s3_parts unchanged, as S3Signer(bucket).presign_multipart(key, max_bytes=...) returned them."

_OPERATIONS = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
"""Names that Amazon's SDK for JavaScript adds to URLs as `x-id`."""


class _Request(S3Put):
    """A presigned request of a multipart upload."""

    kind = "s3-multipart"
    family: ClassVar[Family] = MULTIPART

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`; without a Content-Type that isn't signed, which is the object's."""
        headers = self._headers()
        names = self.signed | self.given.reveal().keys()
        chosen = SecretFields({name: headers.reveal()[name] for name in headers.reveal() if name in names})
        check_document(self.callback.url, chosen, self.checksums, document)
        return chosen, document


class _RequestV2(S3PutV2):
    """The same with Signature Version 2."""

    kind = "s3-multipart"
    family: ClassVar[Family] = MULTIPART


class _Verification(_Request):
    """A presigned HeadObject."""

    family: ClassVar[Family] = VERIFICATION


class _VerificationV2(_RequestV2):
    """The same with Signature Version 2."""

    family: ClassVar[Family] = VERIFICATION


_REQUESTS: tuple[type[Target], ...] = (_Request, _RequestV2)
_VERIFICATIONS: tuple[type[Target], ...] = (_Verification, _VerificationV2)


@define(frozen=True, kw_only=True)
class S3Multipart(MultipartTarget):
    """An S3 multipart upload, started when it was signed. Its URL completes it.

    Attributes:
        secrets: Credentials in all its URLs.
    """

    kind = "s3-multipart"
    method = "POST"

    secrets: Secret[tuple[str, ...]]
    _completion: Target
    _parts: tuple[Target, ...]
    _abort: Target | None
    _head: Target | None

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        parts = callback.parts
        if parts is None:
            return None
        _check_members(callback)
        _check_sizes(callback.url, parts)
        _check_urls(callback.url, parts)
        plan = _Planner(callback, settings)
        completion = plan.request(callback.url)
        sent = tuple(plan.request(url) for url in parts.urls)
        abort = None if parts.abort is None else plan.request(parts.abort)
        head = None if parts.head is None else plan.request(parts.head, _VERIFICATIONS)
        plan.check_headers()
        return cls(
            callback=callback,
            expires_at=min(target.expires_at for target in (completion, *sent) if target.expires_at is not None),
            part_size=parts.part_size,
            max_parts=len(sent),
            secrets=Secret((*callback.url.secrets().reveal(), *parts.secrets().reveal())),
            completion=completion,
            parts=sent,
            abort=abort,
            head=head,
        )

    def upload_key(self) -> str:
        """See `MultipartTarget.upload_key`; a digest, as the id of the upload is a credential."""
        upload_id = self.callback.url.secret_query("uploadId") or Secret("")
        return f"{self.part_size} {hashlib.sha256(upload_id.reveal().encode('utf-8', 'surrogatepass')).hexdigest()}"

    def check(self, *, now: datetime, size: int | None = None) -> None:
        """See `Target.check`; checks the headers of each request too."""
        MultipartTarget.check(self, now=now, size=size)
        for target in (self._completion, self._parts[0]):
            target.check(now=now)

    def needs(self) -> frozenset[Feature]:
        """See `Target.needs`."""
        return self._completion.needs()

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """See `Target.warnings`."""
        found = [*MultipartTarget.warnings(self, now)]
        if self._head is None:
            found.append(
                "s3_parts has no head: if the response to the completion is lost, nothing can tell that the object "
                "exists, and the delivery fails."
            )
        if self._abort is None:
            found.append(
                "s3_parts has no abort: parts of an upload that can't be completed stay in the bucket, and are "
                "charged, until a lifecycle rule (AbortIncompleteMultipartUpload) removes them."
            )
        return tuple(found)

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`; that of the completion."""
        return self._completion.request(document, delivery_id=delivery_id, now=now)

    def part(self, part: PartRange, document: Body, *, now: datetime) -> Upload:
        """See `MultipartTarget.part`."""
        return self._upload(self._parts[part.number - 1], "PUT", document.cut(part.start, part.size), now)

    def part_identity(self, part: PartRange, response: StoreResponse) -> str:
        """See `MultipartTarget.stored`."""
        etag = response.headers.get("etag", "")
        if etag and len(etag) <= _MAX_ETAG:
            return etag
        raise DeliveryError(
            f"The response to part {part.number} of {self.callback.url} has no ETag, which completes the upload.",
            hint="A proxy between here and the store removes it: have it pass this header.",
            url=str(self.callback.url),
            status=response.status,
            retryable=True,
            transient=False,
        )

    def completion(self, document: Body, stored: Sequence[str], *, now: datetime) -> Upload:
        """See `MultipartTarget.completion`."""
        upload = self._upload(self._completion, "POST", Body(_list_of_parts(stored)), now)
        headers = {"content-type": "application/xml", **upload.headers.reveal()}
        own = headers if isinstance(self._completion, _Request) else upload.headers.reveal()
        return evolve(upload, headers=Secret(own), document=document)

    def confirms(self, response: StoreResponse) -> bool:
        """See `MultipartTarget.confirms`: S3 sends the status before it knows, and the result or an error after it."""
        body = response.body.removeprefix(codecs.BOM_UTF8).lstrip()
        if body.startswith(b"<?xml"):
            body = body.partition(b"?>")[2].lstrip()
        # The root element: an error may quote anything.
        return _RESULT.match(body) is not None

    def etag(self, response: StoreResponse) -> str:
        """See `MultipartTarget.etag`."""
        match = _ETAG.search(response.body)
        return html.unescape(match[1].decode("utf-8", "replace").strip()) if match else response.headers.get("etag", "")

    def verification(self, *, now: datetime) -> Upload | None:
        """See `MultipartTarget.verification`."""
        return None if self._head is None else self._upload(self._head, "HEAD", Body(), now)

    def may_exist(self, error: DeliveryError) -> bool:
        """See `MultipartTarget.may_exist`."""
        return error.code in _MAY_EXIST or error.status == 412

    def has_lost_parts(self, error: DeliveryError) -> bool:
        """See `MultipartTarget.has_lost_parts`."""
        return error.code == "InvalidPart"

    def is_stored(self, response: StoreResponse, document: Body, stored: Sequence[str]) -> bool:
        """See `MultipartTarget.is_stored`: compares size and ETag.

        The ETag is the MD5 of the MD5s of the parts with their number, and at some stores that of the whole object.
        """
        if response.headers.get("content-length") != str(document.size):
            return False
        etag = _unquote(response.headers.get("etag", ""))
        tags = [_unquote(text) for text in stored]
        if tags and all(map(_MD5.fullmatch, tags)) and etag == _etag_of(tags):
            return True
        if _MD5.fullmatch(etag):
            return etag == document.md5.hex()
        parts = self.ranges(document.size)
        return etag.endswith(f"-{len(parts)}") and etag == _etag_of(
            document.cut(part.start, part.size).md5.hex() for part in parts
        )

    def abort(self, *, now: datetime) -> Upload | None:
        """See `MultipartTarget.abort`."""
        return None if self._abort is None else self._upload(self._abort, "DELETE", Body(), now)

    def _upload(self, target: Target, method: str, body: Body, now: datetime) -> Upload:
        upload = target.upload(body, delivery_id="", now=now)
        return evolve(upload, method=method, other_secrets=self.secrets)


class _Planner:
    """Plans each request of a multipart upload, with those of the given headers that it signs.

    Args:
        callback: The callback.
        settings: Configuration of the targets.
    """

    def __init__(self, callback: Callback, settings: TargetSettings) -> None:
        self._callback = evolve(callback, headers=None, parts=None)
        self._given = callback.headers or SecretFields({})
        self._settings = settings
        self._signed: set[str] = set()

    def request(self, url: SecretURL, kinds: tuple[type[Target], ...] = _REQUESTS) -> Target:
        """Return the target of one URL.

        Raises:
            TargetError: It is not a presigned URL of S3, or for another operation.
        """
        names = frozenset((url.query("X-Amz-SignedHeaders") or "").lower().split(";")) & self._given.reveal().keys()
        headers = SecretFields({name: self._given.reveal()[name] for name in sorted(names)})
        self._signed |= names
        callback = evolve(self._callback, url=url.with_public_path(), headers=headers if names else None)
        for kind in kinds:
            if (target := kind.recognize(callback, self._settings)) is not None:
                return target
        raise InvalidTargetError(
            f"{url} has no signature of Amazon's (X-Amz-Signature), and belongs to a multipart upload of S3.",
            hint=_HINT,
            url=str(url),
        )

    def check_headers(self) -> None:
        """Reject a given header that no URL signs.

        Raises:
            SignedHeaderError: There is one.
        """
        for name in sorted(self._given.reveal().keys() - self._signed):
            raise SignedHeaderError(
                f"s3_headers has {name:.100}, which none of the URLs of {self._callback.url} signs.",
                hint="Leave it out. Headers of the object are given when the upload is started.",
                url=str(self._callback.url),
            )


def _check_members(callback: Callback) -> None:
    others = {"s3_fields": callback.fields, "http": callback.http}
    for name in [name for name, given in others.items() if given is not None]:
        raise _error(callback.url, f"is given together with {name}: one of them is for another target")


def _check_sizes(url: SecretURL, parts: SignedParts) -> None:
    if parts.part_size > MAX_PART_SIZE:
        raise _error(url, f"has parts of {parts.part_size} bytes; S3 takes {MAX_PART_SIZE} at most")
    if parts.part_size < MIN_PART_SIZE and len(parts.urls) > 1:
        raise _error(
            url, f"has parts of {parts.part_size} bytes; S3 takes {MIN_PART_SIZE} at least, but for the last one"
        )


def _check_urls(url: SecretURL, parts: SignedParts) -> None:
    """Reject URLs that are not those of one upload of one object: each may lead anywhere."""
    _check_query(url, url, "POST", number=None)
    for number, part in enumerate(parts.urls, 1):
        _check_query(url, part, "PUT", number=number)
    if parts.abort is not None:
        _check_query(url, parts.abort, "DELETE", number=None)
    if parts.head is not None:
        _check_object(url, parts.head, "head")
        if not {"uploadId", "partNumber"}.isdisjoint(parts.head.query_names()):
            raise _error(url, "has a head that is not signed for HeadObject")


def _check_query(url: SecretURL, other: SecretURL, method: str, *, number: int | None) -> None:
    """Check the parameters of a request.

    Args:
        url: URL of the completion.
        other: URL of the request.
        method: Its method.
        number: Number of the part; None for a request for the whole upload.
    """
    name = {"PUT": f"part {number}", "POST": "the completion", "DELETE": "abort"}[method]
    _check_object(url, other, name)
    upload_id = other.secret_query("uploadId")
    if upload_id is None or not upload_id.reveal() or upload_id != url.secret_query("uploadId"):
        raise _error(url, f"has a URL of another upload, or of none (uploadId): that of {name}")
    if other.query("partNumber") != (None if number is None else str(number)):
        raise _error(url, f"has a URL with another partNumber: that of {name}")
    if {"uploadId", "partNumber"} & other.repeated_names():
        raise _error(url, f"has a URL with uploadId or partNumber twice: that of {name}")
    if other.query("x-id") not in (None, _OPERATIONS[method]):
        raise _error(url, f"has a URL that is signed for another operation than {_OPERATIONS[method]}: that of {name}")


def _check_object(url: SecretURL, other: SecretURL, name: str) -> None:
    if (other.origin, other.path) != (url.origin, url.path):
        raise _error(url, f"has a URL of another host or object than that of the completion: that of {name}")
    if other.has_userinfo or other.has_forbidden_characters:
        raise _error(url, f"has a URL with a character or a user that no URL has: that of {name}")


def _error(url: SecretURL, problem: str) -> CallbackParamError:
    return CallbackParamError(f"s3_parts of {url} {problem}.", hint=_HINT, url=str(url))


def _list_of_parts(etags: Sequence[str]) -> bytes:
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    start = '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{start}{parts}</CompleteMultipartUpload>".encode()


def _etag_of(digests: Iterable[str]) -> str:
    given = [bytes.fromhex(digest) for digest in digests]
    return f"{hashlib.md5(b''.join(given), usedforsecurity=False).hexdigest()}-{len(given)}"


def _unquote(etag: str) -> str:
    return etag.strip().removeprefix("W/").strip('"').lower()
