"""Presigned PUT URLs and POST policies, equal byte for byte to botocore's."""

from callback_sdk.signer.signer import S3Signer

__all__ = ["S3Signer"]
