"""The tables of the store. Times are seconds since 1970 in UTC, which every database compares alike."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("job_id", sa.String(64), primary_key=True),
    sa.Column("algorithm", sa.String(128), nullable=False),
    sa.Column("version", sa.String(128), nullable=False),
    sa.Column("features_format", sa.String(16), nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("evaluate", sa.JSON, nullable=False),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("success", sa.Boolean),
    sa.Column("error", sa.Text),
    sa.Column("progress", sa.JSON),
    # Raised by every claim and never lowered: it tells a run that lost its claim from the one that has it.
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    # Runs whose process died under them. A run that an orderly stop broke off is not among them.
    sa.Column("losses", sa.Integer, nullable=False, default=0),
    # Where predictions, evaluations and monitors lie in the file of results: {"name": [start, stop]}.
    sa.Column("spans", sa.JSON),
    sa.Column("nulled", sa.Integer, nullable=False, default=0),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Index("tasks_by_status", "status", "created_at"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("delivery_id", sa.String(64), primary_key=True),
    sa.Column("job_id", sa.ForeignKey("tasks.job_id", ondelete="CASCADE"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    # {"url", "param"} with its credentials; nothing outside the store reads this column.
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("param", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    # Null until the task has ended, and again when there is nothing left to do.
    sa.Column("next_attempt_at", sa.Double),
    sa.Column("claimed", sa.Boolean, nullable=False, default=False),
    sa.Column("last_error", sa.Text),
    sa.Column("receipt", sa.JSON),
    sa.Index("deliveries_by_task", "job_id", "position"),
    sa.Index("deliveries_due", "state", "claimed", "next_attempt_at"),
)
