"""Receipts name the kind of their target `target_kind`."""

from __future__ import annotations

from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_RECEIPTS = {
    "postgresql": "UPDATE deliveries SET receipt = (receipt::jsonb - 'kind' "
    "|| jsonb_build_object('target_kind', receipt::jsonb -> 'kind'))::json WHERE receipt ->> 'kind' IS NOT NULL",
    "sqlite": "UPDATE deliveries SET receipt = json_set(json_remove(receipt, '$.kind'), "
    "'$.target_kind', json_extract(receipt, '$.kind')) WHERE json_extract(receipt, '$.kind') IS NOT NULL",
}


def upgrade(cipher: CredentialCipher) -> None:
    """Rename the member of stored receipts."""
    op.execute(_RECEIPTS[op.get_bind().dialect.name])
