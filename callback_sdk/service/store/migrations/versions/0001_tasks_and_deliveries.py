"""Tasks and deliveries of one machine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Create the tables."""
    op.create_table(
        "tasks",
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
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("losses", sa.Integer, nullable=False),
        sa.Column("spans", sa.JSON),
        sa.Column("nulled", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
    )
    op.create_index("tasks_by_status", "tasks", ["status", "created_at"])
    op.create_table(
        "deliveries",
        sa.Column("delivery_id", sa.String(64), primary_key=True),
        sa.Column("job_id", sa.String(64), sa.ForeignKey("tasks.job_id", ondelete="CASCADE"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("param", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", sa.Double),
        sa.Column("claimed", sa.Boolean, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("receipt", sa.JSON),
    )
    op.create_index("deliveries_by_task", "deliveries", ["job_id", "position"])
    op.create_index("deliveries_due", "deliveries", ["state", "claimed", "next_attempt_at"])
