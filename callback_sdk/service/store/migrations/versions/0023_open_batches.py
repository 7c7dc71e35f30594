"""Batches end even if their last request never comes, and their unfinished tasks are found fast."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Add the time of a batch's last request, the batch of an idempotency key, and an index of unfinished tasks."""
    op.add_column("batches", sa.Column("requested_at", sa.Double()))
    op.add_column("idempotency_keys", sa.Column("batch", sa.String(64)))
    is_open = sa.text("batch IS NOT NULL AND finished_at IS NULL")
    where: dict[str, Any] = {"sqlite_where": is_open, "postgresql_where": is_open}
    op.create_index("tasks_unfinished_by_batch", "tasks", ["batch", "finished_at"], **where)
