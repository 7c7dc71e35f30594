"""Features, results and progress of tasks as files in one folder, each there whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import orjson

_CHUNK = 1024 * 1024


class Blobs:
    """The files of all tasks.

    Features live until their task has ended, results as long as the task is known.

    Args:
        folder: Where they are; made with mode 0700 when it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("features", "results", "progress", "incoming"):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    def features(self, job_id: str) -> Path:
        """Return where a task's features are."""
        return self.folder / "features" / job_id

    def results(self, job_id: str, attempt: int) -> Path:
        """Return where one run of a task puts its results; no two runs share a file."""
        return self.folder / "results" / f"{job_id}.{attempt}.json"

    def progress(self, job_id: str) -> Path:
        """Return where a running task says how far it is."""
        return self.folder / "progress" / f"{job_id}.json"

    def incoming(self) -> Path:
        """Return a new path for something that is only just arriving."""
        return self.folder / "incoming" / secrets.token_hex(16)

    def receive(self, source: BinaryIO) -> Path:
        """Copy an upload into the folder, on disk for good before this returns.

        Returns:
            Its path; `keep_features` gives it its place, `remove` drops it.
        """
        path = self.incoming()
        try:
            with path.open("xb") as file:
                shutil.copyfileobj(source, file, _CHUNK)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            remove(path)
            raise
        return path

    def keep_features(self, path: Path, job_id: str) -> None:
        """Make a received file the features of a task."""
        _rename(path, self.features(job_id))

    def forget_run(self, job_id: str) -> None:
        """Remove what a task needed only while it ran."""
        remove(self.features(job_id))
        remove(self.progress(job_id))

    def clean(self, wanted: Iterable[str]) -> None:
        """Remove what a killed process left: uploads that never became tasks, and files of ended tasks.

        Args:
            wanted: Ids of the tasks that have not ended.
        """
        keep = set(wanted)
        for path in (self.folder / "incoming").iterdir():
            remove(path)
        for path in (self.folder / "features").iterdir():
            if path.name not in keep:
                remove(path)
        for path in (self.folder / "progress").iterdir():
            if path.name.partition(".")[0] not in keep:
                remove(path)
        for path in (self.folder / "results").iterdir():
            if path.name.startswith("."):
                remove(path)


def remove(path: Path) -> None:
    """Remove a file that may be gone already."""
    path.unlink(missing_ok=True)


def write_whole(path: Path, parts: Iterable[bytes], *, durable: bool = True) -> None:
    """Write a file so that nobody ever sees a part of it.

    Args:
        path: Where it will be; what is there is replaced.
        parts: Its bytes.
        durable: Whether to wait until it is on disk for good.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.writelines(parts)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        _rename(temporary, path, durable=durable)
    except BaseException:
        remove(temporary)
        raise


def read_progress(path: Path) -> dict[str, Any] | None:
    """Read what `Context.progress` wrote last; None when it has written nothing."""
    try:
        state = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return {"fraction": state.get("fraction"), "message": state.get("message", "")} if isinstance(state, dict) else None


def _rename(source: Path, target: Path, *, durable: bool = True) -> None:
    source.replace(target)
    if durable:
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
