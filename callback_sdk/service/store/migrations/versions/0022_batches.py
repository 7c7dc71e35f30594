"""Batches have a target that is told when all of their tasks have ended."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Create the table, and mark the tasks of a batch. Tasks of earlier versions belong to none."""
    op.create_table(
        "batches",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("batch_id", sa.String(64), primary_key=True),
        sa.Column("job_id", sa.String(64), nullable=False, unique=True),
        sa.Column("algorithm", sa.String(128), nullable=False),
        sa.Column("encrypted_target", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("origin", sa.String(320), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
    )
    op.add_column("tasks", sa.Column("batch", sa.String(64)))
    where: dict[str, Any] = {
        "sqlite_where": sa.text("batch IS NOT NULL"),
        "postgresql_where": sa.text("batch IS NOT NULL"),
    }
    op.create_index("tasks_by_batch", "tasks", ["batch"], **where)
