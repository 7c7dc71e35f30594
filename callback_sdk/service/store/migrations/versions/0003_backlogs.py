"""Indexes whose cost doesn't depend on the number of queued tasks, and indexes for pages by status or algorithm."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Replace indexes."""
    op.drop_index("tasks_by_owner_and_status", "tasks")
    op.create_index("tasks_by_owner_and_status", "tasks", ["owner", "status", "created_at", "job_id"])
    op.create_index("tasks_by_owner_and_algorithm", "tasks", ["owner", "algorithm", "created_at", "job_id"])
    op.drop_index("tasks_by_worker", "tasks")
    _partial("tasks_by_worker", "tasks", "worker", where="worker IS NOT NULL")
    op.drop_index("deliveries_due", "deliveries")
    _partial("deliveries_due", "deliveries", "next_attempt_at", where="next_attempt_at IS NOT NULL")
    _partial("deliveries_dead", "deliveries", "state", where="state = 'dead'")
    op.drop_index("deliveries_by_worker", "deliveries")
    _partial("deliveries_by_worker", "deliveries", "worker", where="worker IS NOT NULL")


def _partial(name: str, table: str, column: str, *, where: str) -> None:
    op.create_index(name, table, [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
