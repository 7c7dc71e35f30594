"""Storage usage of each user. Of existing tasks, only the payloads in the database count, not their blobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_BYTES = "(SELECT coalesce(sum(length(data)), 0) FROM contents WHERE contents.job_id = tasks.job_id AND name = '{}')"


def upgrade(cipher: CredentialCipher) -> None:
    """Create the table and the columns, and compute the usage."""
    op.create_table(
        "storage",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("shard", sa.Integer, primary_key=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    for name in ("features_bytes", "stored_bytes"):
        op.add_column("tasks", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    features, results = _BYTES.format("features"), _BYTES.format("results")
    # Only rows that change: an update rewrites the whole row, and the other rows may be many and long.
    op.execute(
        f"UPDATE tasks SET features_bytes = {features}, stored_bytes = {features} + {results} "  # noqa: S608
        "WHERE EXISTS (SELECT 1 FROM contents WHERE contents.job_id = tasks.job_id AND name IN ('features', 'results'))"
    )
    op.execute("INSERT INTO storage (owner, shard, bytes) SELECT owner, 0, sum(stored_bytes) FROM tasks GROUP BY owner")
