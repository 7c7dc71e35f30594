"""The objects of the fake AIStore, in memory: its `ais://` buckets and their part of the S3 API."""

from __future__ import annotations

import re
import secrets
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from callback_sdk.testing.aistore.listing import TIME, MultipartUpload, etag, list_objects, list_parts, list_uploads
from callback_sdk.testing.aistore.responses import xml_error, xml_response, xml_text
from callback_sdk.testing.faults import FaultResponse
from callback_sdk.testing.received import ReceivedRequest

_HTTP_TIME = "Thu, 01 Jan 2026 00:00:00 GMT"
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")

Query = Mapping[str, list[str]]
Operation = Callable[[ReceivedRequest, str, str, Query], FaultResponse]


class Buckets:
    """Buckets in memory. Thread-safe. Content types and metadata are not kept, and `If-None-Match` is ignored."""

    def __init__(self) -> None:
        self._buckets: dict[str, dict[str, bytes]] = {}
        self._uploads: dict[str, MultipartUpload] = {}
        self._lock = threading.RLock()

    @property
    def objects(self) -> dict[str, bytes]:
        """All objects by bucket and key, such as `"results/42.json"`."""
        with self._lock:
            return {f"{bucket}/{key}": body for bucket, keys in self._buckets.items() for key, body in keys.items()}

    def carry_out(self, request: ReceivedRequest) -> FaultResponse:
        """Carry out a request to the S3 API; its path begins with `/s3`."""
        path, _, query_text = request.path.partition("?")
        bucket, _, key = _decoded_path(path).removeprefix("/s3").removeprefix("/").partition("/")
        query = parse_qs(query_text, keep_blank_values=True)
        place = "object" if key else "bucket" if bucket else "service"
        operation = self._operations(query).get((request.method, place))
        if operation is None:
            return xml_error(400, "", "invalid s3 request")
        with self._lock:
            if bucket and bucket not in self._buckets and (request.method, place) != ("PUT", "bucket"):
                return xml_error(404, "NoSuchBucket", f'bucket "ais://{bucket}" does not exist')
            return operation(request, bucket, key, query)

    def _operations(self, query: Query) -> dict[tuple[str, str], Operation]:
        part = "uploadId" in query
        operations: dict[tuple[str, str], Operation] = {
            ("GET", "service"): self._list_buckets,
            ("PUT", "bucket"): self._create,
            ("HEAD", "bucket"): lambda *_: FaultResponse(headers={"x-amz-bucket-region": "ais"}),
            ("GET", "bucket"): self._list_uploads if "uploads" in query else self._list,
            ("DELETE", "bucket"): self._destroy,
            ("PUT", "object"): self._put_part if part else self._put,
            ("GET", "object"): self._list_parts if part else self._get,
            ("HEAD", "object"): self._get,
            ("DELETE", "object"): self._abort if part else self._delete,
        }
        # Any other POST is an error: a POST policy too.
        if "delete" in query:
            operations["POST", "bucket"] = self._delete_many
        if part:
            operations["POST", "object"] = self._complete
        if "uploads" in query:
            operations["POST", "object"] = self._start_upload
        return operations

    def _list_buckets(self, *_: Any) -> FaultResponse:
        names = "".join(
            f"<Bucket><Name>{name}</Name><CreationDate>{TIME}</CreationDate></Bucket>" for name in self._buckets
        )
        return xml_response("ListAllMyBucketsResult", f"<Buckets>{names}</Buckets>")

    def _create(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        if bucket in self._buckets:
            return xml_error(409, "BucketAlreadyExists", f'bucket "ais://{bucket}" already exists')
        self._buckets[bucket] = {}
        return FaultResponse()

    def _destroy(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        del self._buckets[bucket]
        return FaultResponse(status=204)

    def _list(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        return list_objects(bucket, self._buckets[bucket], query)

    def _put(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        source = request.headers.get("x-amz-copy-source")
        if source is None:
            body = _decode(request)
            self._buckets[bucket][key] = body
            return FaultResponse(headers={"ETag": etag(body)})
        from_bucket, _, from_key = _decoded_path(source).removeprefix("/").partition("/")
        copied = self._buckets.get(from_bucket, {}).get(from_key)
        if copied is None:
            return _no_such_key(from_key)
        self._buckets[bucket][key] = copied
        return xml_response(
            "CopyObjectResult", f"<ETag>{xml_text(etag(copied))}</ETag><LastModified>{TIME}</LastModified>"
        )

    def _get(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        body = self._buckets[bucket].get(key)
        if body is None:
            return _no_such_key(key)
        headers = {"ETag": etag(body), "Last-Modified": _HTTP_TIME, "Accept-Ranges": "bytes"}
        asked, status = _RANGE.fullmatch(request.headers.get("range", "")), 200
        if asked is not None:
            first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
            if first > last:
                return xml_error(416, "InvalidRange", "the range is not satisfiable")
            headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
            body, status = body[first : last + 1], 206
        headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
        return FaultResponse(status=status, headers=headers, body=body)

    def _delete(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        if self._buckets[bucket].pop(key, None) is None:
            return _no_such_key(key)
        return FaultResponse(status=204)

    def _delete_many(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        keys = [item.text or "" for item in _elements(_decode(request), "Key")]
        for name in keys:
            self._buckets[bucket].pop(name, None)
        deleted = "".join(f"<Deleted><Key>{xml_text(name)}</Key></Deleted>" for name in keys)
        return xml_response("DeleteResult", deleted)

    def _start_upload(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        upload = secrets.token_hex(8)
        self._uploads[upload] = MultipartUpload(bucket, key)
        return xml_response(
            "InitiateMultipartUploadResult",
            f"<Bucket>{bucket}</Bucket><Key>{xml_text(key)}</Key><UploadId>{upload}</UploadId>",
        )

    def _put_part(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        if "x-amz-copy-source" in request.headers:
            return xml_error(501, "NotImplemented", "UploadPartCopy is not supported")
        upload, body = self._uploads.get(query["uploadId"][0]), _decode(request)
        if upload is None:
            return _no_such_upload()
        upload.parts[int(query["partNumber"][0])] = body
        return FaultResponse(headers={"ETag": etag(body)})

    def _complete(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        upload = self._uploads.pop(query["uploadId"][0], None)
        numbers = [int(item.text or 0) for item in _elements(_decode(request), "PartNumber")]
        if upload is None or not set(numbers) <= set(upload.parts):
            return _no_such_upload()
        body = b"".join(upload.parts[number] for number in numbers)
        self._buckets[bucket][key] = body
        return xml_response(
            "CompleteMultipartUploadResult",
            f"<Bucket>{bucket}</Bucket><Key>{xml_text(key)}</Key><ETag>{xml_text(etag(body))}</ETag>",
        )

    def _list_parts(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        upload = self._uploads.get(query["uploadId"][0])
        return _no_such_upload() if upload is None else list_parts(query["uploadId"][0], upload)

    def _list_uploads(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        return list_uploads(bucket, self._uploads)

    def _abort(self, request: ReceivedRequest, bucket: str, key: str, query: Query) -> FaultResponse:
        self._uploads.pop(query["uploadId"][0], None)
        return FaultResponse(status=204)


def _decoded_path(path: str) -> str:
    """Return a path as text; bytes that aren't UTF-8 are kept as surrogates, as distinct names."""
    return unquote_to_bytes(path.encode("latin-1")).decode(errors="surrogateescape")


def _no_such_key(key: str) -> FaultResponse:
    return xml_error(404, "NoSuchKey", f"object {key!r} does not exist")


def _no_such_upload() -> FaultResponse:
    return xml_error(404, "NoSuchUpload", "the upload or one of its parts does not exist")


def _elements(body: bytes, name: str) -> list[ElementTree.Element]:
    return [item for item in ElementTree.fromstring(body).iter() if item.tag.rpartition("}")[2] == name]  # noqa: S314


def _decode(request: ReceivedRequest) -> bytes:
    """Return a body without the chunks of boto3's checksum trailers (`aws-chunked`)."""
    if "aws-chunked" not in request.headers.get("content-encoding", ""):
        return request.body
    body, rest = bytearray(), request.body
    while rest:
        head, _, rest = rest.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        if not size:
            break
        body += rest[:size]
        rest = rest[size + 2 :]
    return bytes(body)
