"""The data directory, the scratch directory, and the files that a run exchanges with its child process."""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from callback_sdk.documents.body import CHUNK_SIZE
from callback_sdk.filesystem.files import PRIVATE, create_directory, create_file, remove, storage_hint
from callback_sdk.filesystem.locks import try_lock, wait_for_lock
from callback_sdk.service.supervision.shortages import unusable

TEMPORARY_PREFIX = "callback-sdk-runs-"
"""Prefix of the directories in the system's temporary directory."""

_PREFIX = "process-"

_PROBE = bytes(64 * 1024)

_UNLOCKED = "."
"""Prefix of the directory's name until it is locked."""

_LOCK_GRACE_PERIOD = 60.0
"""Age in seconds below which a directory with that prefix is kept: its process may be about to lock it."""


def make_data_folder(folder: Path) -> Path:
    """Create the data directory with mode 0700, and return its absolute path.

    The parent directory must exist. Otherwise a typo in the path would start a second, empty service, and the tasks of
    the first one would seem to be lost.

    Raises:
        ConfigurationError: The directory can't be created.
    """
    folder = folder.absolute()
    try:
        create_directory(folder)
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


class Scratch:
    """The temporary directory of one process: request bodies while they are received, and files of running tasks.

    Its content needs no durability, because accepted tasks are in the database and in blob storage. The next process
    removes the directories of killed processes.

    Args:
        parent: Parent directory; created with mode 0700 if it doesn't exist.
        prefix: Prefix of the directory's name.
    """

    def __init__(self, parent: Path, *, prefix: str = _PREFIX) -> None:
        create_directory(parent, parents=True)
        _sweep(parent, prefix)
        # It gets its name when it is locked: another process that starts now removes what has the name and no lock.
        unlocked = Path(tempfile.mkdtemp(prefix=_UNLOCKED + prefix, dir=parent))
        unlocked.chmod(0o700)
        self._lock = os.open(unlocked, os.O_RDONLY | os.O_DIRECTORY | PRIVATE)
        wait_for_lock(self._lock)
        self.folder = unlocked.rename(unlocked.with_name(unlocked.name.removeprefix(_UNLOCKED)))
        self._numbers = itertools.count()
        self._spare: deque[Path] = deque()

    def close(self) -> None:
        """Remove the directory."""
        remove_tree(self.folder)
        os.close(self._lock)

    def check(self) -> None:
        """Check that files can be written, because no task can run otherwise; see `check_writable`."""
        check_writable(self.folder)

    def new(self, purpose: str) -> Path:
        """Return the path of a new file, which doesn't exist yet."""
        return self.folder / f"{next(self._numbers)}.{purpose}"

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """Create a directory with mode 0700, and remove it with its content after the block."""
        # A short name: the path of a Unix socket in it may have 107 bytes (unix(7)).
        path = self.new("d")
        try:
            self._spare.pop().rename(path)
        except IndexError:
            path.mkdir()
            path.chmod(0o700)
        try:
            yield path
        finally:
            # Creating and removing a directory takes milliseconds on some file systems, such as ext4 with discard.
            if _is_new(path):
                spare = self.new("spare")
                path.rename(spare)
                self._spare.append(spare)
            else:
                remove_tree(path)

    def receive(self, source: BinaryIO) -> Path:
        """Copy an upload into the directory, and return the path of the copy."""
        path = self.new("incoming")
        try:
            with create_file(path) as file:
                shutil.copyfileobj(source, file, CHUNK_SIZE)
        except BaseException:
            remove(path)
            raise
        return path


def _is_new(folder: Path) -> bool:
    """Return whether a directory is as it was created: empty, and private to its owner."""
    try:
        mode = folder.lstat().st_mode
        return stat.S_ISDIR(mode) and stat.S_IMODE(mode) == 0o700 and not any(folder.iterdir())
    except OSError:
        return False


def remove_tree(folder: Path) -> None:
    """Remove a directory with its content, also where modes deny it; whatever can't be removed stays.

    Each subdirectory is first moved to the top, so that a tree of any depth neither exhausts the stack, as it does in
    `shutil.rmtree`, nor has paths that are longer than the system's limit.
    """
    if folder.is_symlink():
        remove(folder)
        return
    unique = secrets.token_hex(8)
    numbers = itertools.count()
    directories = [folder]
    for directory in directories:
        for path in _remove_files(directory):
            moved = folder / f"{unique}-{next(numbers)}"
            with suppress(OSError):
                path.rename(moved)
                directories.append(moved)
    for directory in reversed(directories):
        with suppress(OSError):
            directory.rmdir()


def _remove_files(directory: Path) -> list[Path]:
    """Remove the files of a directory, and return its subdirectories, with modes that allow to move them."""
    found = []
    with suppress(OSError):
        directory.chmod(0o700)
        for path in list(directory.iterdir()):
            with suppress(OSError):
                if path.is_symlink() or not path.is_dir():
                    path.unlink()
                else:
                    # Its ".." is written when it is moved.
                    path.chmod(0o700)
                    found.append(path)
    return found


def _sweep(parent: Path, prefix: str) -> None:
    for name, min_age in ((prefix, 0.0), (_UNLOCKED + prefix, _LOCK_GRACE_PERIOD)):
        for folder in parent.glob(f"{name}*"):
            with suppress(OSError):
                _remove_unlocked(folder, min_age)


def _remove_unlocked(folder: Path, min_age: float) -> None:
    # Everybody may create files in the system's temporary directory.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | PRIVATE)
    try:
        found = os.fstat(descriptor)
        is_old = min_age == 0 or time.time() - found.st_mtime > min_age
        if is_old and found.st_uid == os.geteuid() and try_lock(descriptor):
            remove_tree(folder)
    finally:
        os.close(descriptor)


def is_full(error: OSError) -> bool:
    """Return whether an error means that the disk or the user's quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def read_progress(path: Path) -> dict[str, Any] | None:
    """Read the last progress report of `JobContext.report_progress`; None without a report."""
    try:
        state = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return {"fraction": state.get("fraction"), "message": state.get("message", "")} if isinstance(state, dict) else None
