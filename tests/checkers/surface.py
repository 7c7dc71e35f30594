"""Runs each of boto3's operations on buckets and objects once, and checks the results, for any client.

As a script it runs in a separate process, with the boto3 of its interpreter:
`python surface.py ENDPOINT BUCKET [MODULE_TO_IMPORT [ACCESS_KEY SECRET_KEY [aistore]]]`
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig

MIB = 1024 * 1024
BIG = os.urandom(1 * MIB) * 11
"""Larger than one part, so that a multipart upload is used."""


def exercise(s3: Any, bucket: str, *, aistore: bool = False) -> None:
    """Run each operation, and check its effect.

    AIStore keeps neither types nor metadata, has no UploadPartCopy, and deletes a bucket with its objects.
    """
    s3.create_bucket(Bucket=bucket)
    assert bucket in [item["Name"] for item in s3.list_buckets()["Buckets"]]
    s3.head_bucket(Bucket=bucket)
    _objects(s3, bucket, aistore)
    _transfers(s3, bucket)
    _copies(s3, bucket, aistore)
    keys = sorted(_keys(s3, bucket))
    assert keys == ["a b/ü+%.bin", "big", "big-copy", "file", "parts", "second half", "small", "small-copy"]
    s3.delete_object(Bucket=bucket, Key=keys.pop())
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert sorted(item["Key"] for item in deleted["Deleted"]) == keys
    assert _keys(s3, bucket) == []
    s3.delete_bucket(Bucket=bucket)


def _objects(s3: Any, bucket: str, aistore: bool) -> None:
    s3.put_object(Bucket=bucket, Key="small", Body=b"0123456789", Metadata={"run": "42"}, ContentType="text/x-small")
    head = s3.head_object(Bucket=bucket, Key="small")
    kept = ({}, "application/octet-stream") if aistore else ({"run": "42"}, "text/x-small")
    assert (head["ContentLength"], head["Metadata"], head["ContentType"]) == (10, *kept)
    assert _read(s3, bucket, "small") == b"0123456789"
    assert _read(s3, bucket, "small", Range="bytes=2-4") == b"234"
    s3.put_object(Bucket=bucket, Key="a b/ü+%.bin", Body=io.BytesIO(b"odd"))
    assert _read(s3, bucket, "a b/ü+%.bin") == b"odd"
    half = io.BytesIO(b"first half, second half")
    half.seek(12)
    s3.put_object(Bucket=bucket, Key="second half", Body=half)
    assert _read(s3, bucket, "second half") == b"second half"


def _transfers(s3: Any, bucket: str) -> None:
    # Over TLS by one thread: connections that several open at once crash botocore at times (its issue 3164).
    config = TransferConfig(use_threads=not s3.meta.endpoint_url.startswith("https:"))
    s3.upload_fileobj(io.BytesIO(BIG), bucket, "big", Config=config)
    received = io.BytesIO()
    s3.download_fileobj(bucket, "big", received, Config=config)
    assert received.getvalue() == BIG
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(BIG)
        s3.upload_file(str(path), bucket, "file", Config=config)
        s3.download_file(bucket, "file", str(path.with_name("back")), Config=config)
        assert path.with_name("back").read_bytes() == BIG
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    place = {"Bucket": bucket, "Key": "parts", "UploadId": upload}
    tags = [s3.upload_part(**place, PartNumber=n, Body=BIG[: 5 * MIB])["ETag"] for n in (1, 2)]
    parts = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]
    assert [(part["PartNumber"], part["ETag"]) for part in s3.list_parts(**place)["Parts"]] == list(enumerate(tags, 1))
    assert upload in [found["UploadId"] for found in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]]
    s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
    assert _read(s3, bucket, "parts") == BIG[: 5 * MIB] * 2
    place["UploadId"] = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    s3.abort_multipart_upload(**place)


def _copies(s3: Any, bucket: str, aistore: bool) -> None:
    s3.copy_object(Bucket=bucket, Key="small-copy", CopySource={"Bucket": bucket, "Key": "small"})
    assert _read(s3, bucket, "small-copy") == b"0123456789"
    config = TransferConfig(multipart_threshold=2 * len(BIG)) if aistore else None
    s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "big-copy", Config=config)
    assert _read(s3, bucket, "big-copy") == BIG


def _read(s3: Any, bucket: str, key: str, **options: Any) -> bytes:
    data: bytes = s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read()
    return data


def _keys(s3: Any, bucket: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 3})
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


def main(
    endpoint: str, bucket: str, module: str = "", access_key: str = "id", secret_key: str = "key", kind: str = ""
) -> None:
    """Check a client created before the import of a module, and a resource created after it."""
    import boto3
    from botocore.config import Config

    options = {
        "endpoint_url": endpoint,
        "region_name": "us-east-1",
        "aws_access_key_id": access_key,
        "aws_secret_access_key": secret_key,
        "config": Config(s3={"addressing_style": "path"}, proxies={}),
    }
    client = boto3.client("s3", **options)
    if module:
        importlib.import_module(module)
    exercise(client, bucket, aistore=kind == "aistore")
    exercise(boto3.resource("s3", **options).meta.client, f"{bucket}-2", aistore=kind == "aistore")
    sys.stdout.write(boto3.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
