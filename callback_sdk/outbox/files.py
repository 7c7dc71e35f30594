"""Files of large results next to the database, each complete and on disk, or absent."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

from callback_sdk.documents.body import Body, PathPart
from callback_sdk.errors import OutboxError
from callback_sdk.filesystem.files import storage_hint, write_new
from callback_sdk.outbox.entries import StoredResults

INLINE = 64 * 1024
"""Maximum size in bytes of results that are stored in the database itself."""

ORPHAN_AGE = timedelta(days=1)
"""Age below which a file without a row is kept, because the file is written before the commit that refers to it."""

_SUFFIX = ".json"


class ResultFiles:
    """A directory of results.

    Args:
        folder: The directory, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def store(self, results: Body) -> StoredResults:
        """Store a copy of results: on disk when this returns, or in the returned value if they are small.

        Raises:
            OutboxError: The file can't be written.
            EncodingError: The results changed while they were copied.
        """
        if results.size <= INLINE:
            return StoredResults(data=results.read())
        # The name contains the digest, so that a file that was damaged on disk is never sent.
        name = f"{uuid.uuid4().hex}-{results.sha256.hex()}{_SUFFIX}"
        try:
            write_new(self._folder / name, results.chunks())
        except OSError as error:
            raise OutboxError(
                f"{results.size} bytes of results can't be stored in {self._folder}: {error.strerror or error}.",
                hint=f"Nothing was stored or sent. {storage_hint(error, 'this directory')} Then write again.",
            ) from error
        return StoredResults(file=name)

    def body(self, stored: StoredResults) -> Body:
        """Return the stored results.

        Raises:
            EncodingError: The file can't be read.
            OutboxError: The content of the file has changed since it was written.
        """
        if stored.file is None:
            return Body(stored.data or b"")
        body = Body(PathPart(self._folder / stored.file))
        _, _, digest = stored.file.removesuffix(_SUFFIX).partition("-")
        if digest and body.sha256.hex() != digest:
            raise OutboxError(
                f"The results in {self._folder / stored.file} have changed since they were stored; nothing was sent.",
                hint="The disk or another program damaged the file. Write the result again.",
            )
        return body

    def remove(self, name: str | None) -> None:
        """Remove a file if it exists."""
        if name is not None:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()

    def names(self) -> list[str]:
        """Return the names of files that are too old to belong to a write in progress."""
        before = time.time() - ORPHAN_AGE.total_seconds()
        found = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    found.append(path.name)
        return found

    def sweep(self, names: Collection[str], wanted: Collection[str]) -> None:
        """Remove files that killed processes have left.

        Args:
            names: Result of `names`, called before `wanted` was read.
            wanted: Files that belong to results.
        """
        for name in set(names) - set(wanted):
            self.remove(name)
