"""The files of a program: its results, and its output files."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from callback_sdk.errors import ConfigurationError, OutputError
from callback_sdk.text.descriptions import short_repr

RESULTS = "CALLBACK_SDK_RESULTS"
"""The variable that names the file for the program's results."""


_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - mkdtemp makes a private directory
"""A directory in memory that containers have even if all of their file systems are read-only; see shm_overview(7)."""

_PREFIX = "callback-sdk-"

_Version = tuple[int, ...]


class ResultsFile:
    """The file to which a program writes its results.

    Args:
        path: The file; a file in a temporary directory if None.
        existing: Whether a file counts that the program has not changed.

    Raises:
        ConfigurationError: No temporary directory can be made.
    """

    def __init__(self, path: Path | None, *, existing: bool = False) -> None:
        self._folder = temporary_directory("results") if path is None else None
        self.path = Path(self._folder, "results.json") if self._folder else Path(path or "").absolute()
        # A file that an earlier job left must not be delivered as this one's.
        self._before = None if existing else self._version()

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

    def _version(self) -> _Version | None:
        return _version(self.path)


class Outputs(NamedTuple):
    """The output files of a program.

    Attributes:
        files: The files by their names.
        missing: Patterns that match no file which the program has written.
        unchanged: Files that match, but were there before and have not changed.
    """

    files: dict[str, Path]
    missing: list[str]
    unchanged: list[str]


class OutputPatterns:
    """Patterns of a program's output files, made before it starts.

    A file that an earlier job left must not be delivered as this one's. Times can't tell: tar(1) and `cp -p` set them,
    and the clock of a file server differs from that of this machine.

    Args:
        patterns: Patterns of files and directories; `**` stands for any directories.
        existing: Whether files count that the program has not changed.
    """

    def __init__(self, patterns: Iterable[str], *, existing: bool = False) -> None:
        self._patterns = list(patterns)
        self._before = {} if existing else {path: _tree(path) for each in self._patterns for path in _matches(each)}

    def find(self) -> Outputs:
        """Return the files. A directory counts if anything in it was changed.

        A name is the path relative to the working directory, or the last part of a path elsewhere.

        Raises:
            OutputError: Two files would have the same name.
        """
        files: dict[str, Path] = {}
        missing, unchanged = [], []
        for pattern in self._patterns:
            matches = _matches(pattern)
            own = [path for path in matches if path not in self._before or self._before[path] != _tree(path)]
            missing += [] if own else [pattern]
            changed = set(own)
            unchanged += [path for path in matches if path not in changed]
            for path in own:
                _add(files, path)
        return Outputs(files, missing, unchanged)


def _add(files: dict[str, Path], path: str) -> None:
    first = files.setdefault(_name(path), Path(path))
    if os.path.realpath(first) != os.path.realpath(path):
        raise OutputError(
            f"The output files {first} and {path} would both be named {short_repr(_name(path))}.",
            hint="Write the files below the working directory, below which names are relative paths.",
        )


def _matches(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - it takes absolute patterns


def _tree(path: str) -> dict[str, _Version | None]:
    return {each: _version(Path(each)) for each in _walk(path)}


def _walk(path: str) -> Iterator[str]:
    yield path
    for folder, folders, names in os.walk(path):
        yield from (os.path.join(folder, name) for name in (*folders, *names))  # noqa: PTH118 - faster than Path


def _version(path: Path) -> _Version | None:
    # A link that leads nowhere is a file whose content is missing.
    for look in (path.stat, path.lstat):
        with contextlib.suppress(OSError):
            found = look()
            return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return None


def temporary_directory(what: str, *, instead: str = "Give --results FILE in a directory that can be written") -> str:
    """Make a private directory.

    Args:
        what: What it is for, for the error.
        instead: What the user can give in its place, for the hint.

    Raises:
        ConfigurationError: No directory can be made.
    """
    try:
        return tempfile.mkdtemp(prefix=_PREFIX)
    except OSError as error:
        with contextlib.suppress(OSError):
            return tempfile.mkdtemp(prefix=_PREFIX, dir=_SHARED_MEMORY)
        raise ConfigurationError(
            f"No temporary directory can be made for the {what}: {error.strerror}.",
            hint=f"{instead}, or name one in the variable TMPDIR.",
        ) from error


def _name(path: str) -> str:
    relative = Path(os.path.relpath(path))
    # The working directory itself has no parts.
    return relative.name if relative.parts[:1] == (os.pardir,) else relative.as_posix()
