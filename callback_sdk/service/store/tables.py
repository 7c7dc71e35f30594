"""The tables of the store, as the newest migration leaves them.

Times are seconds since 1970 in UTC, by the database's clock: see `clock.now`.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()


def _partial(name: str, *columns: str, where: str) -> sa.Index:
    """Make an index of some rows only: all others cost it nothing, and whoever reads it walks past none of them."""
    return sa.Index(name, *columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


users = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False, unique=True),
    # An Argon2 hash; null for who has API tokens only.
    sa.Column("password_hash", sa.Text),
    # Raised when a user's access tokens must no longer count.
    sa.Column("token_generation", sa.Integer, nullable=False, default=0),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", sa.Double, nullable=False),
)

tokens = sa.Table(
    "tokens",
    metadata,
    # SHA-256 of the API token; nobody keeps the token itself.
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
    # It counts for a moment longer: the answer that brought the current one may be lost.
    sa.Column("previous_token", sa.String(32)),
    sa.Column("rotated_at", sa.Double),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Index("sessions_by_user", "user_id"),
    sa.Index("sessions_by_end", "expires_at"),
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
    # 0 to 9; the higher goes first.
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("success", sa.Boolean),
    sa.Column("error", sa.Text),
    sa.Column("progress", sa.JSON(none_as_null=True)),
    # Raised by every claim and never lowered: it tells a run that lost its claim from the one that has it.
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    # Runs whose process died under them. A run that an orderly stop broke off is not among them.
    sa.Column("crash_count", sa.Integer, nullable=False, default=0),
    # Who has the claim, and when it last said that it is alive.
    sa.Column("worker", sa.String(128)),
    sa.Column("heartbeat_at", sa.Double),
    # When an engine was last given the id; it may have lost it since.
    sa.Column("dispatched_at", sa.Double),
    # Where predictions, evaluations and monitors lie in the results: {"name": [start, stop]}.
    sa.Column("result_offsets", sa.JSON(none_as_null=True)),
    sa.Column("nulls_written", sa.Integer, nullable=False, default=0),
    # Bytes of the features, and of all that counts towards its owner's quota now; see `usage`.
    sa.Column("features_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Index("tasks_queued", "status", sa.desc("priority"), "created_at"),
    sa.Index("tasks_queued_by_algorithm", "status", "algorithm", sa.desc("priority"), "created_at"),
    sa.Index("tasks_by_owner", "owner", "created_at", "job_id"),
    sa.Index("tasks_by_owner_and_status", "owner", "status", "created_at", "job_id"),
    sa.Index("tasks_by_owner_and_algorithm", "owner", "algorithm", "created_at", "job_id"),
    _partial("tasks_by_worker", "worker", where="worker IS NOT NULL"),
    _partial("tasks_by_end", "finished_at", where="finished_at IS NOT NULL"),
)

storage = sa.Table(
    "storage",
    metadata,
    # Bytes that a user takes, in several rows; see `usage`.
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("shard", sa.Integer, primary_key=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)

trained_versions = sa.Table(
    "trained_versions",
    metadata,
    # What trainings have made, each for who asked for it. The model is a blob that is named after the run.
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("algorithm", sa.String(128), primary_key=True),
    sa.Column("version", sa.String(128), primary_key=True),
    # The registered version whose functions go on with the model.
    sa.Column("base", sa.String(128), nullable=False),
    sa.Column("job_id", sa.String(64), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Index("trained_versions_by_task", "job_id"),
)

task_payloads = sa.Table(
    "task_payloads",
    metadata,
    # Features and results that are too small to be worth a file of their own; see `blobs.INLINE`.
    sa.Column("job_id", sa.ForeignKey("tasks.job_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.String(16), primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("delivery_id", sa.String(64), primary_key=True),
    sa.Column("job_id", sa.ForeignKey("tasks.job_id", ondelete="CASCADE"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    # {"url", "param"} with its credentials, encrypted; see `cipher`. A parameter of the user's own may be one, too.
    sa.Column("encrypted_target", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    # Of all rounds; also the number of the try that has the claim.
    sa.Column("attempt_count", sa.Integer, nullable=False, default=0),
    # Tries before the round that runs now, which a redelivery begins: its pauses start anew.
    sa.Column("attempts_before_redelivery", sa.Integer, nullable=False, default=0),
    # Null until the task has ended, and again when there is nothing left to do.
    sa.Column("next_attempt_at", sa.Double),
    sa.Column("worker", sa.String(128)),
    sa.Column("heartbeat_at", sa.Double),
    sa.Column("dispatched_at", sa.Double),
    sa.Column("last_error", sa.Text),
    sa.Column("receipt", sa.JSON(none_as_null=True)),
    sa.Index("deliveries_by_task", "job_id", "position"),
    _partial("deliveries_due", "next_attempt_at", where="next_attempt_at IS NOT NULL"),
    _partial("deliveries_dead", "status", where="status = 'dead'"),
    _partial("deliveries_by_worker", "worker", where="worker IS NOT NULL"),
)

delivery_attempts = sa.Table(
    "delivery_attempts",
    metadata,
    sa.Column("delivery_id", sa.ForeignKey("deliveries.delivery_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("started_at", sa.Double, nullable=False),
    # Null while it runs, and for ever when its process died.
    sa.Column("finished_at", sa.Double),
    sa.Column("error", sa.Text),
    _partial("delivery_attempts_by_end", "finished_at", where="finished_at IS NOT NULL"),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    # SHA-256 of what was asked for.
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("job_ids", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Index("idempotency_keys_by_age", "created_at"),
)

key_checks = sa.Table(
    "key_checks",
    metadata,
    # A known text under the newest key: a service with other keys notices at its start, and not at a delivery.
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("encrypted_value", sa.Text, nullable=False),
)
