"""Blob storage for what is too large for the database: a directory or an S3 bucket."""

from callback_sdk.service.blobs.blobs import INLINE, BlobStorage, features_name, model_name, output_name, results_name
from callback_sdk.service.blobs.errors import BlobMissingError, BlobStorageError, StorageUnavailableError
from callback_sdk.service.blobs.places import open_blobs

__all__ = [
    "INLINE",
    "BlobMissingError",
    "BlobStorage",
    "BlobStorageError",
    "StorageUnavailableError",
    "features_name",
    "model_name",
    "open_blobs",
    "output_name",
    "results_name",
]
