"""Opens blob storage by its location."""

from __future__ import annotations

from pathlib import Path

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import without_credentials
from callback_sdk.service.blobs.blobs import BlobStorage
from callback_sdk.service.blobs.bucket import BucketStorage
from callback_sdk.service.blobs.folder import DirectoryStorage
from callback_sdk.service.supervision.shortages import unusable


def open_blobs(place: str) -> BlobStorage:
    """Open blob storage.

    Args:
        place: Path of a directory, or `s3://BUCKET/PREFIX`.

    Raises:
        ConfigurationError: The location is invalid, or the directory can't be created.
    """
    scheme, separator, rest = place.partition("://")
    bucket, _, prefix = rest.partition("/")
    # A user and a password would be taken for a part of the bucket's name, and shown.
    if separator and scheme == "s3" and rest.strip("/") and "@" not in bucket:
        return BucketStorage(bucket, prefix)
    if separator or not place:
        raise ConfigurationError(
            f"{without_credentials(place)!r} is not a location for blobs.",
            hint="Use the path of a directory, or s3://BUCKET/PREFIX.",
        )
    try:
        return DirectoryStorage(Path(place).absolute())
    except OSError as error:
        raise unusable(
            f"The directory {place} can't be created: {error.strerror}.",
            hint="Choose another directory with --blob-storage.",
            error=error,
        ) from error
