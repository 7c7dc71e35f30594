"""Owners of claims: a name, and a lock on a file, which the kernel releases when the process ends (flock(2))."""

from __future__ import annotations

import contextlib
import os
import platform
import time
import uuid
from collections.abc import Container
from pathlib import Path

from callback_sdk.concurrency.forking import RLock, after_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.errors import OutboxError
from callback_sdk.filesystem.files import PRIVATE
from callback_sdk.filesystem.locks import try_lock

_SUFFIX = ".lock"

_LOCK_FILE_AGE = 24 * 60 * 60.0
"""Minimum age in seconds of lock files without claims that are checked and removed."""


class ClaimOwner:
    """This process as the owner of claims in one outbox.

    Args:
        folder: The directory of lock files.

    Attributes:
        name: The boot id of the kernel and a random part, unique for each owner.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        self._folder = folder
        self._lock = RLock()
        # flock(2) releases a lock when all copies of its descriptor are closed. The copy of a forked child would make a
        # parent that has ended look alive.
        after_fork(self, ClaimOwner._release_lock)
        self.name = f"{_kernel()}.{uuid.uuid4().hex}"

    def __del__(self) -> None:
        # The claims of an outbox that was dropped without `close` must not look alive.
        self._release_lock()

    @property
    def path(self) -> Path:
        """The lock file."""
        return self._folder / f"{self.name}{_SUFFIX}"

    def fileno(self) -> int:
        """Return the descriptor of the lock, which is held. A process with a copy of it holds the lock, too."""
        self.acquire_lock()
        return self._descriptor

    def acquire_lock(self) -> None:
        """Take the lock by which other processes see that this one is alive. Must be called before the first claim.

        Raises:
            OutboxError: The lock file can't be created.
        """
        with self._lock:
            if self._descriptor < 0:
                try:
                    self._descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | PRIVATE, 0o600)
                except uninterrupted(OSError) as error:
                    raise OutboxError(
                        f"No file can be created in {self._folder}: {error.strerror or error}.",
                        hint="Check its permissions and the free space of its disk. Nothing was stored or sent.",
                    ) from error
                # Some network file systems have no locks (ENOLCK, ENOTSUP). Claims there only expire by their lease.
                try_lock(self._descriptor)

    def close(self) -> None:
        """Release the lock. Must be called after the last claim was released."""
        with self._lock:
            if self._descriptor >= 0:
                # Removed before the lock is released, so that no other process takes this one for dead, and again after
                # that, because Windows can't remove an open file.
                self.remove_lock_file(self.name)
                self._release_lock()
                self.remove_lock_file(self.name)

    def is_gone(self, name: str) -> bool | None:
        """Return whether the process of another owner has ended.

        Returns:
            None if unknown, because the other process runs, or ran, under another kernel.
        """
        if name.partition(".")[0] != _kernel():
            return None
        return _is_unlocked(self._folder / f"{name}{_SUFFIX}")

    def has_released(self, name: str) -> bool:
        """Return whether another owner's lock is released, or its lock file is gone.

        For open jobs, which have no lease. After a restart of the machine, no process holds a lock of before.
        """
        path = self._folder / f"{name}{_SUFFIX}"
        return not path.exists() or _is_unlocked(path) is True

    def remove_lock_file(self, name: str) -> None:
        """Remove the lock file of an owner that has ended and has no claims."""
        with contextlib.suppress(OSError):
            (self._folder / f"{name}{_SUFFIX}").unlink()

    def sweep(self, keep: Container[str]) -> None:
        """Remove lock files of processes that ended without a claim.

        Args:
            keep: Names of owners whose lock files stay: they tell whether their open jobs have ended.
        """
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                old = time.time() - path.stat().st_mtime > _LOCK_FILE_AGE
                name = path.name.removesuffix(_SUFFIX)
                if old and name not in keep and self.is_gone(name) is not False:
                    path.unlink()

    def _release_lock(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _is_unlocked(path: Path) -> bool | None:
    try:
        descriptor = os.open(path, os.O_RDWR | PRIVATE)
    except OSError:
        return None
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)


def _kernel() -> str:
    """Return an id of the running kernel, which is shared by all processes with locks that this process can see.

    Linux generates a boot id at each start (random(4)). Containers on one machine share it.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node().replace(".", "-") or "unknown"
