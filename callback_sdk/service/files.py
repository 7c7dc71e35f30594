"""Atomic and durable writes of files, and the scratch directory."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from callback_sdk.documents.body import CHUNK_SIZE
from callback_sdk.errors import storage_hint
from callback_sdk.service.supervision.shortages import unusable

_PREFIX = "process-"

_PROBE = bytes(64 * 1024)

_LOCK_GRACE_PERIOD = 2.0
"""Age in seconds below which an unlocked scratch directory is kept: its process may not have locked it yet."""


def make_data_folder(folder: Path) -> Path:
    """Create the data directory with mode 0700, and return its absolute path.

    The parent directory must exist. Otherwise a typo in the path would start a second, empty service, and the tasks of
    the first one would seem to be lost.

    Raises:
        ConfigurationError: The directory can't be created.
    """
    folder = folder.absolute()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise unusable(
            f"The data directory {folder} can't be used: {error.strerror}.",
            hint="Choose another directory with --data-dir; only the last directory of the path is created.",
            error=error,
        ) from error
    check_writable(folder)
    return folder


def check_writable(folder: Path) -> None:
    """Check that files can be written in a directory, by writing a small file and removing it.

    The free space that statvfs(3) reports shows neither a quota nor a file system that became read-only.

    Raises:
        ConfigurationError: The file can't be written; the message names the directory.
    """
    probe = folder / f".probe-{secrets.token_hex(8)}"
    try:
        probe.write_bytes(_PROBE)
    except OSError as error:
        raise unusable(
            f"No file can be written in {folder}: {error.strerror}.",
            hint=storage_hint(error, "this directory"),
            error=error,
        ) from error
    finally:
        with suppress(OSError):
            remove(probe)


def make_private_folder(folder: Path) -> None:
    """Create a directory and its missing parents with mode 0700, regardless of the umask.

    The mode of an existing directory isn't changed, because its owner may have shared it with a group.
    """
    if not folder.is_dir():
        make_private_folder(folder.parent)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            return
        folder.chmod(0o700)


def create_private(path: Path) -> BinaryIO:
    """Create a file with mode 0600, regardless of the umask, and return it open for writing.

    Raises:
        FileExistsError: The file exists.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


class Scratch:
    """The temporary directory of one process: request bodies while they are received, and files of running tasks.

    Its content needs no durability, because accepted tasks are in the database and in blob storage. The next process
    removes the directories of killed processes.

    Args:
        parent: Parent directory; created with mode 0700 if it doesn't exist.
    """

    def __init__(self, parent: Path) -> None:
        make_private_folder(parent)
        _sweep(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self.folder.chmod(0o700)
        self._numbers = itertools.count()
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def check(self) -> None:
        """Check that files can be written, because no task can run otherwise; see `check_writable`."""
        check_writable(self.folder)

    def new(self, purpose: str) -> Path:
        """Return the path of a new file, which doesn't exist yet."""
        return self.folder / f"{next(self._numbers)}.{purpose}"

    def receive(self, source: BinaryIO) -> Path:
        """Copy an upload into the directory, and return the path of the copy."""
        path = self.new("incoming")
        try:
            with create_private(path) as file:
                shutil.copyfileobj(source, file, CHUNK_SIZE)
        except BaseException:
            remove(path)
            raise
        return path


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                # flock(2): the kernel releases the lock when the process has ended.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - folder.stat().st_mtime > _LOCK_GRACE_PERIOD:
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, if it exists."""
    path.unlink(missing_ok=True)


def is_full(error: OSError) -> bool:
    """Return whether an error means that the disk or the user's quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def durable(path: Path) -> None:
    """Wait until the content of a file, or the entries of a directory, are on disk: fsync(2)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Rename a file within a file system, and wait until the new directory entry is on disk."""
    source.replace(target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_whole(path: Path, parts: Iterable[bytes], *, durable: bool = True) -> None:
    """Write a file atomically: readers see the old content or the whole new content.

    Args:
        path: Path of the file; an existing file is replaced.
        parts: The content, in parts.
        durable: Whether to wait until the file is on disk.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with create_private(temporary) as file:
            file.writelines(parts)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if durable:
            rename(temporary, path)
        else:
            temporary.replace(path)
    except BaseException:
        remove(temporary)
        raise


def read_progress(path: Path) -> dict[str, Any] | None:
    """Read the last progress report of `JobContext.report_progress`; None without a report."""
    try:
        state = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return {"fraction": state.get("fraction"), "message": state.get("message", "")} if isinstance(state, dict) else None
