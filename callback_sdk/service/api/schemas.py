"""Schemas of the requests and responses of the REST API, for validation and for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Status = Literal["Pending", "In Progress", "Finished", "Canceled"]
ErrorCode = Literal["expired"]
StatusFilter = Literal["Pending", "In Progress", "Finished", "Canceled", "succeeded", "failed", "expired"]
"""Statuses of tasks, and outcomes of a finished one: an expired task is among the failed ones too."""

DeliveryState = Literal["dead", "failing", "late", "undelivered", "pending", "delivered"]

TEXT = r"^[^\x00]*$"
"""Text that a query can contain: PostgreSQL rejects the character NUL."""

MAX_REASON = 300
"""Maximum characters of the reason of a pause."""


class ErrorResponse(BaseModel):
    """The reasons for which a request was rejected or failed: a single one in `error`, several in `errors`.

    A 503 has `accepted: false` when it is certain that nothing of the request was accepted.
    """

    status: Literal[False]
    error: str | None = None
    errors: list[str] | None = None
    accepted: Literal[False] | None = None


class LoginRequest(BaseModel):
    """A user's name and password."""

    username: str = Field(max_length=128, pattern=TEXT)
    password: str = Field(max_length=1024, json_schema_extra={"format": "password"})


class TokenPair(BaseModel):
    """An access token for requests, and a refresh token for new access tokens."""

    access: str
    refresh: str


class RefreshRequest(BaseModel):
    """A refresh token."""

    refresh: str = Field(max_length=4096)


class TokenRequest(BaseModel):
    """Any token."""

    token: str = Field(max_length=4096)


class SigningSecretRequest(BaseModel):
    """A new secret that signs webhooks: a generated one of a scheme, or one that receivers already have.

    Earlier secrets of the same scheme sign too for the overlap, in seconds.
    """

    scheme: Literal["v1", "v1a"] = "v1"
    secret: str | None = Field(default=None, max_length=256, json_schema_extra={"format": "password"})
    overlap: float = Field(default=24 * 3600, ge=0, le=90 * 24 * 3600)


class SigningSecretResponse(BaseModel):
    """A secret that signs webhooks, without its value; `expires_at` is set once a newer one has replaced it."""

    id: str
    scheme: Literal["v1", "v1a"]
    public_key: str | None
    created_at: str
    expires_at: str | None


class NewSigningSecret(SigningSecretResponse):
    """A new secret. `secret` is shown only once; it is null for a public key and for a secret that was given."""

    secret: str | None


class SigningSecretList(BaseModel):
    """The secrets that currently sign webhooks, newest first."""

    secrets: list[SigningSecretResponse]


class VersionResponse(BaseModel):
    """One version of an algorithm."""

    version: str
    change_description: str
    results: list[str]
    features_format: list[str]
    output_format: str


class AlgorithmResponse(BaseModel):
    """An algorithm."""

    id: str
    name: str
    description: str
    versions: list[VersionResponse]
    evaluations: list[Any]


class TaskProgress(BaseModel):
    """Progress of a task: a fraction from 0 to 1, if known, and a message."""

    fraction: float | None
    message: str


class DeliveryCountsResponse(BaseModel):
    """The number of deliveries by status."""

    pending: int
    delivered: int
    dead: int


class TaskSummaryResponse(BaseModel):
    """A task in a list."""

    job_id: str
    algorithm: str
    version: str
    kind: Literal["predict", "fit", "batch"]
    status: Status
    success: bool | None
    error: str | None
    error_code: ErrorCode | None
    progress: TaskProgress
    priority: int
    owner: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str | None
    deliveries: DeliveryCountsResponse


class TaskPage(BaseModel):
    """A page of tasks, newest first, and the cursor of the next page; null on the last one."""

    tasks: list[TaskSummaryResponse]
    next_cursor: str | None


class DeliverySummary(BaseModel):
    """The status of a delivery, without its attempts.

    `output` is the output file that it sends, if it sends one. `events` is what the target subscribes to; the delivery
    is skipped if that isn't the result, or not this one.
    """

    url: str
    output: str | None
    events: list[str]
    status: Literal["pending", "delivered", "dead", "skipped"]
    attempt_count: int
    error: str | None


class DeliveryAttemptResponse(BaseModel):
    """One attempt of a delivery; `response_body` is the beginning of the body of an error response."""

    number: int
    url: str | None
    started_at: str
    finished_at: str | None
    error: str | None
    response_body: str | None


