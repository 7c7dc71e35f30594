"""What goes wrong with blobs."""

from __future__ import annotations

from callback_sdk.errors import CallbackSDKError


class StorageError(CallbackSDKError):
    """Features or results can't be kept or read at the moment, or are gone."""
