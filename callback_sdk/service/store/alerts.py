"""Alerts in the store, the message about them that isn't sent yet, and which service sends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.tables import alert_messages, alerts, leases

_LEASE = "alerts"

_INSERT_LEASE = sa.text(
    "INSERT INTO leases (name, holder, expires_at) VALUES (:_name, :_holder, 0) ON CONFLICT (name) DO NOTHING"
)
_UPDATE_LEASE = (
    leases.update()
    .where(
        leases.c.name == sa.bindparam("_name"),
        sa.or_(leases.c.holder == sa.bindparam("_holder"), leases.c.expires_at < now()),
    )
    .values(holder=sa.bindparam("_holder"), expires_at=now() + sa.bindparam("_seconds", type_=sa.Double))
)


class AlertStore:
    """The alerts in a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold_lease(self, holder: str, seconds: float) -> bool:
        """Return whether a service is the one that sends alerts, and stays it.

        Args:
            holder: Name of the service.
            seconds: Time after which another service may take over.
        """
        values = {"_name": _LEASE, "_holder": holder, "_seconds": seconds}

        def hold(connection: sa.Connection) -> bool:
            if connection.execute(_UPDATE_LEASE, values).rowcount:
                return True
            connection.execute(_INSERT_LEASE, {"_name": _LEASE, "_holder": holder})
            return connection.execute(_UPDATE_LEASE, values).rowcount == 1

        return self._database.write(hold)

    def load(self) -> tuple[dict[str, dict[str, Any]], tuple[str, dict[str, Any]] | None]:
        """Return the states of the alerts by name, and id and document of the unsent message."""
        query = sa.select(alert_messages.c.message_id, alert_messages.c.document).order_by(alert_messages.c.created_at)
        with self._database.read() as connection:
            states = {row.name: row.state for row in connection.execute(sa.select(alerts))}
            message = connection.execute(query.limit(1)).first()
        return states, None if message is None else (message.message_id, message.document)

    def save(self, states: Mapping[str, Mapping[str, Any]], message: tuple[str, Mapping[str, Any]] | None) -> None:
        """Replace the alerts and the unsent message, both or none."""

        def replace(connection: sa.Connection) -> None:
            connection.execute(alerts.delete())
            connection.execute(alert_messages.delete())
            if states:
                connection.execute(alerts.insert(), [{"name": name, "state": one} for name, one in states.items()])
            if message is not None:
                connection.execute(
                    alert_messages.insert().values(message_id=message[0], document=message[1], created_at=now())
                )

        self._database.write(replace)
