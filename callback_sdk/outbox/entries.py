"""Values of the outbox: its deliveries as shown to users, claims, and the data needed to send one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import asdict, define, field

from callback_sdk.models import JobResult
from callback_sdk.receipt import Receipt
from callback_sdk.targets import Target
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.objects import object_url

PENDING = "pending"
DELIVERED = "delivered"
DEAD = "dead"


@define(frozen=True, kw_only=True)
class OutboxEntry:
    """One delivery in the outbox, without credentials.

    Attributes:
        delivery_id: Id of the delivery, the same for all attempts; webhooks carry it as `webhook-id`.
        job_id: Id of the job.
        target_kind: Kind of the target, such as `"s3-put"`.
        url: URL of the target, without its query.
        status: `"pending"`, `"delivered"`, or `"dead"`, after which no further attempts are made.
        sending: Whether an attempt is running in any process.
        attempts: Number of attempts started so far.
        next_attempt_at: Time of the next attempt, in UTC; None unless the delivery is pending.
        error: Error of the last attempt; None if the delivery succeeded or no attempt has failed.
        receipt: The receipt; None unless the result is delivered.
        created_at: Time of `Outbox.write`, in UTC.
        finished_at: Time at which the result was delivered or the delivery became dead, in UTC; None while pending.
    """

    delivery_id: str
    job_id: str
    target_kind: str
    url: str
    status: str
    sending: bool
    attempts: int
    next_attempt_at: datetime | None
    error: str | None
    receipt: Receipt | None
    created_at: datetime
    finished_at: datetime | None

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form: times as ISO 8601 strings."""
        return asdict(
            self,
            value_serializer=lambda _, __, value: value.isoformat() if isinstance(value, datetime) else value,
        )


@define(frozen=True, kw_only=True)
class WriteResult:
    """Outcome of `Outbox.write`, which is on disk.

    Attributes:
        receipts: Receipts of the targets that have the result, in the order of the targets.
        pending: Deliveries that `Outbox.run` still has to send.
    """

    receipts: tuple[Receipt, ...]
    pending: tuple[OutboxEntry, ...]


@define(frozen=True, kw_only=True)
class OutputCopy:
    """The copy of an output file.

    Attributes:
        name: Name of the output.
        file: Name of the copy.
        size: Size in bytes.
        sha256: Hex digest of the content.
        media_type: The media type.
    """

    name: str
    file: str
    size: int
    sha256: str
    media_type: str


@define(frozen=True, kw_only=True)
class StoredResults:
    """Location of the bytes of results and of their output files.

    Attributes:
        data: The results if they have up to 64 KiB; None otherwise.
        file: Name of the file with larger results; None otherwise.
        outputs: The copies of the output files.
    """

    data: bytes | None = field(default=None, repr=False)
    file: str | None = None
    outputs: tuple[OutputCopy, ...] = ()

    @property
    def files(self) -> list[str]:
        """Names of all files."""
        return [*([self.file] if self.file else []), *(output.file for output in self.outputs)]


@define(frozen=True, kw_only=True)
class NewDelivery:
    """One delivery to store, or its new target.

    Attributes:
        delivery_id: Id derived from the first target and the document.
        target_kind: Kind of the target.
        callback: The target, with credentials.
        object_url: URL of the object, without a signature; None for a webhook, and if it is secret.
        output_callbacks: Targets of the output files, in their order; None for the delivery's own target.
    """

    delivery_id: str
    target_kind: str
    callback: Callback
    object_url: str | None = None
    output_callbacks: tuple[Callback | None, ...] = ()

    @classmethod
    def of(cls, delivery_id: str, target: Target) -> NewDelivery:
        """Return a delivery with a new target, whose output files stay as they are."""
        return cls(
            delivery_id=delivery_id,
            target_kind=target.kind,
            callback=target.callback,
            object_url=object_url(target),
        )


@define(frozen=True, kw_only=True)
class OutboxClaim:
    """The right to send one delivery.

    Attributes:
        delivery_id: Id of the delivery.
        host: Host and port of the target, for the limits per host.
        number: Number of this claim of the delivery, incremented by every claim; part of the fencing token.
        attempt: Number of the attempt, from 1.
    """

    delivery_id: str
    host: str
    number: int
    attempt: int


@define(frozen=True, kw_only=True)
class PendingSend:
    """The data needed to send one delivery.

    Attributes:
        job: The job's outcome, without its results.
        stored: Location of the results.
        nulls_written: Number of NaN, infinite and NaT values in the results that were written as null.
        object_url: URL of the results without a signature, for webhooks with a size limit below the results.
        callback: The target.
        result: Number of the result.
        output_callbacks: Targets of the output files, in their order.
        sent: Output files that a target has, by the key of the upload.
    """

    job: JobResult
    stored: StoredResults
    nulls_written: int
    object_url: str | None
    callback: Callback
    result: int = 0
    output_callbacks: tuple[Callback, ...] = ()
    sent: Mapping[str, str] = field(factory=dict)
