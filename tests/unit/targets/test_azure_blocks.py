"""Azure's blocks and block lists, from documents of any size."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import DeliveryError, ResultTooLargeError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.azure import MAX_BLOCKS, SINGLE_BLOB
from callback_sdk.targets.azure_blocks import AzureBlocks, block_id, block_list, block_size
from callback_sdk.targets.callbacks import parse_callbacks
from tests.signedurls import sas

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
HOST = "https://account.blob.core.windows.net"
MIB = 1024**2
BODY = Body(b"0123456789")
NEW, MIDDLE, OLD = "2024-11-04", "2018-03-28", "2015-04-05"


def target(param: Any = None, *, fragment: str = "", **change: str | None) -> Target:
    (callback,) = parse_callbacks(f"{HOST}/c/runs/42.json?{sas(**change)}{fragment}", param)
    return plan(callback)


def blocks(
    param: Any = None, *, size: int = SINGLE_BLOB + 1, encoding: str | None = None, **change: str
) -> AzureBlocks:
    found = target(param, **change).in_parts(size, encoding)
    assert isinstance(found, AzureBlocks)
    return found


class Response:
    """A store's response."""

    def __init__(self, status: int, **headers: str) -> None:
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = b""


@pytest.mark.parametrize(
    ("change", "size", "part_size"),
    [
        ({}, SINGLE_BLOB, None),
        ({}, SINGLE_BLOB + 1, 32 * MIB),
        ({"sp": "w"}, SINGLE_BLOB + 1, 32 * MIB),
        ({"sp": "c"}, 5000 * MIB, None),
        # Permissions in a stored access policy are not known.
        ({"sp": None, "se": None, "si": "policy"}, SINGLE_BLOB + 1, 32 * MIB),
        ({"sv": MIDDLE}, 200 * MIB, 32 * MIB),
        ({"sv": OLD}, SINGLE_BLOB + 1, 4 * MIB),
        # More than 50,000 blocks of 32 MiB.
        ({}, 100_000 * 32 * MIB, 64 * MIB),
        ({}, MAX_BLOCKS * 4000 * MIB, 4000 * MIB),
    ],
)
def test_size_of_blocks(change: dict[str, str | None], size: int, part_size: int | None) -> None:
    """A small document is sent in one request, as is one whose signature permits no blocks."""
    found = target(**change)
    found.check_limits(now=NOW, size=size)
    parts = found.in_parts(size, None)
    assert (parts.part_size if isinstance(parts, AzureBlocks) else None) == part_size
    if isinstance(parts, AzureBlocks):
        assert len(parts.ranges(size)) <= MAX_BLOCKS
        assert sum(part.size for part in parts.ranges(size)) == size


@pytest.mark.parametrize(
    ("change", "size", "hint"),
    [
        ({"sp": "c"}, 5000 * MIB + 1, "write=True"),
        ({"sp": "c", "sv": MIDDLE}, 256 * MIB + 1, "write=True"),
        ({"sv": OLD}, MAX_BLOCKS * 4 * MIB + 1, "newer version"),
        ({}, MAX_BLOCKS * 4000 * MIB + 1, "newer version"),
    ],
)
def test_document_beyond_the_limits_of_its_signature_is_refused(change: dict[str, str], size: int, hint: str) -> None:
    """The limits of one request, and of blocks, are those of the signature's version."""
    with pytest.raises(ResultTooLargeError, match="at most") as caught:
        target(**change).check_limits(now=NOW, size=size)
    assert hint in caught.value.hint


