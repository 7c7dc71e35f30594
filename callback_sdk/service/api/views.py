"""JSON representations of algorithms, tasks and deliveries in the REST API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import orjson
from attrs import asdict, define

from callback_sdk.documents.document import encode
from callback_sdk.models import PENDING
from callback_sdk.service.algorithms.versions import AlgorithmVersion
from callback_sdk.service.blobs import BlobStorage, results_name
from callback_sdk.service.engines.preparation import WorkerState
from callback_sdk.service.store.hosts import GoneWebhook, HostState
from callback_sdk.service.store.models import (
    DEAD,
    DELIVERED,
    DELIVERY_PENDING,
    WARNINGS,
    AcceptedTask,
    AuditEntry,
    SigningSecret,
    Submission,
    TaskFile,
    TrainedVersion,
)
from callback_sdk.service.store.pauses import Pause
from callback_sdk.service.store.subscriptions import columns
from callback_sdk.service.store.workers import ListedWorker
from callback_sdk.service.work.child import SHOWN
from callback_sdk.targets.members import DEFAULT_EVENTS


def show_algorithm(versions: Sequence[AlgorithmVersion], trained: Sequence[TrainedVersion]) -> dict[str, Any]:
    """Return the JSON of an algorithm from all of its versions."""
    latest = versions[-1]
    return {
        "id": latest.name,
        "name": latest.name,
        "description": latest.description,
        "versions": show_versions(versions, trained),
        "evaluations": list(latest.evaluations),
    }


def show_versions(versions: Sequence[AlgorithmVersion], trained: Sequence[TrainedVersion]) -> list[dict[str, Any]]:
    """Return the JSON of all versions of an algorithm, registered ones first."""
    return [*map(show_version, versions), *map(show_trained, trained)]


def show_trained(trained: TrainedVersion) -> dict[str, Any]:
    """Return the JSON of a trained version."""
    when = datetime.fromtimestamp(trained.created_at, timezone.utc)
    text = f"{trained.base}, trained by the task {trained.job_id} at {when:%Y-%m-%d %H:%M} UTC."
    return _version(trained.version, text)


def show_version(algorithm: AlgorithmVersion) -> dict[str, Any]:
    """Return the JSON of a registered version."""
    return _version(algorithm.version, algorithm.description)


def _version(name: str, description: str) -> dict[str, Any]:
    return {
        "version": name,
        "change_description": description,
        "results": list(SHOWN),
        "features_format": ["parquet", "json"],
        "output_format": "json",
    }


def show_worker(worker: WorkerState) -> dict[str, Any]:
    """Return the JSON of a worker."""
    return {"name": worker.name, "status": worker.status, "problem": worker.problem}


def show_summary(task: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the JSON of a task in a list.

    Args:
        task: The task's columns.
        counts: Number of its deliveries by status.
    """
    names = ("job_id", "algorithm", "version", "kind", "status", "success", "error", "error_code")
    shown = {name: task[name] for name in names} | {"owner": task["owner_name"]}
    shown |= {"progress": _progress(task), "priority": task["priority"], **_times(task)}
    return shown | {"deliveries": dict.fromkeys((DELIVERY_PENDING, DELIVERED, DEAD), 0) | dict(counts)}


def show_file(file: TaskFile) -> dict[str, Any]:
    """Return the JSON of an output file."""
    return {name: getattr(file, name) for name in ("name", "size", "sha256", "media_type")}


def show_delivery(
    delivery: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], *, may_read: bool = True
) -> dict[str, Any]:
    """Return the JSON of a delivery.

    Args:
        delivery: The delivery's columns without credentials.
        attempts: The attempts of all deliveries of the task.
        may_read: Whether to show the bodies of responses: receivers may quote the document in them.
    """
    return {
        "delivery_id": delivery["delivery_id"],
        **_delivery(delivery),
        "next_attempt_at": _time(delivery["next_attempt_at"] if delivery["held_since"] is None else None),
        "held_since": _time(delivery["held_since"]),
        "receipt": delivery["receipt"],
        "attempts": [
            {
                "number": item["number"],
                "url": item["url"],
                "started_at": _time(item["started_at"]),
                "finished_at": _time(item["finished_at"]),
                "error": item["error"],
                "response_body": item["response_body"] if may_read else None,
            }
            for item in attempts
            if item["delivery_id"] == delivery["delivery_id"]
        ],
    }


