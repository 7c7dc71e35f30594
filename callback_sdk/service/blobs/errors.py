"""What goes wrong with blobs."""

from __future__ import annotations

from callback_sdk.errors import CallbackSDKError


class BlobStorageError(CallbackSDKError):
    """Features or results can't be kept or read at the moment."""


class StorageUnavailableError(BlobStorageError):
    """The place for features and results does not respond; nothing is known of single ones."""


class BlobMissingError(BlobStorageError):
    """Features or results are gone, and another try won't find them."""
