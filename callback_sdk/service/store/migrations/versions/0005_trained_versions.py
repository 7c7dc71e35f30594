"""Trained versions of algorithms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Create the table."""
    op.create_table(
        "versions",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("algorithm", sa.String(128), primary_key=True),
        sa.Column("version", sa.String(128), primary_key=True),
        sa.Column("base", sa.String(128), nullable=False),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("versions_by_task", "versions", ["job_id"])
