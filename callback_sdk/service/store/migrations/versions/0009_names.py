"""Columns and tables by the names that the code has."""

from __future__ import annotations

from alembic import op

from callback_sdk.service.access.cipher import CredentialCipher

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade(vault: CredentialCipher) -> None:
    """Rename them."""
    op.alter_column("tasks", "nulled", new_column_name="nulls_written")
