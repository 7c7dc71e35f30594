"""Users share the workers, which are listed; algorithms can be paused; older versions may use the schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Create the tables, and replace the indexes of queued tasks."""
    op.create_table(
        "workers",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("package_version", sa.String(64), nullable=False),
        sa.Column("algorithms", sa.JSON(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("heartbeat_at", sa.Double(), nullable=False),
    )
    op.create_table(
        "paused_algorithms",
        sa.Column("algorithm", sa.String(128), primary_key=True),
        sa.Column("is_accepted", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("paused_by", sa.String(128), nullable=False),
        sa.Column("paused_at", sa.Double(), nullable=False),
    )
    op.create_table(
        "schema_compatibility",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("revision", sa.String(32), nullable=False),
    )
    urgent = sa.text("priority DESC")
    op.create_index("tasks_queued_by_owner", "tasks", ["status", "algorithm", urgent, "owner", "created_at"])
    op.drop_index("tasks_queued_by_algorithm", "tasks")
    op.drop_index("tasks_queued", "tasks")
