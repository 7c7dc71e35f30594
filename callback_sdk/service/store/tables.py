"""The tables of the store, as the newest migration leaves them.

Times are seconds since 1970 in UTC, by the database's clock: see `clock.now`.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()


def _partial(name: str, *columns: str, where: str) -> sa.Index:
    """Define a partial index: rows that don't match its condition add no cost to writes and queries."""
    return sa.Index(name, *columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _index_of_failed(name: str, *columns: str) -> sa.Index:
    """Define an index of tasks without a result. With `success` as a column, or SQLite prefers other indexes."""
    return sa.Index(name, *columns, sqlite_where=sa.text("success IS 0"), postgresql_where=sa.text("success IS false"))


users = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False, unique=True),
    # An Argon2 hash; null for users with API tokens only.
    sa.Column("password_hash", sa.Text),
    # Incremented to revoke all access tokens of the user.
    sa.Column("token_generation", sa.Integer, nullable=False, default=0),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
    # "user", or "operator", who sees and manages the tasks of all users.
    sa.Column("role", sa.String(16), nullable=False, server_default="user"),
    # Whether an operator may read the results of other users' tasks, and send them elsewhere.
    sa.Column("may_read", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("created_at", sa.Double, nullable=False),
)

tokens = sa.Table(
    "tokens",
    metadata,
    # SHA-256 of the API token. The token itself is not stored. It is random, so that no slow hash is needed.
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False),
    sa.Column("label", sa.String(128), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Index("tokens_by_user", "user_id"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("session_id", sa.String(32), primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False),
    # Ids of refresh tokens; null for sessions of the web pages, which have none.
    sa.Column("current_token", sa.String(32)),
    # The previous token stays valid for a short time, because the response with the current one may have been lost.
    sa.Column("previous_token", sa.String(32)),
    sa.Column("rotated_at", sa.Double),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Index("sessions_by_user", "user_id"),
    sa.Index("sessions_by_end", "expires_at"),
)

signing_secrets = sa.Table(
    "signing_secrets",
    metadata,
    # Secrets that sign the webhooks of a user's tasks, encrypted; see `cipher`.
    sa.Column("secret_id", sa.String(32), primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False),
    # "v1" or "v1a"; only the latter has a public key.
    sa.Column("scheme", sa.String(8), nullable=False),
    sa.Column("public_key", sa.Text),
    sa.Column("encrypted_secret", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    # Set when a newer secret replaces it; null before.
    sa.Column("expires_at", sa.Double),
    sa.Index("signing_secrets_by_user", "user_id", "created_at"),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("job_id", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("algorithm", sa.String(128), nullable=False),
    sa.Column("version", sa.String(128), nullable=False),
    sa.Column("features_format", sa.String(16), nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("evaluate", sa.JSON, nullable=False),
    sa.Column("options", sa.JSON, nullable=False),
    # 0 to 9; higher priorities run first.
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("success", sa.Boolean),
    sa.Column("error", sa.Text),
    # The kind of the error, for programs: "expired"; null for all others.
    sa.Column("error_code", sa.String(32)),
    sa.Column("progress", sa.JSON(none_as_null=True)),
    # Fencing token: incremented by every claim, so that a run that lost its claim can't overwrite a newer result.
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    # Runs whose process died. Runs interrupted by an orderly shutdown don't count.
    sa.Column("crash_count", sa.Integer, nullable=False, default=0),
    # The worker that has the claim, and its last heartbeat.
    sa.Column("worker", sa.String(128)),
    sa.Column("heartbeat_at", sa.Double),
    # When the id was last given to an engine, which may have lost it.
    sa.Column("dispatched_at", sa.Double),
    # Byte offsets of predictions, evaluations and monitors in the results: {"name": [start, stop]}.
    sa.Column("result_offsets", sa.JSON(none_as_null=True)),
    sa.Column("nulls_written", sa.Integer, nullable=False, default=0),
    # The run whose output files belong to the task; null without any. See `output_files`.
    sa.Column("output_attempt", sa.Integer),
    # Bytes of the features, and of all that counts towards the owner's quota; see `usage`.
    sa.Column("features_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0"),
    # The id of the batch's own task, which tells its target that all tasks of the batch have ended; null without one.
    sa.Column("batch", sa.String(64)),
    sa.Column("created_at", sa.Double, nullable=False),
    # The task isn't started for the first time from then on, and isn't started again once all its targets have expired;
    # null for never. See `expiry`.
    sa.Column("expires_at", sa.Double),
    sa.Column("targets_expire_at", sa.Double),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Index("tasks_by_creation", "created_at", "job_id"),
    # With the owner before the time: the queue jumps from one owner to the next; see `queue`.
    sa.Index("tasks_queued_by_owner", "status", "algorithm", sa.desc("priority"), "owner", "created_at"),
    sa.Index("tasks_by_owner", "owner", "created_at", "job_id"),
    sa.Index("tasks_by_owner_and_status", "owner", "status", "created_at", "job_id"),
    sa.Index("tasks_by_owner_and_algorithm", "owner", "algorithm", "created_at", "job_id"),
    # With the status as a column, or SQLite prefers the other indexes that begin with it.
    _partial("tasks_by_expiry", "status", "expires_at", where="status = 'Pending' AND expires_at IS NOT NULL"),
    _partial(
        "tasks_by_expiry_of_targets",
        "status",
        "targets_expire_at",
        where="status = 'Pending' AND targets_expire_at IS NOT NULL",
    ),
    _index_of_failed("tasks_failed", "success", "created_at", "job_id"),
    _index_of_failed("tasks_failed_by_owner", "owner", "success", "created_at", "job_id"),
    _partial("tasks_by_batch", "batch", where="batch IS NOT NULL"),
    # Whether a batch has any is asked again and again. With the time as a column, or SQLite may prefer the other one.
    _partial("tasks_unfinished_by_batch", "batch", "finished_at", where="batch IS NOT NULL AND finished_at IS NULL"),
    _partial("tasks_by_worker", "worker", where="worker IS NOT NULL"),
    _partial("tasks_by_end", "finished_at", where="finished_at IS NOT NULL"),
)

batches = sa.Table(
    "batches",
    metadata,
    # Batches with a target that is told of their end, until then; see `batches`. The id is the client's.
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("batch_id", sa.String(64), primary_key=True),
    # The id of the task that is inserted at the end, for its delivery.
    sa.Column("job_id", sa.String(64), nullable=False, unique=True),
    sa.Column("algorithm", sa.String(128), nullable=False),
    sa.Column("encrypted_target", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("origin", sa.String(320), nullable=False),
    # Whether requests with further tasks follow.
    sa.Column("is_open", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    # Time of the last request; null for the first one of earlier versions.
    sa.Column("requested_at", sa.Double),
)

storage = sa.Table(
    "storage",
    metadata,
    # Bytes that a user takes, in several rows to avoid lock contention; see `usage`.
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("shard", sa.Integer, primary_key=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)

trained_versions = sa.Table(
    "trained_versions",
    metadata,
    # Trained versions, private to the user that trained them. The model is a blob named after the run.
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("algorithm", sa.String(128), primary_key=True),
    sa.Column("version", sa.String(128), primary_key=True),
    # The registered version whose functions use the model.
    sa.Column("base", sa.String(128), nullable=False),
    sa.Column("job_id", sa.String(64), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Index("trained_versions_by_task", "job_id"),
)

task_payloads = sa.Table(
    "task_payloads",
    metadata,
    # Features and results that are too small for blob storage; see `blobs.INLINE`.
    sa.Column("job_id", sa.ForeignKey("tasks.job_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.String(16), primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

task_output = sa.Table(
    "task_output",
    metadata,
    # Pieces of the last run's output; see `output`. The position counts from the first byte that the run printed.
    sa.Column("job_id", sa.ForeignKey("tasks.job_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

outputs = sa.Table(
    "outputs",
    metadata,
    # Output files, inserted before the task ends. They belong to it if `output_attempt` is their run's number.
    sa.Column("job_id", sa.ForeignKey("tasks.job_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("media_type", sa.String(255), nullable=False),
    # Null if the file is a blob, because it is too large for the database; see `blobs.INLINE`.
    sa.Column("data", sa.LargeBinary),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("delivery_id", sa.String(64), primary_key=True),
    sa.Column("job_id", sa.ForeignKey("tasks.job_id", ondelete="CASCADE"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    # The output file that the target is for; null for the document.
    sa.Column("output_name", sa.Text),
    # Deliveries of a higher stage become due when all those of lower ones are delivered or dead; see `stages`.
    sa.Column("stage", sa.Integer, nullable=False, server_default="0"),
    # The events that the target subscribes to, separated by commas; null for the result only. See `subscriptions`.
    sa.Column("events", sa.String(64)),
    # {"url", "param"} with its credentials, encrypted; see `cipher`. `callback_param` may hold credentials too.
    sa.Column("encrypted_target", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    # Scheme, host and port, which circuits and limits are for; see `hosts`.
    sa.Column("origin", sa.String(320), nullable=False, server_default=""),
    sa.Column("status", sa.String(16), nullable=False),
    # All attempts; also the fencing token: the number of the attempt that has the claim.
    sa.Column("attempt_count", sa.Integer, nullable=False, default=0),
    # Attempts before the last redelivery, which restarts the backoff.
    sa.Column("attempts_before_redelivery", sa.Integer, nullable=False, default=0),
    # Null until the task has ended, and when the delivery is delivered or dead.
    sa.Column("next_attempt_at", sa.Double),
    sa.Column("worker", sa.String(128)),
    sa.Column("heartbeat_at", sa.Double),
    sa.Column("dispatched_at", sa.Double),
    # Since when a due delivery waits for its host; null if it doesn't. See `host_gates`.
    sa.Column("held_since", sa.Double),
    # When the target expires; null for never. Only set while the delivery is held.
    sa.Column("held_until", sa.Double),
    sa.Column("last_error", sa.Text),
    sa.Column("receipt", sa.JSON(none_as_null=True)),
    sa.Index("deliveries_by_task", "job_id", "position"),
    # Without held deliveries: any number of them costs the query of due ones nothing.
    _partial("deliveries_due", "next_attempt_at", where="next_attempt_at IS NOT NULL AND held_since IS NULL"),
    _partial("deliveries_held", "origin", "next_attempt_at", where="held_since IS NOT NULL"),
    _partial("deliveries_held_until", "held_until", where="held_until IS NOT NULL"),
    _partial("deliveries_dead", "status", "host", where="status = 'dead'"),
    _partial("deliveries_by_worker", "worker", where="worker IS NOT NULL"),
)

delivery_attempts = sa.Table(
    "delivery_attempts",
    metadata,
    sa.Column("delivery_id", sa.ForeignKey("deliveries.delivery_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    # Of the target, without credentials; null for attempts of earlier versions.
    sa.Column("url", sa.Text),
    sa.Column("started_at", sa.Double, nullable=False),
    # Null while the attempt runs, and forever if its process died.
    sa.Column("finished_at", sa.Double),
    sa.Column("error", sa.Text),
    # The beginning of the body of an error response, without credentials.
    sa.Column("response_body", sa.Text),
    _partial("delivery_attempts_by_end", "finished_at", where="finished_at IS NOT NULL"),
)

audit = sa.Table(
    "audit",
    metadata,
    # Increasing, so that entries of the same time have an order.
    sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("action", sa.String(32), nullable=False),
    # Name of the user who acted; null for commands on the machine of the service.
    sa.Column("actor", sa.String(128)),
    # Name of the user whose task or account it was; null for what belongs to nobody.
    sa.Column("owner", sa.String(128)),
    sa.Column("job_id", sa.String(64)),
    # "api", "pages", "command" or "serve", and the client's address.
    sa.Column("via", sa.String(16)),
    sa.Column("address", sa.String(64)),
    # Further facts, without credentials.
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Index("audit_by_time", "at"),
    sa.Index("audit_by_actor", "actor", "entry_id"),
    sa.Index("audit_by_owner", "owner", "entry_id"),
    sa.Index("audit_by_task", "job_id", "entry_id"),
)

hosts = sa.Table(
    "hosts",
    metadata,
    # Hosts that fail, are paused or limited, or have held deliveries: scheme, host and port. See `host_gates`.
    sa.Column("host", sa.String(320), primary_key=True),
    # The circuit; see `concurrency.circuit`.
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("openings", sa.Integer, nullable=False, server_default="0"),
    sa.Column("open_since", sa.Double),
    sa.Column("retry_at", sa.Double),
    sa.Column("recovered", sa.Integer),
    # The last transient failure, without credentials.
    sa.Column("last_error", sa.Text),
    sa.Column("failed_at", sa.Double),
    sa.Column("paused_at", sa.Double),
    # Name of the user who paused it; null for a command on the machine of the service.
    sa.Column("paused_by", sa.String(128)),
    # Limits of this host in place of those of the settings.
    sa.Column("max_concurrency", sa.Integer),
    sa.Column("max_rate", sa.Double),
    sa.Column("next_slot_at", sa.Double, nullable=False, server_default="0"),
    # When its held deliveries are looked at again; null without any, and while it is paused.
    sa.Column("wake_at", sa.Double),
    _partial("hosts_by_wake", "wake_at", where="wake_at IS NOT NULL"),
)

disabled_webhooks = sa.Table(
    "disabled_webhooks",
    metadata,
    # Webhooks that responded with 410 Gone: SHA-256 of the URL, which may have credentials, and the URL without them.
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("shown_url", sa.Text, nullable=False),
    sa.Column("host", sa.String(320), nullable=False),
    sa.Column("disabled_at", sa.Double, nullable=False),
    sa.Index("disabled_webhooks_by_url", "shown_url"),
)

alerts = sa.Table(
    "alerts",
    metadata,
    # Alerts that fire, or were resolved lately; see `service.alerts`.
    sa.Column("name", sa.String(400), primary_key=True),
    sa.Column("state", sa.JSON, nullable=False),
)

alert_messages = sa.Table(
    "alert_messages",
    metadata,
    # Messages that the receiver of alerts doesn't have yet. The id is the same in each attempt.
    sa.Column("message_id", sa.String(64), primary_key=True),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    # What only one of several processes does, and which one.
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("holder", sa.String(128), nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
)

worker_states = sa.Table(
    "worker_states",
    metadata,
    # Processes of Celery workers, which their supervisors report.
    sa.Column("name", sa.String(160), primary_key=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("problem", sa.Text),
    sa.Column("reported_at", sa.Double, nullable=False),
)

workers = sa.Table(
    "workers",
    metadata,
    # Processes that can claim tasks, embedded in a service or of a Celery worker.
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("package_version", sa.String(64), nullable=False),
    sa.Column("algorithms", sa.JSON, nullable=False),
    # Number of tasks that it runs at the same time.
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("heartbeat_at", sa.Double, nullable=False),
    # The newest revision of the schema that it knows; null for versions before 0024.
    sa.Column("revision", sa.String(32)),
)

paused_algorithms = sa.Table(
    "paused_algorithms",
    metadata,
    # Algorithms whose queued tasks are not started.
    sa.Column("algorithm", sa.String(128), primary_key=True),
    # Whether new tasks are accepted, and queued.
    sa.Column("is_accepted", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("paused_by", sa.String(128), nullable=False),
    sa.Column("paused_at", sa.Double, nullable=False),
)

delivered_outputs = sa.Table(
    "delivered_outputs",
    metadata,
    # Output files that earlier attempts of a delivery have stored: receipt, and entry of the document.
    sa.Column("delivery_id", sa.ForeignKey("deliveries.delivery_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("stored", sa.JSON, nullable=False),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    # SHA-256 of the request.
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("job_ids", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    # The batch that the request belongs to, as in `tasks`: the key is kept while the batch is.
    sa.Column("batch", sa.String(64)),
    sa.Index("idempotency_keys_by_age", "created_at"),
)

key_checks = sa.Table(
    "key_checks",
    metadata,
    # A known text encrypted with the newest key: wrong keys are noticed at the start, not at the first delivery.
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("encrypted_value", sa.Text, nullable=False),
)

schema_compatibility = sa.Table(
    "schema_compatibility",
    metadata,
    # The oldest revision whose version of the package works with this schema; see `schema.prepare`.
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("revision", sa.String(32), nullable=False),
)
