"""Operators, who see and manage the tasks of all users, and the audit log of what they do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Add the columns, the table and the indexes. The oldest user becomes an operator who can't read results."""
    op.add_column("users", sa.Column("role", sa.String(16), nullable=False, server_default="user"))
    op.add_column("users", sa.Column("may_read", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE users SET role = 'operator' "
        "WHERE user_id = (SELECT user_id FROM users ORDER BY created_at, user_id LIMIT 1)"
    )
    _create_audit()
    op.create_index("tasks_by_creation", "tasks", ["created_at", "job_id"])
    dead = sa.text("status = 'dead'")
    op.drop_index("deliveries_dead", "deliveries")
    op.create_index("deliveries_dead", "deliveries", ["status", "host"], sqlite_where=dead, postgresql_where=dead)


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("actor", sa.String(128)),
        sa.Column("owner", sa.String(128)),
        sa.Column("job_id", sa.String(64)),
        sa.Column("via", sa.String(16)),
        sa.Column("address", sa.String(64)),
        sa.Column("facts", sa.JSON, nullable=False),
    )
    op.create_index("audit_by_time", "audit", ["at"])
    for name, column in (("audit_by_actor", "actor"), ("audit_by_owner", "owner"), ("audit_by_task", "job_id")):
        op.create_index(name, "audit", [column, "entry_id"])
