"""Files that are private to their owner, written completely or not at all, and on disk when a call returns."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

PRIVATE = getattr(os, "O_CLOEXEC", getattr(os, "O_NOINHERIT", 0)) | getattr(os, "O_BINARY", 0)
"""`os.open` flags for every file: not inherited by child processes, and no newline translation on Windows."""

NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
"""`os.open` flag that keeps the open from blocking on a named pipe. 0 on Windows, which has none in its file system."""

DIRECTORY: int | None = getattr(os, "O_DIRECTORY", None)
"""`os.open` flag to open a directory; None where the system doesn't support it."""


def create_file(path: Path) -> BinaryIO:
    """Create a file with mode 0600, regardless of the umask, and return it open for writing.

    Raises:
        FileExistsError: The file exists.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | PRIVATE, 0o600)
    # open(2) applies the umask, which may take permissions from the owner, too. Windows has no modes.
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


def create_directory(path: Path, *, parents: bool = False) -> None:
    """Create a directory with mode 0700, regardless of the umask, and wait until it is on disk.

    The mode of an existing directory isn't changed, because its owner may have shared it with a group.

    Args:
        path: The directory.
        parents: Whether to create its missing parents likewise.

    Raises:
        FileNotFoundError: The parent does not exist.
    """
    if path.is_dir():
        return
    if parents:
        create_directory(path.parent, parents=True)
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove a file if it exists."""
    path.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Wait until a file's content is on disk."""
    _sync(path, os.O_RDONLY | PRIVATE)


def sync_directory(path: Path) -> None:
    """Wait until a directory's entries are on disk: fsync(2) of a file doesn't include them. NTFS journals them."""
    if DIRECTORY is not None:
        _sync(path, os.O_RDONLY | DIRECTORY | PRIVATE)


def move(source: Path, target: Path) -> None:
    """Move a file within its file system, replacing the target, and wait until that is on disk."""
    source.replace(target)
    sync_directory(target.parent)


def write_new(path: Path, parts: Iterable[bytes]) -> None:
    """Write a new file, and wait until it is on disk; after an error there is no file.

    If the process is killed meanwhile, an incomplete file remains. `write_whole` leaves it under another name.

    Raises:
        FileExistsError: The file exists.
    """
    _write(path, parts, durable=True)
    try:
        sync_directory(path.parent)
    except BaseException:
        remove(path)
        raise


def write_whole(path: Path, parts: Iterable[bytes], *, durable: bool = True) -> None:
    """Write a file so that readers see its previous content or all of the new one.

    Args:
        path: The file; an existing one is replaced.
        parts: Its content.
        durable: Whether to wait until the file is on disk.
    """
    temporary = _temporary(path)
    _write(temporary, parts, durable=durable)
    try:
        temporary.replace(path)
    except BaseException:
        remove(temporary)
        raise
    if durable:
        sync_directory(path.parent)


def write_once(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file unless it exists, and wait until it is on disk. Of concurrent calls, one writes the file."""
    temporary = _temporary(path)
    _write(temporary, parts, durable=True)
    try:
        # link(2) never replaces a file.
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        remove(temporary)
    sync_directory(path.parent)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}")


def _write(path: Path, parts: Iterable[bytes], *, durable: bool) -> None:
    file = create_file(path)
    try:
        with file:
            file.writelines(parts)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        remove(path)
        raise


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_hint(error: OSError, place: object) -> str:
    """Return a hint for a file that can't be written, depending on the cause.

    Args:
        error: Error of the write.
        place: The directory or disk of the file, as named in the hint.
    """
    if error.errno == errno.EFBIG:
        return (
            f"The file would be larger than this process may write (ulimit -f), or than the file system of {place} "
            "takes: raise that limit."
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"Free space in {place}, or raise its quota."
    return f"Check that {place} exists and can be written, and that its disk works."