class DeliveryResponse(DeliverySummary):
    """The status of a delivery, with all its attempts."""

    delivery_id: str
    next_attempt_at: str | None
    held_since: str | None
    receipt: dict[str, Any] | None
    attempts: list[DeliveryAttemptResponse]


class ListedDeliveryResponse(DeliverySummary):
    """A delivery in a list, with its task: algorithm, owner, and `finished_at`, from when on the result was ready."""

    delivery_id: str
    job_id: str
    algorithm: str
    host: str
    owner: str | None
    next_attempt_at: str | None
    finished_at: str


class DeliveryPage(BaseModel):
    """A page of deliveries of ended tasks, the latest first, and the cursor of the next page; null on the last one."""

    deliveries: list[ListedDeliveryResponse]
    next_cursor: str | None


class RedeliveryRequest(BaseModel, extra="forbid"):
    """Selects deliveries that have not been delivered, as the query of the list does. `status` is required.

    Unknown members are rejected: a filter that is misspelled would redeliver everything.
    """

    status: Literal["dead", "failing", "late", "undelivered"]
    host: str | None = Field(None, max_length=300, pattern=TEXT)
    algorithm: str | None = Field(None, max_length=300, pattern=TEXT)
    user: str | None = Field(None, max_length=300, pattern=TEXT)
    since: str | None = Field(None, max_length=100)
    until: str | None = Field(None, max_length=100)
    error: str | None = Field(None, max_length=300, pattern=TEXT)
    limit: int = Field(100, ge=1, le=500)
    cursor: str | None = Field(None, max_length=300)
    dry_run: bool = False


class SkippedDeliveryResponse(ListedDeliveryResponse):
    """A delivery that no attempt can complete, the URL of its object, if it is one, and what to do."""

    object_url: str | None
    reason: Literal["expired", "unreadable", "invalid"]
    problem: str


class RedeliveryResponse(BaseModel):
    """A page of a bulk redelivery: `total` of all pages, on the first one; and the deliveries that are due by host.

    Of those that are due, `held` wait for a host that is paused or fails.
    """

    total: int | None
    due: int
    held: int = 0
    hosts: dict[str, int]
    skipped: list[SkippedDeliveryResponse]
    next_cursor: str | None


class AuditEntryResponse(BaseModel):
    """An entry of the audit log: who did what, and whose task or account it was."""

    at: str
    action: str
    actor: str | None
    owner: str | None
    job_id: str | None
    via: str | None
    address: str | None
    facts: dict[str, Any]


class AuditPage(BaseModel):
    """A page of the audit log, the newest entries first, and the cursor of the next page; null on the last one."""

    entries: list[AuditEntryResponse]
    next_cursor: str | None


class HostRequest(BaseModel, extra="forbid"):
    """A host: a URL of it, or its name, with or without a port."""

    host: str = Field(max_length=8192, pattern=TEXT)


class HostLimitsRequest(HostRequest):
    """A host, and its limits: deliveries at a time, and per second; null for those of the settings."""

    max_concurrency: int | None = Field(None, ge=1, le=10_000)
    max_rate: float | None = Field(None, ge=1 / 3600, le=1e6, allow_inf_nan=False)


class HostResponse(BaseModel):
    """A host that deliveries go to: its circuit, pause and limits, and the deliveries that wait for it."""

    host: str
    state: Literal["closed", "open", "half-open", "paused"]
    failures: int
    since: str | None
    retry_at: str | None
    paused_by: str | None
    last_error: str | None
    max_concurrency: int | None
    max_rate: float | None
    held: int
    held_since: str | None
    running: int


class DisabledWebhookResponse(BaseModel):
    """A webhook that responded with 410 Gone, so that nothing is sent to it."""

    url: str
    host: str
    since: str


class HostList(BaseModel):
    """Hosts that fail, are paused or limited, or have held deliveries, and disabled webhooks."""

    hosts: list[HostResponse]
    disabled_webhooks: list[DisabledWebhookResponse]


class HostChange(BaseModel):
    """The changed hosts, and the number of webhooks that are enabled again."""

    hosts: list[HostResponse]
    enabled_webhooks: int


class WorkerResponse(BaseModel):
    """A process that runs tasks, with its last heartbeat."""

    name: str
    status: Literal["starting", "idle", "busy", "lost"]
    host: str
    pid: int
    package_version: str
    algorithms: list[str]
    slots: int
    running: int
    started_at: str
    heartbeat_at: str


