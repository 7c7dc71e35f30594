"""Arguments and return values of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field

from callback_sdk.models import JobResult
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import Callback
from callback_sdk.webhooks import Scheme

PREDICT = "predict"
FIT = "fit"
BATCH = "batch"
"""Kinds of tasks. That of a batch runs nothing: its results are the outcomes of the batch's tasks."""

WARNINGS = "warnings"
"""Task option with the warnings of the submission."""

RESERVED_NAMES = "reserved_names"
"""Task option with the names that no output file may have, as other objects at the targets have them."""

FEATURES = "features"
RESULTS = "results"
"""Names of a task's payloads that are stored in the database if they are small."""

DELIVERY_PENDING = "pending"
DELIVERED = "delivered"
DEAD = "dead"
SKIPPED = "skipped"
"""Statuses of deliveries. The target of a skipped one doesn't subscribe to the result."""

MAX_PRIORITY = 9
"""The highest priority; the lowest is 0."""

DEFAULT_PRIORITY = 5


@define(frozen=True, kw_only=True)
class TaskRow:
    """An accepted task.

    Attributes:
        owner: Id of the user that submitted it.
        kind: `"predict"` or `"fit"`: which function of the algorithm is called.
        parameters: The algorithm's second argument.
        evaluate: Whether, or how, to evaluate.
        options: Further options of the request.
        priority: 0 to 9; higher priorities run first.
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
    priority: int = DEFAULT_PRIORITY


@define(frozen=True, kw_only=True)
class Submission:
    """A new task with its targets and features.

    Attributes:
        task: The task.
        targets: The validated targets of its result.
        output_names: For each target, the output file that it is for; None for the document. Empty if all are for the
            document.
        features: The features if they are small; None if they are in the blob storage.
        size: Size of the features, in bytes.
        expires: Seconds after its acceptance in which the task must be started; None for unlimited.
        targets_expire_at: Expiry of the last target, in seconds since 1970 in UTC; None if one never expires, or if
            there are none.
    """

    task: TaskRow
    targets: Sequence[Callback] = ()
    output_names: Sequence[str | None] = ()
    features: bytes | None = field(default=None, repr=False)
    size: int = 0
    expires: float | None = None
    targets_expire_at: float | None = None

    @property
    def names(self) -> Sequence[str | None]:
        """For each target, the output file that it is for; None for the document."""
        return self.output_names or (None,) * len(self.targets)


@define(frozen=True)
class ReclaimedTask:
    """A task whose worker is dead.

    Attributes:
        job_id: Its id.
        attempt: The number of the run that was lost.
        has_failed: Whether it failed, as its runs have crashed too often; otherwise it is queued again.
    """

    job_id: str
    attempt: int
    has_failed: bool = False


@define(frozen=True)
class AcceptedTask:
    """A task that was stored.

    Attributes:
        job_id: Its id.
        created_at: Time of acceptance, in seconds since 1970 in UTC; None if an earlier request with the same key
            created it.
        expires_at: Time after which it is not started any more; None for never.
    """

    job_id: str
    created_at: float | None = None
    expires_at: float | None = None


@define(frozen=True, kw_only=True)
class NewBatch:
    """A batch that new tasks belong to, with a target that is told of its end.

    Attributes:
        batch_id: The client's id, the same in all requests of the batch.
        target: The validated target.
        is_last: Whether no request with further tasks follows.
        plan: Returns the target of a callback.
    """

    batch_id: str
    target: Callback
    is_last: bool
    plan: Callable[[Callback], Target] = plan


@define(frozen=True, kw_only=True)
class IdempotencyKey:
    """An idempotency key, with the request that it belongs to.

    Attributes:
        key: The client's key.
        fingerprint: SHA-256 of the request, in hex.
    """

    key: str
    fingerprint: str


@define(frozen=True, kw_only=True)
class Claim:
    """A worker's claim of a task, valid until the task is claimed again.

    Attributes:
        task: The task to run.
        attempt: Fencing token: the store accepts a result of the latest attempt only.
        features: The features if they are small; None if they are in the blob storage.
    """

    task: TaskRow
    attempt: int
    features: bytes | None = field(default=None, repr=False)


@define(frozen=True, kw_only=True)
class NewFile:
    """An output file of a run.

    Attributes:
        name: Its name, in which `/` separates directories.
        size: Its size, in bytes.
        sha256: SHA-256 of its content, in hex.
        media_type: Its media type.
        data: The content if it is small; None if it is in the blob storage.
    """

    name: str
    size: int
    sha256: str
    media_type: str
    data: bytes | None = field(default=None, repr=False)


@define(frozen=True, kw_only=True)
class TaskFile:
    """An output file in the store; see `NewFile`.

    Attributes:
        job_id: The task.
        attempt: The run that made it.
        position: Its number among the files of the run, from 0.
        is_blob: Whether its content is in the blob storage.
    """

    job_id: str
    attempt: int
    position: int
    name: str
    size: int
    sha256: str
    media_type: str
    is_blob: bool


@define(frozen=True, kw_only=True)
class RunOutcome:
    """The outcome of a run.

    Attributes:
        success: Whether there are results.
        error: The error if there are none.
        result_offsets: Start and end of each member in the results, in bytes.
        nulls_written: Number of NaN and infinite values that were written as null.
        progress: The last reported progress.
        results: The results if they are small; None if there are none or they are in the blob storage.
        trained_version: A new version of the algorithm, and the registered version that uses its model; None for none.
        size: Size of the results, in bytes.
        model_size: Size of the new version's model, in bytes.
        output_attempt: The number of the run, if it has output files that the store knows; None without any.
        output_size: Size of the output files, in bytes.
    """

    success: bool
    error: str | None = None
    result_offsets: dict[str, list[int]] | None = None
    nulls_written: int = 0
    progress: dict[str, Any] | None = None
    results: bytes | None = field(default=None, repr=False)
    trained_version: tuple[str, str] | None = None
    size: int = 0
    model_size: int = 0
    output_attempt: int | None = None
    output_size: int = 0


@define(frozen=True, kw_only=True)
class TrainedVersion:
    """A version of an algorithm that a training created.

    Attributes:
        base: The registered version that uses the model.
        job_id: The training.
        attempt: Number of the run that created it; the name of the model's blob has both.
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
    """An ended task without pending deliveries.

    Attributes:
        attempt: The number of its runs.
        has_blobs: Whether its results are in the blob storage.
    """

    job_id: str
    attempt: int
    has_blobs: bool


