"""Indexes of the ends of tasks and attempts, for charts and for finding expired tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Add the indexes."""
    for name, table in (("tasks_by_end", "tasks"), ("tries_by_end", "tries")):
        where = sa.text("finished_at IS NOT NULL")
        op.create_index(name, table, ["finished_at"], sqlite_where=where, postgresql_where=where)
