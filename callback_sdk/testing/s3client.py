"""A boto3 client for a store on loopback."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config


def s3_client(endpoint_url: str, region: str, access_key: str, secret_key: str, /, **options: Any) -> Any:
    """Return a boto3 S3 client: path-style, Signature Version 4, no proxy.

    Args:
        endpoint_url: URL of the store.
        region: Region for signatures.
        access_key: Access key id.
        secret_key: Secret key.
        **options: Further options of `boto3.client`, which override those set here.
    """
    arguments: dict[str, Any] = {
        "endpoint_url": endpoint_url,
        "region_name": region,
        "aws_access_key_id": access_key,
        "aws_secret_access_key": secret_key,
        "config": Config(signature_version="s3v4", s3={"addressing_style": "path"}, proxies={}),
    }
    return boto3.client("s3", **(arguments | options))