def show_found(delivery: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of a delivery in a list of deliveries of several tasks.

    Args:
        delivery: A row of `BulkRedeliveryStore`.
    """
    names = ("delivery_id", "job_id", "algorithm", "host")
    return {
        **{name: delivery[name] for name in names},
        **_delivery(delivery),
        "owner": delivery["owner_name"],
        "next_attempt_at": _time(delivery["next_attempt_at"]),
        "finished_at": _time(delivery["task_finished_at"]),
    }


def show_host(host: HostState) -> dict[str, Any]:
    """Return the JSON of a host."""
    names = ("host", "state", "failures", "paused_by", "last_error", "held", "running")
    limits = {"max_concurrency": host.limits.max_concurrency, "max_rate": host.limits.max_rate}
    times = {name: _time(getattr(host, name)) for name in ("since", "retry_at", "held_since")}
    return {name: getattr(host, name) for name in names} | limits | times


def show_listed_worker(worker: ListedWorker) -> dict[str, Any]:
    """Return the JSON of a worker with its heartbeat."""
    names = ("name", "status", "host", "pid", "package_version", "algorithms", "slots", "running")
    times = {"started_at": _time(worker.started_at), "heartbeat_at": _time(worker.heartbeat_at)}
    return {name: getattr(worker, name) for name in names} | times


def show_pause(pause: Pause) -> dict[str, Any]:
    """Return the JSON of a paused algorithm."""
    names = ("algorithm", "reason", "paused_by")
    found = {name: getattr(pause, name) for name in names}
    return found | {"accept": pause.is_accepted, "paused_at": _time(pause.paused_at)}


def show_webhook(webhook: GoneWebhook) -> dict[str, Any]:
    """Return the JSON of a disabled webhook."""
    return {"url": webhook.url, "host": webhook.host, "since": _time(webhook.since)}


def show_entry(entry: AuditEntry) -> dict[str, Any]:
    """Return the JSON of an entry of the audit log."""
    names = ("action", "actor", "owner", "job_id", "via", "address", "facts")
    return {"at": _time(entry.at), **{name: getattr(entry, name) for name in names}}


@define(frozen=True)
class TaskView:
    """The JSON of a task: large results are ranges of a blob, and are streamed in chunks.

    Attributes:
        parts: Bytes, or ranges of the blob: start and stop.
        blobs: The blob storage.
        name: Name of the blob.
    """

    parts: tuple[bytes | tuple[int, int], ...]
    blobs: BlobStorage
    name: str

    @property
    def size(self) -> int:
        """The length, in bytes."""
        return sum(len(part) if isinstance(part, bytes) else part[1] - part[0] for part in self.parts)

    @property
    def is_small(self) -> bool:
        """Whether no part of it is in a blob."""
        return all(isinstance(part, bytes) for part in self.parts)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes.

        Raises:
            BlobStorageError: The blob can't be read.
        """
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from self.blobs.chunks(self.name, *part)


def show_task(
    task: Mapping[str, Any],
    deliveries: Sequence[Mapping[str, Any]],
    results: bytes | None,
    blobs: BlobStorage,
    *,
    trained_version: TrainedVersion | None = None,
    outputs: Sequence[TaskFile] = (),
    may_read: bool = True,
) -> TaskView:
    """Return the JSON of a task.

    Args:
        task: The task's columns.
        deliveries: The columns of its deliveries without credentials.
        results: The results if they are small; None if there are none or they are in the blob storage.
        blobs: The blob storage.
        trained_version: The version that the training created; None for none.
        outputs: Its output files.
        may_read: Whether to show the results, and the parameters of the targets, which are a part of the document.
    """
    head = {name: task[name] for name in ("job_id", "status", "success", "error", "error_code")}
    tail = {
        "callback_param": _callback_param([one["callback_param"] for one in deliveries]) if may_read else None,
        "progress": _progress(task),
        "receipts": [delivery["receipt"] for delivery in deliveries if delivery["receipt"]],
        "deliveries": [_delivery(delivery) for delivery in deliveries],
        **{name: task[name] for name in ("algorithm", "version", "kind", "priority")},
        "outputs": [show_file(file) for file in outputs],
        "new_version": None if trained_version is None else trained_version.version,
        "warnings": task["options"].get(WARNINGS, []),
        "owner": task["owner_name"],
        "results_hidden": not may_read,
        **_times(task),
    }  # fmt: skip
    result_offsets = task["result_offsets"] or {} if may_read else {}
    parts: list[bytes | tuple[int, int]] = [orjson.dumps(head)[:-1]]
    for name in SHOWN:
        start, stop = result_offsets.get(name, (0, 0))
        parts += [b',"%b":' % name.encode(), _member(results, start, stop)]
    return TaskView((*parts, b"," + encode(tail).data[1:]), blobs, results_name(task["job_id"], task["attempt"]))


def show_new(submission: Submission, accepted: AcceptedTask, blobs: BlobStorage, *, owner: str) -> TaskView:
    """Return the JSON of a task that was just accepted, without a query of the store.

    Args:
        submission: The task and its targets.
        accepted: The accepted task, with its time of acceptance.
        blobs: The blob storage.
        owner: Name of its user.
    """
    task = asdict(submission.task, recurse=False) | asdict(accepted)
    task |= dict.fromkeys(("success", "error", "error_code", "progress", "result_offsets", "started_at", "finished_at"))
    task |= {"status": PENDING, "attempt": 0, "owner_name": owner, "targets_expire_at": submission.targets_expire_at}
    deliveries = [
        {
            "url": str(target.shown_url),
            "output_name": name,
            "callback_param": target.param,
            **columns(target),
            "attempt_count": 0,
            "last_error": None,
            "receipt": None,
        }
        for target, name in zip(submission.targets, submission.names, strict=True)
    ]
    return show_task(task, deliveries, None, blobs)


_DELIVERY = {
    "url": "url",
    "output": "output_name",
    "events": "events",
    "status": "status",
    "attempt_count": "attempt_count",
    "error": "last_error",
}


def _delivery(delivery: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON that all views of a delivery have in common."""
    events = delivery["events"].split(",") if delivery["events"] else sorted(DEFAULT_EVENTS)
    return {name: delivery[column] for name, column in _DELIVERY.items()} | {"events": events}


def _member(results: bytes | None, start: int, stop: int) -> bytes | tuple[int, int]:
    if not stop:
        return b"null"
    return (start, stop) if results is None else results[start:stop]


def _callback_param(params: list[Any]) -> Any:
    if not params:
        return None
    return params[0] if len(params) == 1 else params


def _progress(task: Mapping[str, Any]) -> dict[str, Any]:
    return task["progress"] or {"fraction": None, "message": ""}


def show_secret(secret: SigningSecret) -> dict[str, Any]:
    """Return a signing secret, without its value, as the REST API shows it."""
    return {
        "id": secret.secret_id,
        "scheme": secret.scheme,
        "public_key": secret.public_key,
        "created_at": _time(secret.created_at),
        "expires_at": _time(secret.expires_at),
    }


def _times(task: Mapping[str, Any]) -> dict[str, str | None]:
    times = {name: _time(task[name]) for name in ("created_at", "started_at", "finished_at")}
    return times | {"expires_at": _time(expiry_of(task))}


def expiry_of(task: Mapping[str, Any]) -> float | None:
    """Return the time from which a queued task is not started any more; None for never.

    Args:
        task: The task's columns.
    """
    return min((task[name] for name in ("expires_at", "targets_expire_at") if task[name] is not None), default=None)


def _time(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, timezone.utc).isoformat()
