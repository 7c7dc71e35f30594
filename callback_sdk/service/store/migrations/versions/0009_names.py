"""Names of tables, columns and indexes, renamed as in the code."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.service.store.cipher import CredentialCipher

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TABLES = {
    "contents": "task_payloads",
    "seals": "key_checks",
    "tries": "delivery_attempts",
    "versions": "trained_versions",
}
_COLUMNS = {
    "deliveries": {
        "attempts": "attempt_count",
        "attempts_before": "attempts_before_redelivery",
        "beat_at": "heartbeat_at",
        "sent_at": "dispatched_at",
        "state": "status",
        "target": "encrypted_target",
    },
    "key_checks": {"sealed": "encrypted_value"},
    "tasks": {
        "beat_at": "heartbeat_at",
        "losses": "crash_count",
        "nulled": "nulls_written",
        "sent_at": "dispatched_at",
        "spans": "result_offsets",
    },
    "tokens": {"digest": "token_hash"},
    "users": {"generation": "token_generation", "password": "password_hash"},
}
_CONSTRAINTS = {
    "contents_job_id_fkey": "task_payloads",
    "contents_pkey": "task_payloads",
    "seals_pkey": "key_checks",
    "tries_delivery_id_fkey": "delivery_attempts",
    "tries_pkey": "delivery_attempts",
    "versions_pkey": "trained_versions",
}
"""Names that PostgreSQL generated for constraints, and the renamed tables that they belong to."""

_RECEIPTS = {
    "postgresql": "UPDATE deliveries SET receipt = (receipt::jsonb - 'nulled' "
    "|| jsonb_build_object('nulls_written', receipt::jsonb -> 'nulled'))::json WHERE receipt ->> 'nulled' IS NOT NULL",
    "sqlite": "UPDATE deliveries SET receipt = json_set(json_remove(receipt, '$.nulled'), "
    "'$.nulls_written', json_extract(receipt, '$.nulled')) WHERE json_extract(receipt, '$.nulled') IS NOT NULL",
}


def upgrade(cipher: CredentialCipher) -> None:
    """Rename tables, columns, indexes and constraints, and the member of receipts with the name of a column."""
    dialect = op.get_bind().dialect.name
    _drop_indexes()
    for old, new in _TABLES.items():
        op.rename_table(old, new)
    for table, columns in _COLUMNS.items():
        for old, new in columns.items():
            op.alter_column(table, old, new_column_name=new)
    if dialect == "postgresql":
        for name, table in _CONSTRAINTS.items():
            op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {name} TO {table}_{name.partition('_')[2]}")
    op.execute(_RECEIPTS[dialect])
    _create_indexes()


def _drop_indexes() -> None:
    # SQLite can't rename an index. When a column is renamed, SQLite rewrites the definitions of its indexes with the
    # new name in quotes.
    for name, table in (
        ("deliveries_dead", "deliveries"),
        ("tasks_waiting", "tasks"),
        ("tasks_waiting_by_algorithm", "tasks"),
        ("tries_by_end", "tries"),
        ("versions_by_task", "versions"),
    ):
        op.drop_index(name, table)


def _create_indexes() -> None:
    _partial("deliveries_dead", "deliveries", "status", where="status = 'dead'")
    urgent = sa.text("priority DESC")
    op.create_index("tasks_queued", "tasks", ["status", urgent, "created_at"])
    op.create_index("tasks_queued_by_algorithm", "tasks", ["status", "algorithm", urgent, "created_at"])
    _partial("delivery_attempts_by_end", "delivery_attempts", "finished_at", where="finished_at IS NOT NULL")
    op.create_index("trained_versions_by_task", "trained_versions", ["job_id"])


def _partial(name: str, table: str, column: str, *, where: str) -> None:
    op.create_index(name, table, [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
