"""Celery workers report the states of their processes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Create the table."""
    op.create_table(
        "worker_states",
        sa.Column("name", sa.String(160), primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("problem", sa.Text()),
        sa.Column("reported_at", sa.Double(), nullable=False),
    )
