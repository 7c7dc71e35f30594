"""What the service needs of a place for features and results that are too large for the database."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

INLINE = 64 * 1024
"""Bytes up to which features and results lie in the database, where one commit keeps them with their task."""


class BlobStorage(Protocol):
    """Named sequences of bytes, each there whole or not at all, for every machine of the service."""

    def keep(self, source: Path, name: str) -> None:
        """Take a file over, which is gone afterwards. On return it is kept for good.

        Raises:
            BlobStorageError: It can't be kept.
        """
        ...

    def copy(self, name: str, copy: str) -> None:
        """Keep what is kept under another name too.

        Raises:
            BlobStorageError: It can't be kept.
        """
        ...

    def fetch(self, name: str, scratch: Path) -> AbstractContextManager[Path]:
        """Give a file with the bytes to read.

        Args:
            name: Which.
            scratch: Folder on this machine for a copy, where one is needed.

        Raises:
            BlobStorageError: It isn't there, or can't be read.
        """
        ...

    def chunks(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from one position to another.

        Raises:
            BlobStorageError: They can't be read, or there are fewer.
        """
        ...

    def remove(self, name: str) -> None:
        """Forget one, which may be gone already.

        Raises:
            BlobStorageError: The place can't be reached.
        """
        ...

    def clean(self, unfinished: Collection[str]) -> None:
        """Remove what killed processes left behind.

        Args:
            unfinished: Ids of the tasks that have not ended.
        """
        ...

    def check(self) -> None:
        """Make sure that the place can be used.

        Raises:
            BlobStorageError: It can't.
        """
        ...


def features_name(job_id: str) -> str:
    """Return the name of a task's features; they live until it has ended."""
    return f"features/{job_id}"


def model_name(job_id: str, attempt: int) -> str:
    """Return the name of what a training made; it lives as long as the version that goes on with it."""
    return f"models/{job_id}.{attempt}"


def results_name(job_id: str, attempt: int) -> str:
    """Return the name of one run's results, as no two runs share one; they live as long as the task is known."""
    return f"results/{job_id}.{attempt}.json"
