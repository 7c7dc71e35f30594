"""Files of large results next to the database, each complete and on disk, or absent."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.body import Body, PathPart
from callback_sdk.errors import OutboxError
from callback_sdk.filesystem.files import storage_hint, write_new
from callback_sdk.outbox.entries import OutputCopy, StoredResults

if TYPE_CHECKING:
    from callback_sdk.outputs import Output

INLINE = 64 * 1024
"""Maximum size in bytes of results that are stored in the database itself."""

ORPHAN_AGE = timedelta(days=1)
"""Age below which a file without a row is kept, because the file is written before the commit that refers to it."""

_SUFFIX = ".json"

_OUTPUT_SUFFIX = ".output"


class ResultFiles:
    """A directory of results and output files.

    Args:
        folder: The directory, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def store(self, results: Body, outputs: Sequence[Output] = ()) -> StoredResults:
        """Store a copy of results: on disk when this returns, or in the returned value if they are small.

        Output files are always copied: another name of the same file (a hard link) would change with the file.

        Raises:
            OutboxError: A file can't be written; none remains.
            EncodingError: The results, or an output file, changed while they were copied.
        """
        is_small = results.size <= INLINE
        stored = StoredResults(data=results.read()) if is_small else StoredResults(file=self._copy(results, _SUFFIX))
        for output in outputs:
            try:
                name = self._copy(output.body, _OUTPUT_SUFFIX)
            except BaseException:
                self.remove(stored.files)
                raise
            facts: dict[str, Any] = {"size": output.size, "sha256": output.sha256, "media_type": output.media_type}
            stored = evolve(stored, outputs=(*stored.outputs, OutputCopy(name=output.name, file=name, **facts)))
        return stored

    def _copy(self, body: Body, suffix: str) -> str:
        # The name contains the digest, so that a file that was damaged on disk is never sent.
        name = f"{uuid.uuid4().hex}-{body.sha256.hex()}{suffix}"
        try:
            write_new(self._folder / name, body.chunks())
        except uninterrupted(OSError) as error:
            raise OutboxError(
                f"{body.size} bytes of a result can't be stored in {self._folder}: {error.strerror or error}.",
                hint=f"Nothing was stored or sent. {storage_hint(error, 'this directory')} Then write again.",
            ) from error
        return name

    def output(self, copy: OutputCopy) -> Output:
        """Return a stored output file.

        Raises:
            OutputError: The file can't be read.
        """
        # Imported here, because few results have output files.
        with no_fork:
            from callback_sdk.outputs import Output

        facts: dict[str, Any] = {"size": copy.size, "sha256": copy.sha256, "media_type": copy.media_type}
        return Output.from_stored(name=copy.name, path=self._folder / copy.file, **facts)

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

    def remove(self, names: Iterable[str]) -> None:
        """Remove files if they exist."""
        for name in names:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()

    def names(self) -> list[str]:
        """Return the names of files that are too old to belong to a write in progress."""
        before = time.time() - ORPHAN_AGE.total_seconds()
        found = []
        for path in chain.from_iterable(self._folder.glob(f"*{suffix}") for suffix in (_SUFFIX, _OUTPUT_SUFFIX)):
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
        self.remove(set(names) - set(wanted))
