"""Runs may produce output files, which are stored and delivered with the results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Create the tables, and add the columns. Tasks of earlier versions have no output files."""
    op.create_table(
        "outputs",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("tasks.job_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("media_type", sa.String(255), nullable=False),
        sa.Column("data", sa.LargeBinary),
    )
    op.create_table(
        "delivered_outputs",
        sa.Column(
            "delivery_id",
            sa.String(64),
            sa.ForeignKey("deliveries.delivery_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("stored", sa.JSON, nullable=False),
    )
    op.add_column("tasks", sa.Column("output_attempt", sa.Integer))
    op.add_column("deliveries", sa.Column("output_name", sa.Text))
    op.add_column("deliveries", sa.Column("stage", sa.Integer, nullable=False, server_default="0"))
