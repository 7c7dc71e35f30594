"""The output of runs is stored in pieces while they run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Create the table, and move the output of earlier runs to it."""
    op.create_table(
        "task_output",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("tasks.job_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.execute(
        "INSERT INTO task_output (job_id, start, attempt, data) SELECT task_payloads.job_id, 0, tasks.attempt, data "
        "FROM task_payloads JOIN tasks ON tasks.job_id = task_payloads.job_id WHERE task_payloads.name = 'output'"
    )
    op.execute("DELETE FROM task_payloads WHERE name = 'output'")