class PauseRequest(BaseModel, extra="forbid"):
    """How an algorithm is paused: whether new tasks are accepted, and why; an empty reason keeps the earlier one."""

    accept: bool = True
    reason: str = Field("", max_length=MAX_REASON, pattern=TEXT)


class PauseResponse(BaseModel):
    """A paused algorithm."""

    algorithm: str
    accept: bool
    reason: str
    paused_by: str
    paused_at: str


class OutputFileResponse(BaseModel):
    """An output file of a task: its name, in which / separates directories, and its content's size and SHA-256."""

    name: str
    size: int
    sha256: str
    media_type: str


class TaskResponse(BaseModel):
    """A task with all its members; `results_hidden` if the caller may see the task, and not read its results."""

    job_id: str
    status: Status
    success: bool | None
    error: str | None
    error_code: ErrorCode | None
    predictions: Any
    evaluations: Any
    monitors: Any
    callback_param: Any
    progress: TaskProgress
    receipts: list[dict[str, Any]]
    deliveries: list[DeliverySummary]
    outputs: list[OutputFileResponse]
    algorithm: str
    version: str
    kind: Literal["predict", "fit", "batch"]
    priority: int
    new_version: str | None
    owner: str | None
    results_hidden: bool
    created_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str | None
    warnings: list[str]


class OutputResponse(BaseModel):
    """New output of a task, the cursor of the next request, and whether the task has ended."""

    text: str
    cursor: str
    ended: bool


class AcceptedResponse(BaseModel):
    """The ids of accepted tasks, in the order of the request, and different warnings of them."""

    job_ids: list[str]
    warnings: list[str]


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe errors of a route, for the OpenAPI document."""
    return {status: {"model": ErrorResponse} for status in statuses}


_FILE = {"type": "string", "format": "binary"}
_TARGETS = {
    "callback_url": {"type": "string", "description": "URL of the target; several URLs are joined by |."},
    "callback_param": {
        "type": "string",
        "description": "JSON: an object, or a list with one object per URL. The members s3_fields, s3_headers, http, "
        "webhook (true or false), refresh and events say how to deliver; the others are a part of the document.",
    },
    "callbacks": {
        "type": "string",
        "description": 'A JSON list of {"url", "param"}, instead of callback_url and callback_param. With a '
        'member "output", the target is for the output file of this name.',
    },
    "subscriber": {
        "type": "string",
        "description": "JSON: an object with successUri, inProgressUri and failedUri, as in OGC API - Processes. These "
        "are further targets, which subscribe to the result, to started and progress, and to failures.",
    },
}


def form(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    """Describe a multipart form, for the OpenAPI document."""
    schema = {"type": "object", "required": list(required), "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


PREDICT_FORM = form(
    (),
    features={
        **_FILE,
        "description": "Parquet, or JSON: a dict of equally long columns, or a list of records. Not needed for an "
        "algorithm that takes only parameters.",
    },
    parameters={**_FILE, "description": "A JSON object."},
    version={"type": "string"},
    evaluate={"type": "string", "description": "true, false, or a JSON object."},
    monitor={"type": "string"},
    compression={"type": "string"},
    priority={"type": "string", "description": "0 to 9; a task of higher priority runs first."},
    expires={"type": "string", "description": "Seconds in which the task must be started; otherwise it fails."},
    **_TARGETS,
)

FIT_FORM = form(
    ("features",),
    **PREDICT_FORM["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"],
    export_new_version={"type": "string", "description": "true or false."},
)

BATCH_FORM = form(
    ("tasks",),
    tasks={
        **_FILE,
        "description": "A JSON list of objects. The member features of an object is the index of its file, or null.",
    },
    features={"type": "array", "items": _FILE, "description": "Parquet or JSON, in the order of the tasks."},
    batch={
        "type": "string",
        "description": "JSON: an object with id, done (a target as in callbacks) and is_last. The target is sent one "
        "document when all tasks of the requests with this id have ended and no delivery of theirs is pending.",
    },
)

REDELIVERY = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "target": {
                            "type": "object",
                            "description": "A new target for this delivery, such as one whose signature has not "
                            "expired. Its param can't change the document.",
                            "properties": {"url": {"type": "string"}, "param": {"type": "object"}},
                            "required": ["url"],
                        }
                    },
                }
            }
        }
    }
}
"""The body of a redelivery, for the OpenAPI document."""
