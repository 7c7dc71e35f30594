"""What the generators and the tests pass to boto3 besides bucket and key."""

from __future__ import annotations

from typing import Any

TYPE = "application/vnd.run+json"

PUTS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "plain": ({}, {}),
    "ContentType": ({"ContentType": TYPE}, {"content-type": TYPE}),
    "ACL": ({"ACL": "bucket-owner-full-control"}, {"x-amz-acl": "bucket-owner-full-control"}),
    "Metadata": ({"Metadata": {"Run": "4  2", "owner": "me"}}, {"x-amz-meta-run": "4  2", "x-amz-meta-owner": "me"}),
    "Tagging": ({"Tagging": "a=1&b=2"}, {"x-amz-tagging": "a=1&b=2"}),
    "ServerSideEncryption": (
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-1"},
        {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "key-1"},
    ),
    "ChecksumAlgorithm": ({"ChecksumAlgorithm": "SHA256"}, {"x-amz-sdk-checksum-algorithm": "SHA256"}),
    "IfNoneMatch": ({"IfNoneMatch": "*"}, {"if-none-match": "*"}),
    "ContentLength": ({"ContentLength": 2}, {"content-length": "2"}),
    "ContentEncoding, CacheControl": (
        {"ContentEncoding": "gzip", "CacheControl": "no-store"},
        {"content-encoding": "gzip", "cache-control": "no-store"},
    ),
}

POSTS: dict[str, tuple[dict[str, str], list[Any]]] = {
    "plain": ({}, []),
    "content-length-range": ({}, [["content-length-range", 1, 1000]]),
    "eq Content-Type, metadata": (
        {"Content-Type": TYPE, "x-amz-meta-run": "42"},
        [["eq", "$Content-Type", TYPE], {"x-amz-meta-run": "42"}],
    ),
    "starts-with": (
        {"Content-Type": TYPE, "acl": "private"},
        [["starts-with", "$Content-Type", "application/"], ["starts-with", "$key", "runs/"], {"acl": "private"}],
    ),
    "success_action_status": ({"success_action_status": "201"}, [{"success_action_status": "201"}]),
}
