"""What goes wrong with blobs."""

from __future__ import annotations

from callback_sdk.errors import CallbackSDKError


class StorageError(CallbackSDKError):
    """Features or results can't be kept or read at the moment."""


class StorageUnavailableError(StorageError):
    """The place for features and results does not respond; nothing is known of single ones."""


class BlobMissingError(StorageError):
    """Features or results are gone, and another try won't find them."""
