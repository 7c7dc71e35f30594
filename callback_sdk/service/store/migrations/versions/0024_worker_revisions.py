"""Workers report the newest revision that they know, by which services see what they can do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Add the column. It stays null for workers of earlier versions."""
    op.add_column("workers", sa.Column("revision", sa.String(32)))
