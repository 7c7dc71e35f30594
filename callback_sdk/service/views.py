"""What the REST API shows of algorithms and tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from attrs import define

from callback_sdk.service.blobs import Blobs, read_progress
from callback_sdk.service.child import SHOWN
from callback_sdk.service.registry import Algorithm

_CHUNK = 256 * 1024


def show_algorithm(versions: Sequence[Algorithm]) -> dict[str, Any]:
    """Return an algorithm's wire form from all of its versions."""
    latest = versions[-1]
    return {
        "id": latest.name,
        "name": latest.name,
        "description": latest.description,
        "versions": [show_version(version) for version in versions],
        "evaluations": [],
    }


def show_version(algorithm: Algorithm) -> dict[str, Any]:
    """Return the wire form of one version."""
    return {
        "version": algorithm.version,
        "change_description": algorithm.description,
        "results": list(SHOWN),
        "features_format": ["parquet", "json"],
        "output_format": "json",
    }


@define(frozen=True)
class TaskView:
    """The JSON of a task: its results are pieces of a file, and go through memory in chunks.

    Attributes:
        parts: Bytes, or where bytes lie in the file: start and stop.
        file: The file.
    """

    parts: tuple[bytes | tuple[int, int], ...]
    file: Path

    @property
    def size(self) -> int:
        """Length in bytes."""
        return sum(len(part) if isinstance(part, bytes) else part[1] - part[0] for part in self.parts)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes."""
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
                continue
            position, stop = part
            with self.file.open("rb") as file:
                file.seek(position)
                while position < stop:
                    chunk = file.read(min(_CHUNK, stop - position))
                    if not chunk:
                        raise EOFError(f"{self.file.name} is shorter than the store says.")
                    position += len(chunk)
                    yield chunk


def show_task(task: dict[str, Any], deliveries: Sequence[dict[str, Any]], blobs: Blobs) -> TaskView:
    """Return a task's wire form.

    Args:
        task: Its columns.
        deliveries: The columns of its deliveries that may be shown.
        blobs: Where its results and its progress are.
    """
    head = {name: task[name] for name in ("job_id", "status", "success", "error")}
    tail = {
        "callback_param": _callback_param([delivery["param"] for delivery in deliveries]),
        "progress": _progress(task, blobs),
        "receipts": [delivery["receipt"] for delivery in deliveries if delivery["receipt"]],
        "deliveries": [
            {name: delivery[column] for name, column in _DELIVERY.items()} for delivery in deliveries
        ],
    }  # fmt: skip
    spans = task["spans"] or {}
    parts: list[bytes | tuple[int, int]] = [orjson.dumps(head)[:-1]]
    for name in SHOWN:
        start, stop = spans.get(name, (0, 0))
        parts += [b',"%b":' % name.encode(), (start, stop) if stop else b"null"]
    return TaskView((*parts, b"," + orjson.dumps(tail)[1:]), blobs.results(task["job_id"], task["attempt"]))


_DELIVERY = {"url": "url", "state": "state", "attempts": "attempts", "error": "last_error"}


def _callback_param(params: list[Any]) -> Any:
    if not params:
        return None
    return params[0] if len(params) == 1 else params


def _progress(task: dict[str, Any], blobs: Blobs) -> dict[str, Any]:
    kept = task["progress"] or (None if task["finished_at"] else read_progress(blobs.progress(task["job_id"])))
    return kept or {"fraction": None, "message": ""}
