"""Azure block blobs that are uploaded in blocks, with the shared access signature (SAS) of a single upload.

Blocks are not part of the blob before the block list is committed, so that no partial blob ever exists. Those of an
upload that was given up are discarded after a week, or when another list of the same blob is committed.

Sources: "Put Block", "Put Block List" and "Scalability and performance targets for Blob storage" in Azure's reference.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from attrs import define

from callback_sdk.documents.body import Body
from callback_sdk.errors import DeliveryError
from callback_sdk.redaction import Secret, SecretFields
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.multipart import MultipartTarget, PartRange, StoreResponse
from callback_sdk.targets.upload import Upload

BLOCK_SIZE = 32 * 1024**2
"""Bytes of a block, unless the blob would have too many."""

_ID_SIZE = 8
"""Bytes of each of the two numbers in the id of a block."""

_OF_CONTENT = {
    f"content-{name}": f"x-ms-blob-content-{name}" for name in ("type", "encoding", "language", "disposition", "md5")
}
_PROPERTIES = {**_OF_CONTENT, "cache-control": "x-ms-blob-cache-control"}
"""Headers of Put Blob that describe the blob, by which Put Block List describes itself, and what it has instead."""

_OF_BLOCKS = ("x-ms-encryption-", "x-ms-lease-id", "x-ms-version", "x-ms-client-request-id")
"""Headers, or beginnings of their names, that each block needs as well as the list."""

_EXISTS = frozenset({"BlobAlreadyExists", "ConditionNotMet"})
"""Codes of errors of a conditional list that an earlier one, whose response was lost, may have caused."""


@define(frozen=True, kw_only=True)
class AzureBlocks(MultipartTarget):
    """An Azure Blob URL whose document is uploaded in blocks.

    Attributes:
        encoding: Content encoding of the document.
        may_read: Whether the signature permits reading the blob's properties.
    """

    kind = "azure-blob"
    accepts = frozenset({201})
    redirects = False
    needs_digest = True

    encoding: str | None
    may_read: bool

    def part(self, part: PartRange, document: Body, *, now: datetime) -> Upload:
        """See `MultipartTarget.part`."""
        block = document.cut(part.start, part.size)
        headers = {"content-type": "application/octet-stream", "content-md5": _content_md5(block)}
        own = SecretFields(
            {name: value for name, value in self._given_headers().reveal().items() if name.startswith(_OF_BLOCKS)}
        )
        query = f"comp=block&blockid={quote(block_id(document, self.part_size, part.number), safe='')}"
        return self._upload("PUT", query, SecretFields({**headers, **own.reveal()}), block, document)

    def part_identity(self, part: PartRange, response: StoreResponse) -> str:
        """See `MultipartTarget.stored`; the id of a block is known before."""
        return ""

    def completion(self, document: Body, stored: Sequence[str], *, now: datetime) -> Upload:
        """See `MultipartTarget.completion`."""
        ids = [block_id(document, self.part_size, number) for number in range(1, len(stored) + 1)]
        headers = _list_headers(self._given_headers(), document, self.media_type, self.encoding)
        return self._upload("PUT", "comp=blocklist", headers, Body(block_list(ids)), document)

    def verification(self, *, now: datetime) -> Upload | None:
        """See `MultipartTarget.verification`."""
        return self._upload("HEAD", "", SecretFields({}), Body(), Body(), accepts=200) if self.may_read else None

    def may_exist(self, error: DeliveryError) -> bool:
        """See `MultipartTarget.may_exist`."""
        return error.code in _EXISTS or error.status == 412

    def is_stored(self, response: StoreResponse, document: Body, stored: Sequence[str]) -> bool:
        """See `MultipartTarget.is_stored`: compares size and MD5, which the block list has set."""
        headers = response.headers
        return (headers.get("content-length"), headers.get("content-md5")) == (str(document.size), document.content_md5)

    def has_lost_parts(self, error: DeliveryError) -> bool:
        """See `MultipartTarget.has_lost_parts`; another document was committed in the meantime."""
        return error.code == "InvalidBlockList"

    def _given_headers(self) -> SecretFields:
        return given_headers(self.callback)

    def _upload(
        self, method: str, query: str, headers: SecretFields, body: Body, document: Body, *, accepts: int = 201
    ) -> Upload:
        return Upload(
            kind=self.kind,
            method=method,
            url=self.callback.url.with_parameters(query) if query else self.callback.url,
            headers=Secret(headers.reveal()),
            body=body,
            document=document,
            expires_at=self.expires_at,
            accepts=frozenset({accepts}),
            redirects=self.redirects,
        )


def block_size(size: int, *, largest: int, most: int) -> int:
    """Return the bytes of each block of a document.

    Args:
        size: Bytes of the document.
        largest: Maximum bytes of a block.
        most: Maximum number of blocks.
    """
    return min(largest, max(BLOCK_SIZE, -(-size // most)))


def block_id(document: Body, part_size: int, number: int) -> str:
    """Return the id of a block: the document's SHA-256, the size of its blocks and the number.

    Two uploads to one blob at the same time may replace each other's blocks only if these are equal: otherwise the
    blob could have blocks of both documents. All ids of a blob have the same length before and after an upload that was
    given up: 64 characters, as in Azure's own SDKs.

    Args:
        document: The whole document.
        part_size: Bytes of each block but the last one.
        number: Number of the block, from 1.
    """
    numbers = b"".join(value.to_bytes(_ID_SIZE, "big") for value in (part_size, number))
    return base64.b64encode(document.sha256 + numbers).decode()


def block_list(ids: Sequence[str]) -> bytes:
    """Return the body of Put Block List.

    `Latest` takes a block that isn't committed, else a committed one: a list whose response was lost can be sent again.

    Args:
        ids: Ids of the blocks, in the order of the document.
    """
    blocks = "".join(f"<Latest>{text}</Latest>" for text in ids)
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{blocks}</BlockList>'.encode()


def _content_md5(block: Body) -> str:
    """Return the MD5 of a block, whose SHA-256 nobody needs."""
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in block.chunks():
        digest.update(chunk)
    return base64.b64encode(digest.digest()).decode()


def _list_headers(given: SecretFields, document: Body, media_type: str, encoding: str | None) -> SecretFields:
    usual = {"content-type": media_type, "content-md5": document.content_md5}
    encoded = {} if encoding is None else {"content-encoding": encoding}
    blob = SecretFields({**usual, **given.reveal(), **encoded})
    renamed = SecretFields(
        {_PROPERTIES.get(name, name): value for name, value in blob.reveal().items() if name != "x-ms-blob-type"}
    )
    named = SecretFields({name: value for name, value in given.reveal().items() if name in _PROPERTIES.values()})
    return SecretFields({"content-type": "application/xml", **renamed.reveal(), **named.reveal()})
