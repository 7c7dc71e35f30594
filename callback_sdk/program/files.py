"""The files of a program: its results, and its output files."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from callback_sdk.errors import OutputError
from callback_sdk.text.descriptions import short_repr

RESULTS = "CALLBACK_SDK_RESULTS"
"""The variable that names the file for the program's results."""


class ResultsFile:
    """The file to which a program writes its results.

    Args:
        path: The file; a file in a temporary directory if None.
    """

    def __init__(self, path: Path | None) -> None:
        self._folder = tempfile.mkdtemp(prefix="callback-sdk-") if path is None else None
        self.path = Path(self._folder, "results.json") if self._folder else Path(path or "").absolute()
        # A file that an earlier job left must not be delivered as this one's.
        self._before = self._version()

    @property
    def is_written(self) -> bool:
        """Whether the program has written the file."""
        now = self._version()
        return now is not None and now != self._before

    @property
    def is_missing(self) -> bool:
        """Whether there is no file although there must be, or it was removed with its temporary directory."""
        return not self.is_written and (self._folder is None or not Path(self._folder).is_dir())

    def remove(self) -> None:
        """Remove the temporary directory."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _version(self) -> tuple[int, ...] | None:
        # A link that leads nowhere is a file whose content is missing.
        for look in (self.path.stat, self.path.lstat):
            with contextlib.suppress(OSError):
                return _version(look())
        return None


def _version(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def find_outputs(patterns: Iterable[str]) -> tuple[dict[str, Path], list[str]]:
    """Return the output files by their names, and the patterns that match no file.

    A name is the path relative to the working directory, or the last part of a path elsewhere.

    Args:
        patterns: Patterns of files and directories; `**` stands for any directories.

    Raises:
        OutputError: Two files would have the same name.
    """
    files: dict[str, Path] = {}
    missing = []
    for pattern in patterns:
        found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - it takes absolute patterns
        missing += [] if found else [pattern]
        for path in found:
            first = files.setdefault(_name(path), Path(path))
            if os.path.realpath(first) != os.path.realpath(path):
                raise OutputError(
                    f"The output files {first} and {path} would both be named {short_repr(_name(path))}.",
                    hint="Write the files below the working directory, below which names are relative paths.",
                )
    return files, missing


def _name(path: str) -> str:
    relative = Path(os.path.relpath(path))
    # The working directory itself has no parts.
    return relative.name if relative.parts[:1] == (os.pardir,) else relative.as_posix()
