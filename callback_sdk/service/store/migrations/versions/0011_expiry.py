"""Tasks may expire before they are started."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade(cipher: CredentialCipher) -> None:
    """Add the columns and their indexes. Tasks of earlier versions never expire."""
    op.add_column("tasks", sa.Column("error_code", sa.String(32)))
    for name, index in (("expires_at", "tasks_by_expiry"), ("targets_expire_at", "tasks_by_expiry_of_targets")):
        op.add_column("tasks", sa.Column(name, sa.Double))
        where = sa.text(f"status = 'Pending' AND {name} IS NOT NULL")
        op.create_index(index, "tasks", ["status", name], sqlite_where=where, postgresql_where=where)
