"""Users, leases, priorities, attempts, small payloads in the database, and encrypted credentials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from callback_sdk.redaction import Secret
from callback_sdk.service.store.cipher import CredentialCipher

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The user whose token the service keeps in its data directory: all earlier tasks were made with that token.
_FIRST_USER = "admin"

_AT_ONCE = 1000
"""Targets in memory at a time."""


def upgrade(cipher: CredentialCipher) -> None:
    """Create the new tables, and migrate tasks and deliveries.

    Columns are added and dropped in place. SQLite makes other changes by copying a table and dropping the old one, and
    the drop would delete the deliveries by the cascade of their foreign keys.
    """
    _make_tables()
    _widen_tasks()
    _widen_deliveries()
    _encrypt(cipher)


def _make_tables() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False, unique=True),
        sa.Column("password", sa.Text),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("user_id", sa.String(64), sa.ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False),
        sa.Column("label", sa.String(128), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("tokens_by_user", "tokens", ["user_id"])
    op.create_table(
        "contents",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("tasks.job_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "tries",
        sa.Column(
            "delivery_id", sa.String(64), sa.ForeignKey("deliveries.delivery_id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sa.Column("error", sa.Text),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("job_ids", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["created_at"])
    op.create_table(
        "seals", sa.Column("name", sa.String(64), primary_key=True), sa.Column("sealed", sa.Text, nullable=False)
    )


def _widen_tasks() -> None:
    for column in (
        sa.Column("owner", sa.String(64), nullable=False, server_default=_FIRST_USER),
        sa.Column("kind", sa.String(16), nullable=False, server_default="predict"),
        sa.Column("priority", sa.Integer, nullable=False, server_default="5"),
        sa.Column("worker", sa.String(128)),
        sa.Column("beat_at", sa.Double),
        sa.Column("sent_at", sa.Double),
    ):
        op.add_column("tasks", column)
    op.drop_index("tasks_by_status", "tasks")
    urgent = sa.text("priority DESC")
    op.create_index("tasks_waiting", "tasks", ["status", urgent, "created_at"])
    op.create_index("tasks_waiting_by_algorithm", "tasks", ["status", "algorithm", urgent, "created_at"])
    op.create_index("tasks_by_owner", "tasks", ["owner", "created_at", "job_id"])
    op.create_index("tasks_by_owner_and_status", "tasks", ["owner", "status", "created_at"])
    op.create_index("tasks_by_worker", "tasks", ["worker"])


def _widen_deliveries() -> None:
    for column in (
        sa.Column("attempts_before", sa.Integer, nullable=False, server_default="0"),
        sa.Column("worker", sa.String(128)),
        sa.Column("beat_at", sa.Double),
        sa.Column("sent_at", sa.Double),
    ):
        op.add_column("deliveries", column)
    op.drop_index("deliveries_due", "deliveries")
    op.drop_column("deliveries", "claimed")
    op.create_index("deliveries_due", "deliveries", ["state", "next_attempt_at"])
    op.create_index("deliveries_by_worker", "deliveries", ["worker"])


class _Plain(sa.TypeDecorator[Secret[str]]):
    """A credential in plain text, wrapped in `Secret` when it is read."""

    impl = sa.Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Secret[str]:
        return Secret(value or "")


def _encrypt(cipher: CredentialCipher) -> None:
    plain = sa.table("deliveries", sa.column("delivery_id"), sa.column("target", _Plain()))
    sealed = sa.table("deliveries", sa.column("delivery_id"), sa.column("target", sa.Text))
    update = sealed.update().where(sealed.c.delivery_id == sa.bindparam("one"))
    connection, last = op.get_bind(), ""
    while True:
        some = sa.select(plain.c.delivery_id, plain.c.target).where(plain.c.delivery_id > last)
        found = connection.execute(some.order_by(plain.c.delivery_id).limit(_AT_ONCE)).all()
        if not found:
            return
        encrypted = [{"one": row.delivery_id, "target": cipher.encrypt(row.target)} for row in found]
        connection.execute(update, encrypted)
        last = found[-1].delivery_id
