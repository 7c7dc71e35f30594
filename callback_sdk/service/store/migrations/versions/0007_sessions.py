"""Sessions of the web UI and of refresh tokens. Users have to log in again after the migration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Create the table."""
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.String(32), primary_key=True),
        sa.Column("user_id", sa.String(64), sa.ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False),
        sa.Column("current_token", sa.String(32)),
        sa.Column("previous_token", sa.String(32)),
        sa.Column("rotated_at", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.create_index("sessions_by_user", "sessions", ["user_id"])
    op.create_index("sessions_by_end", "sessions", ["expires_at"])
