"""The requests that start and abort multipart uploads, made with boto3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from callback_sdk.errors import SigningError
from callback_sdk.redaction import Secret
from callback_sdk.signer.credentials import cause, describe, hint_for
from callback_sdk.text.descriptions import sentence

_HINTS = {
    "AccessDenied": "The credentials need s3:PutObject for the key, s3:AbortMultipartUpload to abort, and for an ACL, "
    "tags or a KMS key the permissions of these.",
    "NoSuchBucket": "Check the bucket's name, and the endpoint.",
    "NotImplemented": "The store doesn't have multipart uploads, or one of the arguments in create.",
    "PermanentRedirect": "Give the bucket's region: S3Signer(bucket, region=...).",
}

_OTHERWISE = "See the store's documentation of this code, and the arguments in create."


def start_upload(client: Any, bucket: str, key: str, arguments: Mapping[str, Any]) -> Secret[str]:
    """Start a multipart upload, and return its id.

    Args:
        client: A boto3 S3 client.
        bucket: The bucket.
        key: The object's key.
        arguments: More arguments of boto3's `create_multipart_upload`.

    Raises:
        SigningError: The store or boto3 rejects it.
    """
    response = _call(
        lambda: client.create_multipart_upload(Bucket=bucket, Key=key, **arguments), f"started for {key!r:.100}"
    )
    upload_id: Secret[Any] = Secret(response.get("UploadId") if isinstance(response, Mapping) else None)
    if not isinstance(upload_id.reveal(), str) or not upload_id.reveal():
        raise SigningError(
            "The store started a multipart upload and returned no id.", hint="Check that the endpoint is that of S3."
        )
    return upload_id


def abort_upload(client: Any, bucket: str, key: str, upload_id: Secret[str]) -> None:
    """Abort a multipart upload, if it still exists.

    Args:
        client: A boto3 S3 client.
        bucket: The bucket.
        key: The object's key.
        upload_id: Id of the upload.

    Raises:
        SigningError: The store rejects it.
    """
    _call(
        lambda: client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id.reveal()),
        f"aborted for {key!r:.100}",
        gone="NoSuchUpload",
    )


def _call(call: Callable[[], Any], what: str, *, gone: str | None = None) -> Any:
    failure: SigningError
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - botocore raises anything
        code = _code(error)
        if gone is not None and code == gone:
            return None
        failure = SigningError(
            f"The multipart upload can't be {what}: {sentence(describe(error))}",
            hint=_HINTS.get(code, _OTHERWISE) if code else hint_for(error, _OTHERWISE),
        )
        failure.__cause__ = cause(error)
    # Raised outside the handler: the frames of the original traceback have the credentials in their local variables.
    raise failure


def _code(error: Exception) -> str:
    """Return the store's code in a `ClientError` of botocore; empty for any other error."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", ""))[:80] if isinstance(response, dict) else ""
