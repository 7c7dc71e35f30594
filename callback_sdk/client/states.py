"""Tasks and their deliveries as the service returned them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from attrs import asdict, define, field

from callback_sdk import models
from callback_sdk.models import CANCELED, FINISHED, PENDING, Progress
from callback_sdk.receipt import Receipt
from callback_sdk.text.html import HTMLRepr, progress
from callback_sdk.types import DeliveryStatus, ErrorCode, TaskKind, TaskOutcome, TaskStatus


@define(frozen=True, kw_only=True)
class Result:
    """Results of a task.

    Attributes:
        predictions: The algorithm's predictions.
        evaluations: Evaluations of the predictions; None if none were requested.
        monitors: Results of the monitors; may be None.
    """

    predictions: Any = field(default=None, repr=False)
    evaluations: Any = field(default=None, repr=False)
    monitors: Any = field(default=None, repr=False)


@define(frozen=True, kw_only=True)
class DeliverySnapshot(HTMLRepr):
    """Status of the delivery of one task to one target.

    Attributes:
        url: The target's URL without its query.
        status: `"pending"`, `"delivered"`, `"dead"` if no further attempts are made, or `"skipped"` if the target
            doesn't subscribe to the result.
        attempt_count: Number of attempts so far.
        error: Error of the last failed attempt; None if no attempt has failed.
        output: Name of the output file that is delivered; None for the document.
        events: The events that the target subscribes to.
    """

    url: str
    status: DeliveryStatus
    attempt_count: int = 0
    error: str | None = None
    output: str | None = None
    events: tuple[str, ...] = field(default=("completed",), converter=tuple)

    def _html_fields(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "output": self.output,
            "status": self.status,
            "attempts": self.attempt_count,
            "error": self.error,
        }


@define(frozen=True, kw_only=True)
class OutputSnapshot:
    """An output file as the service announces it; see `TaskOutput` for the attributes."""

    name: str
    size: int
    sha256: str
    media_type: str = "application/octet-stream"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return wire_form(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OutputSnapshot:
        """Parse the JSON form; unknown members are ignored."""
        size = data["size"]
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise TypeError("the size of an output file is not a number of bytes")
        members = {name: _text(data[name]) for name in ("name", "sha256")}
        return cls(**members, size=size, media_type=_text(data.get("media_type", "application/octet-stream")))


@define(frozen=True, kw_only=True)
class TaskSnapshot:
    """A task as returned by the service; see `Task` for the attributes."""

    job_id: str
    status: TaskStatus = "Pending"
    success: bool | None = None
    error: str | None = None
    error_code: ErrorCode | None = None
    result: Result = field(factory=Result)
    callback_param: Any = field(default=None, repr=False)
    progress: Progress = field(factory=Progress)
    receipts: tuple[Receipt, ...] = ()
    deliveries: tuple[DeliverySnapshot, ...] = ()
    outputs: tuple[OutputSnapshot, ...] = ()
    new_version: str | None = None
    algorithm: str | None = None
    version: str | None = None
    kind: TaskKind | None = None
    priority: int | None = None
    owner: str | None = None
    results_hidden: bool = False
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    warnings: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the algorithm has ended."""
        return self.status in (FINISHED, CANCELED)

    @property
    def outcome(self) -> TaskOutcome | None:
        """How the task ended; None until then."""
        return _outcome(self)

    @property
    def delivering(self) -> bool:
        """Whether a delivery is pending."""
        return any(delivery.status == "pending" for delivery in self.deliveries)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 strings."""
        shown = wire_form(self)
        head = {name: shown.pop(name) for name in ("job_id", "status", "success", "error", "error_code")}
        return {**head, "outcome": self.outcome, **shown.pop("result"), **shown}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TaskSnapshot:
        """Parse the JSON form; unknown members are ignored."""
        return cls(
            job_id=_text(data["job_id"]),
            status=cast("TaskStatus", _text(data.get("status", PENDING))),
            success=data.get("success"),
            error=data.get("error"),
            error_code=data.get("error_code"),
            result=Result(**{name: data.get(name) for name in Result.__annotations__}),
            callback_param=data.get("callback_param"),
            progress=Progress.from_dict(data.get("progress")),
            receipts=tuple(Receipt.from_dict(receipt) for receipt in data.get("receipts") or ()),
            deliveries=tuple(
                DeliverySnapshot(**_known_members(DeliverySnapshot, one)) for one in data.get("deliveries") or ()
            ),
            outputs=tuple(OutputSnapshot.from_dict(one) for one in data.get("outputs") or ()),
            new_version=data.get("new_version"),
            results_hidden=bool(data.get("results_hidden")),
            warnings=tuple(map(_text, data.get("warnings") or ())),
            **_facts(data),
        )


@define(frozen=True, kw_only=True)
class TaskChange:
    """A change of a task, as an event of the service reports it.

    Attributes:
        status: The task's status.
        progress: Its progress.
    """

    status: TaskStatus
    progress: Progress = field(factory=Progress)

    @property
    def has_ended(self) -> bool:
        """Whether the algorithm has ended."""
        return self.status in (FINISHED, CANCELED)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TaskChange:
        """Parse the JSON form; unknown members are ignored."""
        return cls(status=cast("TaskStatus", _text(data["status"])), progress=Progress.from_dict(data.get("progress")))


@define(frozen=True, kw_only=True)
class DeliveryCounts:
    """Number of a task's deliveries by status.

    Attributes:
        pending: Deliveries still to be made.
        delivered: Completed deliveries.
        dead: Deliveries without attempts left.
    """

    pending: int = 0
    delivered: int = 0
    dead: int = 0


@define(frozen=True, kw_only=True)
class TaskSummary(HTMLRepr):
    """A task in a list, without its results; `Client.get_task` returns the full task.

    Attributes:
        job_id: The task's id.
        algorithm: Name of the algorithm.
        version: Version of the algorithm.
        kind: `"predict"` or `"fit"`.
        status: `"Pending"`, `"In Progress"`, `"Finished"` or `"Canceled"`.
        success: Whether there are results; None until the task has ended.
        error: Error message of a failed task.
        error_code: `"expired"` if the task was not started in time.
        progress: Progress of the run.
        priority: 0 to 9; higher runs first.
        owner: Name of the user who submitted the task.
        created_at: Time at which the service accepted the task, in UTC.
        started_at: Time at which a worker started the task, in UTC; None before that.
        finished_at: Time at which the task ended, in UTC; None before that.
        expires_at: Time from which it is not started any more, in UTC; None for never.
        deliveries: Number of deliveries by status.
    """

    job_id: str
    status: TaskStatus = "Pending"
    success: bool | None = None
    error: str | None = None
    error_code: ErrorCode | None = None
    progress: Progress = field(factory=Progress)
    deliveries: DeliveryCounts = field(factory=DeliveryCounts)
    algorithm: str | None = None
    version: str | None = None
    kind: TaskKind | None = None
    priority: int | None = None
    owner: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None

    @property
    def outcome(self) -> TaskOutcome | None:
        """How the task ended: `"Succeeded"`, `"Failed"`, `"Expired"` or `"Canceled"`; None until then."""
        return _outcome(self)

    def _html_fields(self) -> dict[str, Any]:
        counts = {name: getattr(self.deliveries, name) for name in ("pending", "delivered", "dead")}
        return {
            **html_fields(self),
            "deliveries": ", ".join(f"{count} {name}" for name, count in counts.items() if count) or None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 strings."""
        return {**wire_form(self), "outcome": self.outcome}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TaskSummary:
        """Parse the JSON form; unknown members are ignored."""
        return cls(
            job_id=_text(data["job_id"]),
            status=cast("TaskStatus", _text(data.get("status", PENDING))),
            success=data.get("success"),
            error=data.get("error"),
            error_code=data.get("error_code"),
            progress=Progress.from_dict(data.get("progress")),
            deliveries=DeliveryCounts(**_known_members(DeliveryCounts, data.get("deliveries") or {})),
            **_facts(data),
        )


