"""Blobs as files in a folder, which all machines of the service share or the only one has."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from callback_sdk.documents.body import CHUNK_SIZE
from callback_sdk.service.blobs.errors import BlobMissingError, BlobStorageError
from callback_sdk.service.files import create_private, durable, make_private_folder, remove, rename

_YOUNG = 60 * 60.0
"""Seconds in which a file that no task is known of may still be on its way to becoming one."""


class DirectoryStorage:
    """Blobs in one folder.

    Args:
        folder: Where they are; made with mode 0700 when it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("features", "models", "results"):
            make_private_folder(folder / name)

    def __repr__(self) -> str:
        return f"Folder({str(self._folder)!r})"

    def keep(self, source: Path, name: str) -> None:
        """Take a file over; see `Blobs.keep`."""
        with _explained(name):
            target = self._folder / name
            # Each step may be the one that fails, and the whole is then called again.
            if target.exists() and not source.exists():
                durable(target.parent)
            elif source.stat().st_dev == target.parent.stat().st_dev:
                durable(source)
                rename(source, target)
            else:
                # A rename doesn't cross file systems.
                _copy(source, target)
                remove(source)

    def copy(self, name: str, copy: str) -> None:
        """Make a link, which takes no room, where the file system has links; see `Blobs.copy`."""
        with _explained(name):
            target = self._folder / copy
            try:
                target.hardlink_to(self._folder / name)
            except OSError:
                _copy(self._folder / name, target)
            durable(target.parent)

    @contextmanager
    def fetch(self, name: str, scratch: Path) -> Iterator[Path]:
        """Give the file itself; see `Blobs.fetch`."""
        path = self._folder / name
        if not path.exists():
            raise _missing(name)
        yield path

    def chunks(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield some of the bytes; see `Blobs.chunks`."""
        with _explained(name), (self._folder / name).open("rb") as file:
            file.seek(start)
            while start < stop:
                chunk = file.read(min(CHUNK_SIZE, stop - start))
                if not chunk:
                    raise BlobMissingError(f"{name} is shorter than the database says.", hint="Run the task again.")
                start += len(chunk)
                yield chunk

    def remove(self, name: str) -> None:
        """Forget a file; see `Blobs.remove`."""
        with _explained(name):
            remove(self._folder / name)

    def clean(self, unfinished: Collection[str]) -> None:
        """Remove features of ended tasks and halves of files, unless they are younger than an hour."""
        for path in (self._folder / "features").iterdir():
            if path.name not in unfinished:
                _remove_old(path)
        for path in (self._folder / "results").iterdir():
            if path.name.startswith("."):
                _remove_old(path)

    def check(self) -> None:
        """Make sure that the folder can be written; see `Blobs.check`."""
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise BlobStorageError(f"The folder {self._folder} can't be written.", hint="Check its owner and its mode.")


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise _missing(name) from None
    except OSError as error:
        raise BlobStorageError(
            f"{name} can't be kept or read: {error.strerror}.", hint="Check the disk, its space and its permissions."
        ) from error


def _copy(source: Path, target: Path) -> None:
    near = target.with_name(f".{target.name}")
    # What an interrupted call has left.
    remove(near)
    with source.open("rb") as original, create_private(near) as file:
        shutil.copyfileobj(original, file, CHUNK_SIZE)
    durable(near)
    rename(near, target)


def _missing(name: str) -> BlobMissingError:
    return BlobMissingError(f"{name} does not exist.", hint="Use the same --blob-storage on all machines.")


def _remove_old(path: Path) -> None:
    try:
        if time.time() - path.stat().st_mtime > _YOUNG:
            remove(path)
    except FileNotFoundError:
        pass
