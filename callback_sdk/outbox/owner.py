"""Who holds claims: a name, and a lock on a file that the kernel lets go of when the process dies."""

from __future__ import annotations

import contextlib
import os
import platform
import time
import uuid
from pathlib import Path

from callback_sdk.concurrency import files
from callback_sdk.concurrency.forking import RLock, after_fork
from callback_sdk.errors import OutboxError

_SUFFIX = ".lock"

_OLD = 24 * 60 * 60.0
"""Seconds after which the lock file of an owner without claims is looked at."""


class ClaimOwner:
    """This process, as the owner of claims in one outbox.

    Args:
        folder: Where the lock files are.

    Attributes:
        name: The kernel that it runs under, and something that never comes twice.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        self._folder = folder
        self._lock = RLock()
        # A lock lives as long as any copy of its descriptor, so a child would keep its dead parent alive.
        after_fork(self, ClaimOwner._disappear)
        self.name = f"{_kernel()}.{uuid.uuid4().hex}"

    def __del__(self) -> None:
        # An outbox that nobody closed and nobody has any more must not look alive.
        self._disappear()

    def acquire_lock(self) -> None:
        """Take the lock, so that the others see that this process lives. Call it before the first claim.

        Raises:
            OutboxError: Its file can't be made.
        """
        with self._lock:
            if self._descriptor < 0:
                path = self._folder / f"{self.name}{_SUFFIX}"
                try:
                    self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | files.PRIVATE, 0o600)
                except OSError as error:
                    raise OutboxError(
                        f"No file can be made in {self._folder}: {error.strerror or error}.",
                        hint="Check its permissions, and the space on its disk. Nothing was stored or sent.",
                    ) from error
                # Without locks on this file system the lease alone decides.
                files.try_lock(self._descriptor)

    def close(self) -> None:
        """Let go of the lock. Call it when no claim is held any more."""
        with self._lock:
            if self._descriptor >= 0:
                self.forget(self.name)
                self._disappear()
                # Windows removes no file that is open.
                self.forget(self.name)

    def is_gone(self, name: str) -> bool | None:
        """Tell whether another owner is dead.

        Returns:
            None when it can't be told from here: it runs, or ran, under another kernel.
        """
        if name.partition(".")[0] != _kernel():
            return None
        return _lets_go(self._folder / f"{name}{_SUFFIX}")

    def forget(self, name: str) -> None:
        """Remove the lock file of an owner that is gone and has no claims."""
        with contextlib.suppress(OSError):
            (self._folder / f"{name}{_SUFFIX}").unlink()

    def sweep(self) -> None:
        """Remove lock files of processes that died without a claim."""
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                old = time.time() - path.stat().st_mtime > _OLD
                if old and self.is_gone(path.name.removesuffix(_SUFFIX)) is not False:
                    path.unlink()

    def _disappear(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _lets_go(path: Path) -> bool | None:
    try:
        descriptor = os.open(path, os.O_RDWR | files.PRIVATE)
    except OSError:
        return None
    try:
        return files.try_lock(descriptor)
    finally:
        os.close(descriptor)


def _kernel() -> str:
    """Return what is the same for all processes whose locks are seen from here, containers included."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node().replace(".", "-") or "unknown"
