"""The output files of one run: the child process writes them into a directory, with a journal that the parent reads."""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from attrs import asdict, define, field

from callback_sdk.concurrency.forking import RLock
from callback_sdk.errors import OutputError
from callback_sdk.filesystem.files import PRIVATE, create_directory, create_file, remove, storage_hint
from callback_sdk.outputs import Output, output_files
from callback_sdk.outputs.names import check_distinct, checked_name, fold
from callback_sdk.parsing import path_of
from callback_sdk.service.supervision.memory import format_size
from callback_sdk.text.descriptions import short_repr

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig

_JOURNAL = "journal"
"""The file with one line of JSON for each call: the name that was given, and the files of that name."""

_STORED = re.compile(r"[0-9a-f]{32}", re.ASCII)
"""Names of the files in the directory."""


@define(frozen=True, kw_only=True)
class OutputLimits:
    """Limits of the output files of a run.

    Attributes:
        max_files: Maximum number of files.
        max_file_bytes: Maximum size of a file, in bytes.
        max_bytes: Maximum size of all files, in bytes.
        reserved: Names that no file may have, as other objects at the targets of the task have them.
    """

    max_files: int = 10_000
    max_file_bytes: float = math.inf
    max_bytes: float = math.inf
    reserved: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: ServiceConfig) -> OutputLimits:
        """Return the limits in the service's settings."""
        return cls(
            max_files=config.max_output_files,
            max_file_bytes=config.max_output_file_bytes,
            max_bytes=config.max_output_bytes,
        )


DEFAULT_LIMITS = OutputLimits()


@define(frozen=True, kw_only=True)
class RunFile:
    """An output file of a run.

    Attributes:
        name: Its name.
        size: Its size, in bytes.
        sha256: SHA-256 of its content, in hex.
        media_type: Its media type.
        path: Where it is on this machine.
    """

    name: str
    size: int
    sha256: str
    media_type: str
    path: Path = field(repr=False)


