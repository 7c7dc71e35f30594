"""The interface of blob storage, and the names of the blobs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

INLINE = 64 * 1024
"""Maximum bytes of features or results that are stored as a row of the database, in the transaction of their task."""


class BlobStorage(Protocol):
    """Named blobs that every machine of the service can read. A blob exists completely or not at all."""

    def put(self, source: Path, name: str) -> None:
        """Store a file durably, and remove the source.

        Raises:
            BlobStorageError: The blob can't be stored.
        """
        ...

    def copy(self, name: str, copy: str) -> None:
        """Store the blob `name` under the name `copy` too.

        Raises:
            BlobStorageError: The copy can't be stored.
        """
        ...

    def fetch(self, name: str, scratch: Path) -> AbstractContextManager[Path]:
        """Provide a blob as a local file, within the context.

        Args:
            name: Name of the blob.
            scratch: Directory on this machine for a temporary copy, if the storage needs one.

        Raises:
            BlobStorageError: The blob doesn't exist, or can't be read.
        """
        ...

    def chunks(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes of a blob from the offset `start` to before the offset `stop`.

        Raises:
            BlobStorageError: The blob can't be read, or is shorter than `stop`.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a blob, if it exists.

        Raises:
            BlobStorageError: The storage can't be reached.
        """
        ...

    def clean(self, unfinished: Collection[str]) -> None:
        """Remove files and blobs that killed processes left behind.

        Args:
            unfinished: Ids of the tasks that have not ended; their features are kept.
        """
        ...

    def check(self) -> None:
        """Check that the storage is usable.

        Raises:
            BlobStorageError: The storage isn't usable.
        """
        ...


def features_name(job_id: str) -> str:
    """Return the name of a task's features. They are kept until the task has ended."""
    return f"features/{job_id}"


def model_name(job_id: str, attempt: int) -> str:
    """Return the name of the model that a training saved. It is kept as long as the version that uses it."""
    return f"models/{job_id}.{attempt}"


def output_name(job_id: str, attempt: int, position: int) -> str:
    """Return the name of an output file of one run, by its position. It is kept as long as the task."""
    return f"outputs/{job_id}.{attempt}.{position}"


def results_name(job_id: str, attempt: int) -> str:
    """Return the name of the results of one run. Every run has its own, and it is kept as long as the task."""
    return f"results/{job_id}.{attempt}.json"
