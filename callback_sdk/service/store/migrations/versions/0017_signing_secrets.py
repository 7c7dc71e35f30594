"""Each user has signing secrets of webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Create the table. Webhooks of existing users are unsigned until they have a secret."""
    op.create_table(
        "signing_secrets",
        sa.Column("secret_id", sa.String(32), primary_key=True),
        sa.Column("user_id", sa.String(64), sa.ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False),
        sa.Column("scheme", sa.String(8), nullable=False),
        sa.Column("public_key", sa.Text),
        sa.Column("encrypted_secret", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
    )
    op.create_index("signing_secrets_by_user", "signing_secrets", ["user_id", "created_at"])
