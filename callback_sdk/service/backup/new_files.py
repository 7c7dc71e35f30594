"""Directories and files that get their names when they are complete."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from callback_sdk.documents.body import CHUNK_SIZE
from callback_sdk.errors import ConfigurationError
from callback_sdk.filesystem.files import create_directory, create_file, move, remove, storage_hint, sync_file
from callback_sdk.service.files import remove_tree
from callback_sdk.service.supervision.shortages import unusable


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """Create a directory that gets its name when the block has ended without an error."""
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
    with _translated_errors(target):
        create_directory(partial)
        try:
            yield partial
            # A directory of this name may have been created meanwhile, which rename(2) would replace if it is empty.
            if target.exists():
                raise ConfigurationError(f"{target} exists.", hint="Give the name of a new directory.")
            move(partial, target)
        except BaseException:
            remove_tree(partial)
            raise


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield the path of a new database, which gets its name when the block has ended without an error."""
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
    with _translated_errors(target):
        try:
            yield partial
            sync_file(partial)
            move(partial, target)
        except BaseException:
            for name in (partial.name, f"{partial.name}-wal", f"{partial.name}-shm"):
                remove(partial.with_name(name))
            raise


@contextmanager
def temporary_copy(source: Path, folder: Path) -> Iterator[Path]:
    """Copy a file to a directory, and remove the copy after the block unless it was moved."""
    copy = folder / f".restoring-{secrets.token_hex(8)}"
    try:
        with source.open("rb") as original, create_file(copy) as copied:
            shutil.copyfileobj(original, copied, CHUNK_SIZE)
            copied.flush()
            os.fsync(copied.fileno())
        yield copy
    finally:
        remove(copy)


@contextmanager
def _translated_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unusable(
            f"{place} can't be written: {error.strerror}.", hint=storage_hint(error, place.parent), error=error
        ) from error