@define(frozen=True, kw_only=True)
class DeliveryAttempt:
    """One attempt of a delivery.

    Attributes:
        number: Number of the attempt, from 1.
        url: URL of the target without its query; None if it was made by an earlier version of the service.
        started_at: Start of the attempt, in UTC.
        finished_at: End of the attempt, in UTC; None while it runs, and if its worker process died.
        error: Error of the attempt; None if it succeeded.
        response_body: The beginning of the body of an error response, without credentials; None without a response.
    """

    number: int
    url: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    response_body: str | None = None


@define(frozen=True, kw_only=True)
class Delivery(HTMLRepr):
    """The delivery of one task to one target, with all its attempts.

    Attributes:
        delivery_id: Id of the delivery, for `Client.redeliver`; webhooks receive it as `webhook-id`.
        url: The target's URL without its query.
        status: `"pending"`, `"delivered"`, `"dead"` if no further attempts are made, or `"skipped"` if the target
            doesn't subscribe to the result.
        attempt_count: Number of attempts so far.
        next_attempt_at: Time of the next attempt, in UTC; None if no attempt is due, or the delivery is held.
        held_since: Since when the delivery is held, as its host is unavailable, paused or at its limit, in UTC; None
            if it isn't. A held delivery uses up none of its attempts.
        error: Error of the last failed attempt; None if no attempt has failed.
        receipt: The receipt; None until the result is delivered.
        attempts: The attempts, oldest first.
        output: Name of the output file that is delivered; None for the document.
        events: The events that the target subscribes to.
    """

    delivery_id: str
    url: str
    status: DeliveryStatus
    attempt_count: int = 0
    next_attempt_at: datetime | None = None
    held_since: datetime | None = None
    error: str | None = None
    receipt: Receipt | None = None
    attempts: tuple[DeliveryAttempt, ...] = ()
    output: str | None = None
    events: tuple[str, ...] = field(default=("completed",), converter=tuple)

    def _html_fields(self) -> dict[str, Any]:
        return {
            "delivery id": self.delivery_id,
            "url": self.url,
            "output": self.output,
            "status": self.status,
            "attempts": self.attempt_count,
            "next attempt at": self.next_attempt_at,
            "held since": self.held_since,
            "error": self.error,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 strings."""
        return wire_form(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Delivery:
        """Parse the JSON form; unknown members are ignored."""
        members = _known_members(cls, data)
        members |= {name: parse_moment(data.get(name)) for name in ("next_attempt_at", "held_since")}
        members["receipt"] = Receipt.from_dict(data["receipt"]) if data.get("receipt") else None
        members["attempts"] = tuple(
            DeliveryAttempt(
                number=one["number"],
                url=one.get("url"),
                started_at=parse_moment(one.get("started_at")),
                finished_at=parse_moment(one.get("finished_at")),
                error=one.get("error"),
                response_body=one.get("response_body"),
            )
            for one in data.get("attempts") or ()
        )
        return cls(**members)


_TIMES = ("created_at", "started_at", "finished_at", "expires_at")


@define(frozen=True, kw_only=True)
class OutputPart:
    """New output of a task.

    Attributes:
        text: The output since the previous request; may be empty.
        cursor: The position of its end, for the next request.
        ended: Whether the task has ended, so that no output follows.
    """

    text: str = field(repr=False)
    cursor: str
    ended: bool

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OutputPart:
        """Parse the JSON form."""
        return cls(text=_text(data["text"]), cursor=_text(data["cursor"]), ended=bool(data["ended"]))


def html_fields(task: TaskSnapshot | TaskSummary) -> dict[str, Any]:
    """Return the fields of a task that are shown in notebooks."""
    version = f" {task.version}" if task.version else ""
    return {
        "job id": task.job_id,
        "algorithm": f"{task.algorithm}{version}" if task.algorithm else None,
        "status": task.outcome or task.status,
        "progress": None if task.finished_at else progress(task.progress.fraction, task.progress.message),
        "error": task.error,
        "created at": task.created_at,
        "finished at": task.finished_at,
    }


def _outcome(task: TaskSnapshot | TaskSummary) -> TaskOutcome | None:
    return cast("TaskOutcome | None", models.outcome(task.status, task.success, task.error_code))


def wire_form(value: Any) -> dict[str, Any]:
    """Return the JSON form of a value; times are ISO 8601 strings."""
    return asdict(
        value,
        # As in the JSON form of a receipt: only one with output files has the member.
        filter=lambda attribute, item: attribute.name != "outputs" or item != {},
        value_serializer=lambda _, __, item: item.isoformat() if isinstance(item, datetime) else item,
    )


def _facts(data: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: data.get(name) for name in ("algorithm", "version", "kind", "priority", "owner")}
    return facts | {name: parse_moment(data.get(name)) for name in _TIMES}


def _known_members(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in kind.__annotations__ if name in data}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in the place of a string")
    return value


def parse_moment(text: str | None) -> datetime | None:
    """Parse a time in ISO 8601; None for None."""
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))
