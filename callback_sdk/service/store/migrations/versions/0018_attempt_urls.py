"""Each attempt has the URL of its target, which may be replaced afterwards."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Add the column."""
    op.add_column("delivery_attempts", sa.Column("url", sa.Text()))
