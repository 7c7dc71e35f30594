"""What goes into the store and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field

from callback_sdk.models import JobResult
from callback_sdk.targets.callbacks import Callback

PREDICT = "predict"
FIT = "fit"

FEATURES = "features"
RESULTS = "results"
OUTPUT = "output"
"""What is kept of a task in the database, beside its columns, when it is small."""

DELIVERY_PENDING = "pending"
DELIVERED = "delivered"
DEAD = "dead"

MOST_URGENT = 9
"""The highest priority; the lowest is 0."""

USUAL_PRIORITY = 5


@define(frozen=True, kw_only=True)
class TaskRow:
    """What is known of a task when it is accepted.

    Attributes:
        owner: Id of the user whose task it is.
        kind: `"predict"` or `"fit"`: which function of the algorithm is called.
        parameters: The algorithm's second argument.
        evaluate: Whether, or how, to evaluate.
        options: What else was asked for, kept for the record.
        priority: 0 to 9; the higher goes first.
    """

    job_id: str
    owner: str
    kind: str = PREDICT
    algorithm: str
    version: str
    features_format: str
    parameters: dict[str, Any] = field(factory=dict, repr=False)
    evaluate: bool | dict[str, Any] = True
    options: dict[str, Any] = field(factory=dict)
    priority: int = USUAL_PRIORITY


@define(frozen=True, kw_only=True)
class Submission:
    """One task on its way into the store.

    Attributes:
        task: The task.
        targets: Where its result goes, checked.
        features: Its data, when they are small; None when they are among the blobs.
        size: Bytes of the data.
    """

    task: TaskRow
    targets: Sequence[Callback] = ()
    features: bytes | None = field(default=None, repr=False)
    size: int = 0


@define(frozen=True)
class AcceptedTask:
    """A task that is in the store.

    Attributes:
        job_id: Its id.
        created_at: When it was accepted, in seconds since 1970 in UTC; None when that was by an earlier request with
            the same key.
    """

    job_id: str
    created_at: float | None = None


@define(frozen=True, kw_only=True)
class IdempotencyKey:
    """What makes a repeated request the same request.

    Attributes:
        key: The client's word for it.
        fingerprint: SHA-256 of what was asked for, in hex.
    """

    key: str
    fingerprint: str


@define(frozen=True, kw_only=True)
class Claim:
    """The right to run a task, until somebody claims it anew.

    Attributes:
        task: What to run.
        attempt: The claim's number; the store takes a result only with the latest.
        features: The task's data; None when they are among the blobs.
    """

    task: TaskRow
    attempt: int
    features: bytes | None = field(default=None, repr=False)


@define(frozen=True, kw_only=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        success: Whether there are results.
        error: Why not.
        result_offsets: Where the members lie in the results.
        nulls_written: Numbers in them that became null.
        progress: What the run said last about its progress.
        results: The results, when they are small; None when there are none or they are among the blobs.
        made: A new version of the algorithm, and the registered one that goes on with its model; None for none.
        size: Bytes of the results.
        model_size: Bytes of the new version's model.
    """

    success: bool
    error: str | None = None
    result_offsets: dict[str, list[int]] | None = None
    nulls_written: int = 0
    progress: dict[str, Any] | None = None
    results: bytes | None = field(default=None, repr=False)
    made: tuple[str, str] | None = None
    size: int = 0
    model_size: int = 0


@define(frozen=True, kw_only=True)
class TrainedVersion:
    """A version of an algorithm that a training has made.

    Attributes:
        base: The registered version whose functions go on with the model.
        job_id: The training.
        attempt: Number of the run that made it: its model is a blob with both names.
        created_at: Seconds since 1970 in UTC.
    """

    algorithm: str
    version: str
    base: str
    job_id: str
    attempt: int
    created_at: float


@define(frozen=True, kw_only=True)
class PurgeableTask:
    """A task that has ended, and of which nothing is left to be delivered.

    Attributes:
        attempt: How many runs it had.
        has_blobs: Whether its results are among the blobs.
    """

    job_id: str
    attempt: int
    has_blobs: bool


@define(frozen=True, kw_only=True)
class DeliveryClaim:
    """The right to make one attempt at a delivery.

    Attributes:
        delivery_id: Stable over all attempts.
        url: Where to, as it may be shown.
        host: The host in it.
        encrypted_target: The same with its credentials, encrypted; see `DeliveryStore.open`.
        job_id: The task.
        attempt: The try's number, from 1; for the task's own run see `run`.
        since_redelivery: The same, counted from the last time that somebody asked for the delivery anew.
        run: Number of the run that has the results.
        result: How the task ended, without its results.
        results: The results, when they are small; None when there are none or they are among the blobs.
        nulls_written: Numbers in the results that became null.
        traceparent: The trace that the task belongs to.
    """

    delivery_id: str
    url: str
    host: str
    encrypted_target: str = field(repr=False)
    job_id: str
    attempt: int
    since_redelivery: int
    run: int
    result: JobResult
    results: bytes | None = field(default=None, repr=False)
    nulls_written: int
    traceparent: str | None = None


@define(frozen=True, kw_only=True)
class DeliveringWorker:
    """Who ends a task, and sends its result at once.

    Attributes:
        worker: Name of the process.
        spare: How many deliveries of the task it can begin now.
    """

    worker: str
    spare: int


@define(frozen=True, kw_only=True)
class DueDeliveries:
    """A task that has ended by this, and what is to be sent now.

    Attributes:
        claims: Deliveries that are claimed for the sender already.
        due: Id and host of the others.
    """

    claims: Sequence[DeliveryClaim] = ()
    due: Sequence[tuple[str, str]] = ()


@define(frozen=True, kw_only=True)
class User:
    """Somebody who may submit tasks.

    Attributes:
        token_generation: Raised when access tokens that were given out must no longer count.
        password_hash: An Argon2 hash; None for who has API tokens only.
        created_at: Seconds since 1970 in UTC.
    """

    user_id: str
    name: str
    token_generation: int
    disabled: bool
    password_hash: str | None = field(default=None, repr=False)
    created_at: float
