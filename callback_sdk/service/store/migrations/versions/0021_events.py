"""Targets subscribe to events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Add the column. Targets of earlier versions subscribe to the result only."""
    op.add_column("deliveries", sa.Column("events", sa.String(64)))