class OutputFolder:
    """The output files of a run, as the process of the algorithm adds them. Thread-safe.

    Args:
        folder: The directory; created with the first file.
        limits: Limits of the files.
    """

    def __init__(self, folder: Path, limits: OutputLimits) -> None:
        self._folder = folder
        self._limits = limits
        self._calls: dict[str, list[RunFile]] = {}
        self._count = self._size = 0
        # Each name and each directory of a name, folded, with the name.
        self._names_by_folded: dict[str, str] = {}
        self._lock = RLock()

    def add(self, name: str, value: Any) -> None:
        """Copy a value to files; see `JobContext.output`.

        Raises:
            OutputError: The name or the value is not allowed, or a limit is exceeded. Nothing has changed then.
        """
        given = checked_name(name)
        self._check_path(given, value)
        with self._lock, _translate_storage_errors(given):
            create_directory(self._folder)
            with tempfile.TemporaryDirectory(dir=self._folder) as staging:
                outputs = output_files({given: value}, Path(staging))
                self._check_limits(given, outputs)
                self._check_free(outputs)
                _check_names(outputs, self._taken_by_others(given))
                self._replace(given, [self._kept(output, Path(staging)) for output in outputs])

    def _check_path(self, name: str, value: Any) -> None:
        """Check the size of a file before it is read."""
        if isinstance(value, os.PathLike):
            path = path_of("value", value)
            with contextlib.suppress(OSError):
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    self._check_size(name, status.st_size)

    def _check_size(self, name: str, size: int) -> None:
        if size > self._limits.max_file_bytes:
            raise OutputError(
                f"The output file {short_repr(name)} has {format_size(size)}, and the limit is "
                f"{format_size(self._limits.max_file_bytes)}.",
                hint="Split or compress it. The operator sets the limit with CALLBACK_SDK_MAX_OUTPUT_FILE_BYTES.",
                name=name,
            )

    def _check_free(self, outputs: Iterable[Output]) -> None:
        reserved = {fold(name) for name in self._limits.reserved}
        for output in outputs:
            if fold(output.name) in reserved:
                raise OutputError(
                    f"A target of the task has another object, such as the document, in the place of the output file "
                    f"{short_repr(output.name)}.",
                    hint="Rename the file, or submit the task with another name of the document: "
                    "presign_prefix(..., document='document.json').",
                    name=output.name,
                )

    def _taken_by_others(self, name: str) -> dict[str, str]:
        if name not in self._calls:
            return self._names_by_folded
        return _names_by_folded(file.name for call, files in self._calls.items() if call != name for file in files)

    def _check_limits(self, name: str, outputs: Sequence[Output]) -> None:
        replaced = self._calls.get(name, [])
        for output in outputs:
            self._check_size(output.name, output.size)
        count = self._count + len(outputs) - len(replaced)
        if count > self._limits.max_files:
            raise OutputError(
                f"The task would have {count} output files, and the limit is {self._limits.max_files}.",
                hint="Put them into an archive. The operator sets the limit with CALLBACK_SDK_MAX_OUTPUT_FILES.",
                name=name,
            )
        total = self._size + sum(output.size for output in outputs) - sum(file.size for file in replaced)
        if total > self._limits.max_bytes:
            raise OutputError(
                f"The output files of the task would have {format_size(total)}, and the limit is "
                f"{format_size(self._limits.max_bytes)}.",
                hint="Compress them. The operator sets the limit with CALLBACK_SDK_MAX_OUTPUT_BYTES.",
                name=name,
            )

    def _kept(self, output: Output, staging: Path) -> RunFile:
        """Move a file that was written for this call to its final place; copy any other, which may change later."""
        path = self._folder / secrets.token_hex(16)
        if output.path.parent == staging:
            output.path.replace(path)
        else:
            with create_file(path) as file:
                file.writelines(output.body.chunks())
        return RunFile(
            name=output.name, size=output.size, sha256=output.sha256, media_type=output.media_type, path=path
        )

    def _replace(self, name: str, files: list[RunFile]) -> None:
        record = {"name": name, "files": [asdict(file) | {"path": file.path.name} for file in files]}
        # One write at the end of the file, so that processes that the algorithm has forked can write lines too.
        descriptor = os.open(self._folder / _JOURNAL, os.O_CREAT | os.O_WRONLY | os.O_APPEND | PRIVATE, 0o600)
        with os.fdopen(descriptor, "ab", buffering=0) as journal:
            journal.write(orjson.dumps(record) + b"\n")
        self._names_by_folded = self._taken_by_others(name)
        self._names_by_folded |= _names_by_folded(file.name for file in files)
        replaced = self._calls.pop(name, [])
        self._calls[name] = files
        self._count += len(files) - len(replaced)
        self._size += sum(file.size for file in files) - sum(file.size for file in replaced)
        for file in replaced:
            remove(file.path)


def read_files(folder: Path) -> list[RunFile]:
    """Return the output files of a run, in the order in which they were added.

    The process may have been killed while it added a file, which is then missing.
    """
    calls: dict[str, list[RunFile]] = {}
    with contextlib.suppress(FileNotFoundError), (folder / _JOURNAL).open("rb") as journal:
        for line in journal:
            if line.endswith(b"\n"):
                record = orjson.loads(line)
                calls.pop(record["name"], None)
                calls[record["name"]] = [_run_file(folder, one) for one in record["files"]]
    return list({file.name: file for files in calls.values() for file in files}.values())


def _run_file(folder: Path, members: dict[str, Any]) -> RunFile:
    stored = members.pop("path")
    if not _STORED.fullmatch(stored):
        raise ValueError("The journal of a run's output files was changed.")
    return RunFile(**members, path=folder / stored)


@contextlib.contextmanager
def _translate_storage_errors(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"The output file {short_repr(name)} can't be stored: {error.strerror}.",
            hint=storage_hint(error, "the service's data directory"),
            name=name,
        ) from error


def _check_names(outputs: Iterable[Output], taken: dict[str, str]) -> None:
    """Check the names of new files against those of the others; `output_files` has checked them among themselves."""
    for output in outputs:
        folded = fold(output.name)
        if folded in taken:
            check_distinct([taken[folded], output.name])
        for parent in _parents(folded):
            if parent in taken and fold(taken[parent]) == parent:
                check_distinct([taken[parent], output.name])


def _names_by_folded(names: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        folded = fold(name)
        found |= dict.fromkeys((folded, *_parents(folded)), name)
    return found


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
