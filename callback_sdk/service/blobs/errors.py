"""Errors of blob storage."""

from __future__ import annotations

from callback_sdk.errors import CallbackSDKError


class BlobStorageError(CallbackSDKError):
    """Features or results can't be stored or read at the moment."""


class StorageUnavailableError(BlobStorageError):
    """The blob storage does not respond."""


class BlobMissingError(BlobStorageError):
    """Features or results are missing; another attempt won't find them."""