@define(frozen=True, kw_only=True)
class DeliveryClaim:
    """A worker's claim of one attempt of a delivery.

    Attributes:
        delivery_id: Stable over all attempts.
        url: The target's URL without credentials.
        host: The host of the URL.
        origin: Scheme, host and port of the URL; see `targets.hosts.origin`.
        host_is_known: Whether the host has failed, is limited, or has held deliveries.
        may_be_disabled: Whether a webhook of this URL, without its query, is disabled.
        encrypted_target: The target with its credentials, encrypted; see `DeliveryStore.open`.
        events: The events that the target subscribes to, as they are stored.
        job_id: The task.
        owner: Id of its user, whose secrets sign webhooks.
        attempt: The number of the attempt, from 1; not of the task's run, see `run`.
        since_redelivery: The number of the attempt since the last redelivery was requested.
        run: The number of the run that wrote the results.
        result: The outcome of the task, without its results.
        results: The results if they are small; None if there are none or they are in the blob storage.
        nulls_written: Number of NaN and infinite values that were written as null.
        traceparent: The trace that the task belongs to.
        output_name: The output file that the target is for; None for the document.
        staged: Whether other deliveries of the task wait for this one.
        has_outputs: Whether the task has output files.
        in_batch: Whether a target waits for the end of the task's batch.
    """

    delivery_id: str
    url: str
    host: str
    origin: str
    host_is_known: bool
    may_be_disabled: bool
    encrypted_target: str = field(repr=False)
    job_id: str
    owner: str
    attempt: int
    since_redelivery: int
    run: int
    result: JobResult
    results: bytes | None = field(default=None, repr=False)
    nulls_written: int
    events: str | None = None
    traceparent: str | None = None
    output_name: str | None = None
    staged: bool = False
    has_outputs: bool = False
    in_batch: bool = False


@define(frozen=True, kw_only=True)
class HostOutcome:
    """What an attempt has shown of its host.

    Attributes:
        origin: Scheme, host and port.
        is_available: Whether the host works; None if the attempt has shown nothing.
        retry_after: Seconds that the host asked for; 0 for none.
        error: The error's text, without credentials; None without one.
    """

    origin: str
    is_available: bool | None
    retry_after: float = 0.0
    error: str | None = None


@define(frozen=True, kw_only=True)
class DeliveringWorker:
    """A worker that ends a task and delivers its result at once.

    Attributes:
        worker: Name of the process.
        free_slots: Number of deliveries that it can start at once.
    """

    worker: str
    free_slots: int


@define(frozen=True, kw_only=True)
class DueDeliveries:
    """The due deliveries of a task that was just ended.

    Attributes:
        claims: Deliveries that are already claimed for the sender.
        due: Id and host of the other deliveries.
    """

    claims: Sequence[DeliveryClaim] = ()
    due: Sequence[tuple[str, str]] = ()


USER = "user"
OPERATOR = "operator"
"""Roles of users."""


@define(frozen=True, kw_only=True)
class User:
    """An account that may submit tasks.

    Attributes:
        token_generation: Incremented to revoke all access tokens.
        password_hash: An Argon2 hash; None for users with API tokens only.
        created_at: Seconds since 1970 in UTC.
        role: `"user"`, or `"operator"`, who sees and manages the tasks of all users.
        may_read: Whether an operator may read the results of other users' tasks, and send them elsewhere.
    """

    user_id: str
    name: str
    token_generation: int
    disabled: bool
    password_hash: str | None = field(default=None, repr=False)
    created_at: float
    role: str = USER
    may_read: bool = False


@define(frozen=True, kw_only=True)
class AuditEntry:
    """An entry of the audit log.

    Attributes:
        entry_id: Increases with each entry.
        at: Seconds since 1970 in UTC.
        action: Name of the event.
        actor: Name of the user who acted; None for commands on the machine of the service.
        owner: Name of the user whose task or account it was; None for what belongs to nobody.
        job_id: The task; None without one.
        via: `"api"`, `"pages"`, `"command"` or `"serve"`.
        address: Address of the client; None if there is none.
        facts: Further facts, without credentials.
    """

    entry_id: int
    at: float
    action: str
    actor: str | None = None
    owner: str | None = None
    job_id: str | None = None
    via: str | None = None
    address: str | None = None
    facts: dict[str, Any] = field(factory=dict)


@define(frozen=True, kw_only=True)
class SigningSecret:
    """A secret that signs the webhooks of a user's tasks, without its value.

    Attributes:
        scheme: `"v1"` (HMAC-SHA256) or `"v1a"` (Ed25519).
        public_key: The public key, for receivers; None for `v1`.
        created_at: Seconds since 1970 in UTC.
        expires_at: When it stops signing, because a newer one has replaced it; None before.
    """

    secret_id: str
    scheme: Scheme
    public_key: str | None
    created_at: float
    expires_at: float | None
