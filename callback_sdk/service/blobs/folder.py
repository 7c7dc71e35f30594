"""Blobs as files in a directory, which must be shared if the service runs on several machines."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from callback_sdk.documents.body import CHUNK_SIZE
from callback_sdk.filesystem.files import (
    PRIVATE,
    create_directory,
    create_file,
    move,
    remove,
    sync_directory,
    sync_file,
)
from callback_sdk.filesystem.locks import try_lock, wait_for_lock
from callback_sdk.service.blobs.errors import BlobMissingError, BlobStorageError

KINDS = ("features", "models", "outputs", "results")
"""Subdirectories of the blobs."""

_REMOVED = "removed"

_MIN_ORPHAN_AGE = 60 * 60.0
"""Age in seconds below which a file without a task is kept: its task may not be committed yet."""


class DirectoryStorage:
    """Blobs in one directory.

    Blobs that are removed during a backup are kept in the subdirectory `removed` until it has ended: they may belong to
    tasks that have ended after the database was copied.

    Args:
        folder: The directory; created with mode 0700 if it doesn't exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in KINDS:
            create_directory(folder / name, parents=True)
            create_directory(folder / _REMOVED / name, parents=True)

    def __repr__(self) -> str:
        return f"Folder({str(self._folder)!r})"

    def put(self, source: Path, name: str) -> None:
        """Move a file into the directory; see `BlobStorage.put`."""
        with _translated_errors(name):
            target = self._folder / name
            # Any step may fail, and the caller then repeats the whole call. So each step may be done already.
            if target.exists() and not source.exists():
                sync_directory(target.parent)
            elif source.stat().st_dev == target.parent.stat().st_dev:
                sync_file(source)
                move(source, target)
            else:
                # rename(2) fails with EXDEV across file systems.
                _copy(source, target)
                remove(source)

    def copy(self, name: str, copy: str) -> None:
        """Create a hard link, or a copy if the file system has no hard links; see `BlobStorage.copy`."""
        with _translated_errors(name):
            target = self._folder / copy
            try:
                target.hardlink_to(self._folder / name)
            except OSError:
                _copy(self._folder / name, target)
            sync_directory(target.parent)

    @contextmanager
    def fetch(self, name: str, scratch: Path) -> Iterator[Path]:
        """Return the stored file, without a copy; see `BlobStorage.fetch`."""
        path = self._folder / name
        if not path.exists():
            raise _missing_error(name)
        yield path

    def chunks(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield a range of the bytes; see `BlobStorage.chunks`."""
        with _translated_errors(name), (self._folder / name).open("rb") as file:
            file.seek(start)
            while start < stop:
                chunk = file.read(min(CHUNK_SIZE, stop - start))
                if not chunk:
                    raise BlobMissingError(f"{name} is shorter than the database says.", hint="Run the task again.")
                start += len(chunk)
                yield chunk

    def remove(self, name: str) -> None:
        """Remove a file; see `BlobStorage.remove`."""
        with _translated_errors(name), self._lock() as lock:
            if try_lock(lock, shared=True) is False:
                with suppress(FileNotFoundError):
                    move(self._folder / name, self._folder / _REMOVED / name)
            else:
                remove(self._folder / name)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep all blobs, also those that are removed meanwhile; see `copy_all`.

        Raises:
            BlobStorageError: The file system doesn't support locks.
        """
        with self._lock() as lock:
            try:
                wait_for_lock(lock)
            except OSError as error:
                raise BlobStorageError(
                    f"The directory {self._folder} can't be locked: {error.strerror}.",
                    hint="Stop all services and workers, and copy the directory with the database.",
                ) from error
            yield

    def copy_all(self, target: Path) -> tuple[int, int]:
        """Copy all blobs to another directory, within `kept`, and return their number and their bytes."""
        count = size = 0
        # In this order: a blob that is removed meanwhile is found later.
        for source in (self._folder, self._folder / _REMOVED):
            for kind in KINDS:
                create_directory(target / kind, parents=True)
                for path in sorted((source / kind).iterdir()):
                    copied = target / kind / path.name
                    if not path.name.startswith(".") and not copied.exists():
                        with suppress(FileNotFoundError):
                            size += _copy(path, copied)
                            count += 1
        return count, size

    @contextmanager
    def _lock(self) -> Iterator[int]:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | PRIVATE)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def clean(self, unfinished: Collection[str]) -> None:
        """Remove features of ended tasks and incomplete files, unless they are younger than an hour."""
        with self._lock() as lock:
            if try_lock(lock, shared=True) is False:
                # A backup is running. The next call removes them.
                return
            self._clean(unfinished)

    def _clean(self, unfinished: Collection[str]) -> None:
        for kind in KINDS:
            for path in (self._folder / _REMOVED / kind).iterdir():
                remove(path)
        for path in (self._folder / "features").iterdir():
            if path.name not in unfinished:
                _remove_old(path)
        for name in ("outputs", "results"):
            for path in (self._folder / name).iterdir():
                if path.name.startswith("."):
                    _remove_old(path)

    def check(self) -> None:
        """Check that the directory is writable; see `BlobStorage.check`."""
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise BlobStorageError(
                f"The directory {self._folder} isn't writable.", hint="Check its owner and its mode."
            )


@contextmanager
def _translated_errors(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise _missing_error(name) from None
    except OSError as error:
        raise BlobStorageError(
            f"{name} can't be stored or read: {error.strerror}.",
            hint="Check the disk, its free space and its permissions.",
        ) from error


def _copy(source: Path, target: Path) -> int:
    """Copy a file, and return its size."""
    near = target.with_name(f".{target.name}")
    # A file that an interrupted call has left.
    remove(near)
    with source.open("rb") as original, create_file(near) as file:
        shutil.copyfileobj(original, file, CHUNK_SIZE)
    sync_file(near)
    move(near, target)
    return target.stat().st_size


def _missing_error(name: str) -> BlobMissingError:
    return BlobMissingError(f"{name} does not exist.", hint="Use the same --blob-storage on all machines.")


def _remove_old(path: Path) -> None:
    try:
        if time.time() - path.stat().st_mtime > _MIN_ORPHAN_AGE:
            remove(path)
    except FileNotFoundError:
        pass
