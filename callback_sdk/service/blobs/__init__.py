"""Features and results that are too large for the database: in a folder, or in an S3 bucket."""

from callback_sdk.service.blobs.blobs import INLINE, Blobs, features_name, model_name, results_name
from callback_sdk.service.blobs.errors import BlobMissingError, StorageError, StorageUnavailableError
from callback_sdk.service.blobs.places import open_blobs

__all__ = [
    "INLINE",
    "BlobMissingError",
    "Blobs",
    "StorageError",
    "StorageUnavailableError",
    "features_name",
    "model_name",
    "open_blobs",
    "results_name",
]
