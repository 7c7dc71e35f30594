"""Failed attempts of deliveries have the beginning of the response's body, and failed tasks are found fast."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Add the column and the indexes. Attempts of earlier versions have no body."""
    op.add_column("delivery_attempts", sa.Column("response_body", sa.Text))
    where: dict[str, Any] = {"sqlite_where": sa.text("success IS 0"), "postgresql_where": sa.text("success IS false")}
    op.create_index("tasks_failed", "tasks", ["success", "created_at", "job_id"], **where)
    op.create_index("tasks_failed_by_owner", "tasks", ["owner", "success", "created_at", "job_id"], **where)
