"""Output files of a task: downloaded in pieces, continued after a lost connection, and verified."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from callback_sdk.client.api import ServiceAPI
from callback_sdk.client.states import OutputSnapshot
from callback_sdk.errors import ResponseTooLargeError, ServiceConnectionError, ServiceError
from callback_sdk.outputs.directories import path_below
from callback_sdk.outputs.names import check_distinct, checked_name
from callback_sdk.parsing import path_of, positive_int
from callback_sdk.progress import ProgressBar
from callback_sdk.redaction import hides_tracebacks
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.html import HTMLList, HTMLRepr
from callback_sdk.transport.retry import backoff, is_retryable

MAX_READ = 64 * 1024 * 1024
"""Default limit of `TaskOutput.read`, in bytes."""

_LARGE = 16 * 1024 * 1024
"""Size from which a download shows a progress bar, in bytes."""

_SHOWN = 4 * 1024 * 1024
"""Maximum size of a file whose content a notebook shows, in bytes."""


class TaskOutput(HTMLRepr):
    """One output file of a task, from `Task.outputs`."""

    def __init__(self, api: ServiceAPI, job_id: str, state: OutputSnapshot) -> None:
        self._api = api
        self._job_id = job_id
        self._state = state

    def __repr__(self) -> str:
        return f"TaskOutput({self.name!r}, size={self.size}, media_type={self.media_type!r})"

    @property
    def name(self) -> str:
        """The name, in which `/` separates directories."""
        return self._state.name

    @property
    def size(self) -> int:
        """The size, in bytes."""
        return self._state.size

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, in hex."""
        return self._state.sha256

    @property
    def media_type(self) -> str:
        """The media type, such as `"image/png"`."""
        return self._state.media_type

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return self._state.to_dict()

    @hides_tracebacks
    def download(self, path: str | os.PathLike[str], *, progress: bool = True) -> Path:
        """Download the file, and return its path.

        The file gets its name once it is complete and its SHA-256 is verified. After a lost connection, the download
        continues with the first missing byte.

        Args:
            path: The new file, which replaces an existing one; or a directory, in which the file gets its own name.
            progress: Whether to show a progress bar for a large file, in a terminal and in a notebook, if tqdm is
                installed.

        Raises:
            OutputError: The name, or a link in the directory, would lead out of it.
            ServiceError: The service can't be reached, or the content is not the announced one.
            OSError: The file can't be written.
        """
        target = path_of("path", path)
        if target.is_dir():
            target = path_below(target, self.name)
        with ProgressBar(self.name, wanted=progress and self.size >= _LARGE) as bar:
            self._download(target, lambda done: bar.show(done / max(1, self.size), ""))
        return target

    @hides_tracebacks
    def read(self, *, max_bytes: int = MAX_READ) -> bytes:
        """Return the content.

        Args:
            max_bytes: Maximum size.

        Raises:
            ResponseTooLargeError: The file is larger.
            ServiceError: The service can't be reached, or the content is not the announced one.
        """
        if self.size > positive_int("max_bytes", max_bytes):
            raise ResponseTooLargeError(
                f"The output file {short_repr(self.name)} has {self.size} bytes, and the limit is {max_bytes}.",
                hint="Give max_bytes=, or use open() or download(path), which need no memory for it.",
            )
        chunks: list[bytes] = []
        self._receive(chunks.append)
        return b"".join(chunks)

    @hides_tracebacks
    def open(self) -> BinaryIO:
        """Download the file to a temporary one, and return that, open for reading. It is removed when it is closed.

        Raises:
            ServiceError: The service can't be reached, or the content is not the announced one.
            OSError: The temporary file can't be written.
        """
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            self._receive(file.write)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def _html_fields(self) -> dict[str, Any]:
        return {"name": self.name, "size": self.size, "media type": self.media_type}

    def _repr_html_(self) -> str:
        from callback_sdk.outputs.preview import html_preview

        head = super()._repr_html_()
        if self.size > _SHOWN:
            return head
        try:
            return head + html_preview(self.name, self.read())
        except ServiceError:
            return head

    def _download(self, target: Path, show: Callable[[int], None]) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{secrets.token_hex(8)}.part")
        done = 0

        def write(chunk: bytes) -> None:
            nonlocal done
            file.write(chunk)
            done += len(chunk)
            show(done)

        try:
            with temporary.open("xb") as file:
                self._receive(write)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _receive(self, write: Callable[[bytes], object]) -> None:
        """Pass the content to a function, in pieces, and verify it."""
        digest, position, failures = hashlib.sha256(), 0, 0
        while True:
            try:
                for chunk in self._api.output(self._job_id, self._state, position):
                    write(chunk)
                    digest.update(chunk)
                    position += len(chunk)
                    failures = 0
                if position < self.size:
                    raise ServiceConnectionError(f"The response ended after {position} of {self.size} bytes.")
                break
            except ServiceError as error:
                failures += 1
                if failures > self._api.connection.retries or not _is_transient(error):
                    raise
                time.sleep(backoff(failures).total_seconds())
        if position != self.size or digest.hexdigest() != self.sha256:
            raise ServiceError(
                f"The content of the output file {short_repr(self.name)} has another SHA-256 than announced.",
                hint="A proxy may have changed it: download it again, or reach the service directly.",
            )


class TaskOutputs(Mapping[str, TaskOutput]):
    """The output files of a task by their names, in the order in which they were made.

    ::

        task.outputs["model.bin"].download("model.bin")
        task.outputs.download("results")
    """

    def __init__(self, api: ServiceAPI, job_id: str, files: tuple[OutputSnapshot, ...]) -> None:
        self._job_id = job_id
        self._files = {state.name: TaskOutput(api, job_id, state) for state in files}

    def __getitem__(self, name: str) -> TaskOutput:
        try:
            return self._files[name]
        except KeyError:
            raise KeyError(f"{name!r}; the task has {', '.join(map(repr, [*self._files][:20])) or 'none'}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __repr__(self) -> str:
        return f"TaskOutputs({list(self._files.values())!r})"

    def _repr_html_(self) -> str:
        return HTMLList(self._files.values())._repr_html_()

    @hides_tracebacks
    def download(self, directory: str | os.PathLike[str], *, progress: bool = True) -> list[Path]:
        """Download all files into a directory, under their names, and return their paths; see `TaskOutput.download`.

        Args:
            directory: The directory; created if it is missing.
            progress: Whether to show a progress bar, in a terminal and in a notebook, if tqdm is installed.

        Raises:
            OutputError: A name, or a link in the directory, would lead out of it, or two files would have the same
                name there; nothing was downloaded.
            ServiceError: The service can't be reached, or a content is not the announced one.
            OSError: A file can't be written.
        """
        root = path_of("directory", directory)
        # The service has checked them too, but a wrong one must not write outside the directory.
        check_distinct([checked_name(name) for name in self._files])
        targets = {name: path_below(root, name) for name in self._files}
        root.mkdir(parents=True, exist_ok=True)
        total, before = max(1, sum(file.size for file in self._files.values())), 0
        with ProgressBar(f"Outputs of {self._job_id}", wanted=progress) as bar:
            for name, file in self._files.items():
                file._download(targets[name], partial(_show, bar, name, before, total))
                before += file.size
        return list(targets.values())


def _show(bar: ProgressBar, name: str, before: int, total: int, done: int) -> None:
    bar.show((before + done) / total, name)


def _is_transient(error: ServiceError) -> bool:
    return isinstance(error, ServiceConnectionError) or (error.status is not None and is_retryable(error.status))
