"""What the outbox keeps, as values: what may be shown of a delivery, and what is needed to send one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from attrs import asdict, define, field

from callback_sdk.models import JobResult
from callback_sdk.receipt import Receipt
from callback_sdk.targets.callbacks import Callback

PENDING = "pending"
DELIVERED = "delivered"
DEAD = "dead"


@define(frozen=True, kw_only=True)
class OutboxEntry:
    """One delivery, as it may be shown: there is no credential in it.

    Attributes:
        delivery_id: Stable over all tries; a webhook's id.
        job_id: The task.
        kind: What the target is, `"s3-put"` for one.
        url: Where it goes, without its query.
        state: `"pending"`, `"delivered"`, or `"dead"`: given up until somebody asks for it again.
        sending: Whether a process is sending it at this moment.
        attempts: Tries that were begun.
        next_attempt: When it is tried again, in UTC; None unless it is pending.
        error: How the last try failed; None when none has failed or it is delivered.
        receipt: Proof; None unless it is delivered.
        created_at: When it was written, in UTC.
        settled_at: When it was delivered or given up, in UTC; None while it is pending.
    """

    delivery_id: str
    job_id: str
    kind: str
    url: str
    state: str
    sending: bool
    attempts: int
    next_attempt: datetime | None
    error: str | None
    receipt: Receipt | None
    created_at: datetime
    settled_at: datetime | None

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form: times as ISO 8601 strings."""
        return asdict(
            self,
            value_serializer=lambda _, __, value: value.isoformat() if isinstance(value, datetime) else value,
        )


@define(frozen=True, kw_only=True)
class WriteResult:
    """What has become of a write so far. All of it is on disk.

    Attributes:
        receipts: Proof from the targets that have the result, in the order of the targets.
        pending: What is still to be sent; `Outbox.run` does it.
    """

    receipts: tuple[Receipt, ...]
    pending: tuple[OutboxEntry, ...]


@define(frozen=True, kw_only=True)
class StoredResults:
    """Where the bytes of results are kept.

    Attributes:
        data: The bytes, when they are few.
        file: The name of their file otherwise.
    """

    data: bytes | None = field(default=None, repr=False)
    file: str | None = None


@define(frozen=True, kw_only=True)
class NewDelivery:
    """One delivery that is to be kept.

    Attributes:
        delivery_id: From the place and the document.
        kind: What the target is.
        callback: The target.
    """

    delivery_id: str
    kind: str
    callback: Callback


@define(frozen=True, kw_only=True)
class OutboxClaim:
    """The right to send one delivery.

    Attributes:
        delivery_id: Which one.
        host: Where it goes, to be polite to.
        number: Counts the claims of a delivery; with the owner it fences the outcome.
        attempt: Which try this is, at least 1.
    """

    delivery_id: str
    host: str
    number: int
    attempt: int


@define(frozen=True, kw_only=True)
class PendingSend:
    """What is needed to send one delivery.

    Attributes:
        job: The job's own members, without its results.
        stored: Where the results are.
        nulls_written: NaN, infinite numbers and NaT that became null in them.
        object_url: Where the results are to be found, for a target that is too small for them.
        callback: The target.
    """

    job: JobResult
    stored: StoredResults
    nulls_written: int
    object_url: str | None
    callback: Callback
