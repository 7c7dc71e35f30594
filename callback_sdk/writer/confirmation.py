"""Confirmations that a target has a document, and the receipts for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from attrs import evolve

from callback_sdk.receipt import Receipt
from callback_sdk.targets.upload import Upload
from callback_sdk.transport.response import Response
from callback_sdk.writer.clock import utc_now

Confirmation = tuple[Upload, Response, bytes]
"""The request and the response that confirm that a target has a document, and the SHA-256 of the document."""


_MD5_LENGTH = 32
"""Hexadecimal digits of an MD5."""


class ConfirmedFile(Protocol):
    """An output file that a target has."""

    @property
    def receipt(self) -> Receipt:
        """The receipt."""
        ...


def with_files(receipt: Receipt, files: Mapping[str, ConfirmedFile]) -> Receipt:
    """Return the receipt of a document with those of its output files, by their names."""
    return evolve(receipt, outputs={name: file.receipt for name, file in files.items()}) if files else receipt


def is_there_already(upload: Upload, response: Response) -> bool:
    """Return whether a write-once object exists because an earlier attempt of this delivery has stored it.

    The response to that attempt may have been lost. A 412 (RFC 9110, section 13.1.2) with the ETag of the existing
    object tells: the ETag is the MD5 of its bytes, and equal bytes have the same job id.
    """
    return response.status == 412 and _has_md5_as_etag(upload, response)


def _has_md5_as_etag(upload: Upload, response: Response) -> bool:
    etag = _etag(response)
    # The digest of a large document takes seconds.
    return len(etag) == _MD5_LENGTH and etag == upload.document.md5.hex()


def _etag(response: Response) -> str:
    return response.headers.get("etag", "").strip('"')


def receipt_of(upload: Upload, response: Response, digest: bytes, **members: Any) -> Receipt:
    """Return the receipt for an upload that the response confirms.

    Args:
        upload: The request.
        response: The response.
        digest: The SHA-256 of the document.
        members: The other attributes of the receipt.
    """
    return Receipt(
        target_kind=upload.kind,
        url=str(upload.url),
        status=response.status,
        # A server may return anything in these headers, also a credential of the request.
        etag=_public_etag(upload, response) or None,
        version_id=response.scrub(response.headers.get("x-amz-version-id", ""), upload) or None,
        size=upload.document.size,
        sha256=digest.hex(),
        finished_at=utc_now(),
        **members,
    )


def _public_etag(upload: Upload, response: Response) -> str:
    # Most are the digest of the document, which is faster to tell than that a text has no credentials.
    return _etag(response) if _has_md5_as_etag(upload, response) else response.scrub(_etag(response), upload)
