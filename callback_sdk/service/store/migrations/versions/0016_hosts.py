"""Hosts have circuits and limits, deliveries are held while their hosts take none, and alerts are sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import SecretURL
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.targets.hosts import origin

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_AT_ONCE = 1000
"""Deliveries in memory at a time."""

_DELIVERIES = sa.table("deliveries", sa.column("delivery_id"), sa.column("url"), sa.column("origin"))


def upgrade(cipher: CredentialCipher) -> None:
    """Create the tables, and add the columns. Deliveries get the origins of their URLs."""
    op.create_table(
        "hosts",
        sa.Column("host", sa.String(320), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("openings", sa.Integer, nullable=False, server_default="0"),
        sa.Column("open_since", sa.Double),
        sa.Column("retry_at", sa.Double),
        sa.Column("recovered", sa.Integer),
        sa.Column("last_error", sa.Text),
        sa.Column("failed_at", sa.Double),
        sa.Column("paused_at", sa.Double),
        sa.Column("paused_by", sa.String(128)),
        sa.Column("max_concurrency", sa.Integer),
        sa.Column("max_rate", sa.Double),
        sa.Column("next_slot_at", sa.Double, nullable=False, server_default="0"),
        sa.Column("wake_at", sa.Double),
    )
    _partial("hosts_by_wake", "hosts", ["wake_at"], "wake_at IS NOT NULL")
    op.create_table(
        "disabled_webhooks",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("shown_url", sa.Text, nullable=False),
        sa.Column("host", sa.String(320), nullable=False),
        sa.Column("disabled_at", sa.Double, nullable=False),
    )
    op.create_index("disabled_webhooks_by_url", "disabled_webhooks", ["shown_url"])
    op.create_table(
        "alerts", sa.Column("name", sa.String(400), primary_key=True), sa.Column("state", sa.JSON, nullable=False)
    )
    op.create_table(
        "alert_messages",
        sa.Column("message_id", sa.String(64), primary_key=True),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.add_column("deliveries", sa.Column("origin", sa.String(320), nullable=False, server_default=""))
    op.add_column("deliveries", sa.Column("held_since", sa.Double))
    op.add_column("deliveries", sa.Column("held_until", sa.Double))
    op.drop_index("deliveries_due", "deliveries")
    is_due = "next_attempt_at IS NOT NULL AND held_since IS NULL"
    _partial("deliveries_due", "deliveries", ["next_attempt_at"], is_due)
    _partial("deliveries_held", "deliveries", ["origin", "next_attempt_at"], "held_since IS NOT NULL")
    _partial("deliveries_held_until", "deliveries", ["held_until"], "held_until IS NOT NULL")
    _fill_origins(op.get_bind())


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


def _fill_origins(connection: sa.Connection) -> None:
    update = (
        _DELIVERIES.update()
        .where(_DELIVERIES.c.delivery_id == sa.bindparam("_delivery"))
        .values(origin=sa.bindparam("_origin"))
    )
    for found in _batches(connection):
        connection.execute(update, [{"_delivery": row.delivery_id, "_origin": _origin(row.url)} for row in found])


def _batches(connection: sa.Connection) -> Iterator[Any]:
    last = ""
    while True:
        some = sa.select(_DELIVERIES.c.delivery_id, _DELIVERIES.c.url).where(_DELIVERIES.c.delivery_id > last)
        found = connection.execute(some.order_by(_DELIVERIES.c.delivery_id).limit(_AT_ONCE)).all()
        if not found:
            return
        yield found
        last = found[-1].delivery_id


def _origin(url: str) -> str:
    try:
        return origin(SecretURL(url))
    except InvalidTargetError:
        # Accepted by an earlier version. Its delivery fails without a request.
        return ""