def test_blocks_are_not_more_than_there_may_be() -> None:
    """The size of a block grows with that of the document, by bytes and not by whole blocks."""
    for size in (1, 32 * MIB * MAX_BLOCKS, 32 * MIB * MAX_BLOCKS + 1, 10**14):
        assert -(-size // block_size(size, largest=4000 * MIB, most=MAX_BLOCKS)) <= MAX_BLOCKS


def test_ids_of_blocks_tell_documents_apart() -> None:
    """All have the same length, at most 64 bytes, and differ with document, size of the blocks and number."""
    given = [
        (Body(b"a"), 4, 1),
        (Body(b"b"), 4, 1),
        (Body(b"a"), 8, 1),
        (Body(b"a"), 4, 2),
        (Body(b"a"), 4, MAX_BLOCKS),
    ]
    ids = [block_id(document, size, number) for document, size, number in given]
    assert len(set(ids)) == len(ids)
    assert {len(text) for text in ids} == {64}
    assert {len(base64.b64decode(text, validate=True)) for text in ids} == {48}


def test_block_list_is_xml_in_the_order_of_the_document() -> None:
    """`Latest` also finds a block that an earlier list has committed."""
    root = ElementTree.fromstring(block_list(["b==", "a=="]))
    assert root.tag == "BlockList"
    assert [(child.tag, child.text) for child in root] == [("Latest", "b=="), ("Latest", "a==")]


def test_requests_of_an_upload() -> None:
    """Each block has its own MD5; the list sets type, encoding and MD5 of the blob, and has its own type."""
    upload = blocks(encoding="gzip")
    first, *_ = upload.ranges(BODY.size)
    block, completion = upload.part(first, BODY, now=NOW), upload.completion(BODY, [""], now=NOW)
    query = parse_qs(urlsplit(block.url.reveal()).query)
    assert (block.method, query["comp"], query["blockid"]) == (
        "PUT",
        ["block"],
        [block_id(BODY, upload.part_size, 1)],
    )
    assert block.headers.reveal() == {"content-type": "application/octet-stream", "content-md5": BODY.content_md5}
    assert (block.kind, block.accepts, block.redirects, block.body.read()) == ("azure-blob", {201}, False, BODY.read())
    assert (completion.method, parse_qs(urlsplit(completion.url.reveal()).query)["comp"]) == ("PUT", ["blocklist"])
    assert completion.body.read() == block_list([block_id(BODY, upload.part_size, 1)])
    assert completion.headers.reveal() == {
        "content-type": "application/xml",
        "x-ms-blob-content-type": "application/json",
        "x-ms-blob-content-encoding": "gzip",
        "x-ms-blob-content-md5": BODY.content_md5,
    }


def test_given_headers_are_sent_where_they_belong() -> None:
    """Lease and encryption key with every request, those of the blob with the list, under the names that it has."""
    key = {"x-ms-encryption-key": "a2V5", "x-ms-encryption-algorithm": "AES256", "x-ms-lease-id": "1"}
    blob = {
        "x-ms-meta-run": "42",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-access-tier": "Cool",
        "if-none-match": "*",
        "cache-control": "no-store",
        "content-type": "text/plain",
        "x-ms-blob-content-language": "en",
    }
    upload = blocks({"s3_headers": {**key, **blob}})
    first, *_ = upload.ranges(BODY.size)
    block = upload.part(first, BODY, now=NOW).headers.reveal()
    assert block.items() >= key.items()
    assert block.keys().isdisjoint({"if-none-match", "x-ms-meta-run", "x-ms-blob-type", "cache-control"})
    sent = upload.completion(BODY, [""], now=NOW).headers.reveal()
    assert sent == {
        **key,
        "content-type": "application/xml",
        "x-ms-blob-content-type": "text/plain",
        "x-ms-blob-content-language": "en",
        "x-ms-blob-content-md5": BODY.content_md5,
        "x-ms-blob-cache-control": "no-store",
        "x-ms-meta-run": "42",
        "x-ms-access-tier": "Cool",
        "if-none-match": "*",
    }


def test_blobs_own_header_takes_precedence() -> None:
    """Put Blob takes x-ms-blob-content-type before Content-Type too."""
    given = {"content-type": "text/plain", "x-ms-blob-content-type": "text/csv"}
    sent = blocks({"s3_headers": given}).completion(BODY, [""], now=NOW).headers.reveal()
    assert sent["x-ms-blob-content-type"] == "text/csv"


def test_fragment_of_the_url_is_no_part_of_the_query() -> None:
    """What follows a # is never sent."""
    found = target(fragment="#top").in_parts(SINGLE_BLOB + 1, None)
    assert isinstance(found, AzureBlocks)
    (url,) = [found.part(part, BODY, now=NOW).url for part in found.ranges(BODY.size)]
    assert url.reveal().endswith(
        f"&comp=block&blockid={block_id(BODY, found.part_size, 1)}".replace("=", "%3D", 0)[-20:]
    )
    assert "#" not in url.reveal()


def test_blob_that_exists_is_compared_where_it_may_be_read() -> None:
    """A list that may be committed only once may have been, by an attempt whose response was lost."""
    readable = blocks(sp="rcw")
    verification = readable.verification(now=NOW)
    assert verification is not None
    assert (verification.method, verification.accepts) == ("HEAD", {200})
    assert blocks(sp="cw").verification(now=NOW) is None
    assert readable.may_exist(DeliveryError("", code="BlobAlreadyExists"))
    assert not readable.may_exist(DeliveryError("", code="InvalidBlockList", status=400))
    size, md5 = str(BODY.size), BODY.content_md5
    assert readable.is_stored(Response(200, content_length=size, content_md5=md5), BODY, [])
    assert not readable.is_stored(Response(200, content_length=size, content_md5=Body(b"x").content_md5), BODY, [])
    assert not readable.is_stored(Response(200, content_length="11", content_md5=md5), BODY, [])
    assert not readable.is_stored(Response(200), BODY, [])


def test_list_without_its_blocks_begins_again() -> None:
    """They were discarded when another document was committed in the meantime."""
    error = DeliveryError("", code="InvalidBlockList", status=400)
    assert blocks().has_lost_parts(error)
    assert not blocks().has_lost_parts(DeliveryError("", code="ServerBusy", status=503))
