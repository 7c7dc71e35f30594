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

_YOUNG = 2.0
"""Seconds in which another process's folder may be made and not yet locked."""


def make_data_folder(folder: Path) -> Path:
    """Create the data folder for its owner alone, and return its absolute path.

    The folder above must exist: a typo in a path would otherwise start a second, empty service, and what the first one
    accepted would seem to be lost.

    Raises:
        ConfigurationError: It can't be created.
    """
    folder = folder.absolute()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise unusable(
            f"The data folder {folder} can't be used: {error.strerror}.",
            hint="Name another one with --data-dir; only the last folder of its path is created.",
            error=error,
        ) from error
    check_writable(folder)
    return folder


def check_writable(folder: Path) -> None:
    """Write a small file into a folder, and remove it.

    It is written because a quota, or a file system that became read-only, shows in no figure of free space.

    Raises:
        ConfigurationError: It can't be written; the text names the folder.
    """
    probe = folder / f".probe-{secrets.token_hex(8)}"
    try:
        probe.write_bytes(_PROBE)
    except OSError as error:
        raise unusable(
            f"No file can be written in {folder}: {error.strerror}.",
            hint=storage_hint(error, "this folder"),
            error=error,
        ) from error
    finally:
        with suppress(OSError):
            remove(probe)


def make_private_folder(folder: Path) -> None:
    """Create a folder, and those above it that are missing, for their owner alone; whatever the umask is.

    One that exists stays as it is: its owner may have shared it with a group.
    """
    if not folder.is_dir():
        make_private_folder(folder.parent)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            return
        folder.chmod(0o700)


def create_private(path: Path) -> BinaryIO:
    """Create a file that only its owner can read and write, whatever the umask is, and return it open for writing.

    Raises:
        FileExistsError: There is one already.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


class Scratch:
    """A folder of one process for what only it needs: uploads on their way in, and the files of running tasks.

    Nothing in it is worth keeping: what was accepted lies in the database or among the blobs. What processes
    left that were killed is removed by the next one.

    Args:
        parent: Where it is made; made with mode 0700 itself when it is missing.
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
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def check(self) -> None:
        """Make sure that files can be written: without space on this disk no task can run; see `check_writable`."""
        check_writable(self.folder)

    def new(self, purpose: str) -> Path:
        """Return a path that nothing is at."""
        return self.folder / f"{next(self._numbers)}.{purpose}"

    def receive(self, source: BinaryIO) -> Path:
        """Copy an upload into the folder and return its path."""
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
                # The kernel lets go of the lock of a process that is gone.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - folder.stat().st_mtime > _YOUNG:
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file that may be gone already."""
    path.unlink(missing_ok=True)


def is_full(error: OSError) -> bool:
    """Tell whether there is no more room, for anybody or for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def durable(path: Path) -> None:
    """Wait until a file's bytes are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Give a file another place in the same file system, and wait until that is on disk."""
    source.replace(target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_whole(path: Path, parts: Iterable[bytes], *, durable: bool = True) -> None:
    """Write a file so that nobody ever sees a part of it.

    Args:
        path: Where it will be; what is there is replaced.
        parts: Its bytes.
        durable: Whether to wait until it is on disk for good.
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
    """Read what `JobContext.report_progress` wrote last; None when it has written nothing."""
    try:
        state = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return {"fraction": state.get("fraction"), "message": state.get("message", "")} if isinstance(state, dict) else None
