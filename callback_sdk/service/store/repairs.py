"""Repair of times in the store that are too far in the future: the database's clock was wrong or was set back."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from callback_sdk.concurrency.circuit import MAX_OPEN
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.tables import deliveries, hosts, tasks
from callback_sdk.transport.retry import MAX_RETRY_AFTER

_LEASE: sa.BindParameter[float] = sa.bindparam("_lease", type_=sa.Double)
_DELAY: sa.BindParameter[float] = sa.bindparam("_delay", type_=sa.Double)


def _repair(column: sa.Column[Any], max_ahead: sa.BindParameter[float], value: Any) -> sa.Update:
    return column.table.update().where(column > now() + max_ahead).values({column.name: value})


_UPDATES_OF_LEASES = (
    # An id with a dispatch time in the future would not be redispatched until then.
    _repair(tasks.c.dispatched_at, _LEASE, None),
    _repair(deliveries.c.dispatched_at, _LEASE, None),
    # The lease of a dead worker would not expire until then; a live worker renews its lease within seconds.
    _repair(tasks.c.heartbeat_at, _LEASE, now()),
    _repair(deliveries.c.heartbeat_at, _LEASE, now()),
)
_MAX_AHEAD = sa.bindparam("_max_ahead", MAX_RETRY_AFTER.total_seconds() + MAX_OPEN, type_=sa.Double)
"""Seconds by which times of hosts may be ahead."""

_UPDATES_OF_HOSTS = (
    _repair(hosts.c.retry_at, _MAX_AHEAD, now()),
    _repair(hosts.c.wake_at, _MAX_AHEAD, now()),
    _repair(hosts.c.next_slot_at, _MAX_AHEAD, now()),
)
# Without held deliveries, as in the index; their times are repaired when they are released.
_UPDATE_NEXT_ATTEMPTS = _repair(deliveries.c.next_attempt_at, _DELAY, now()).where(deliveries.c.held_since.is_(None))


def repair_times(database: Database, *, lease: float, max_delay: float | None = None) -> int:
    """Repair times that are too far in the future.

    Args:
        database: The store's database.
        lease: Seconds by which dispatch and heartbeat times may be ahead.
        max_delay: Maximum delay of the next delivery attempt, in seconds; None to leave these times unchanged.

    Returns:
        The number of repaired times.
    """

    def repair(connection: sa.Connection) -> int:
        count = sum(int(connection.execute(one, {"_lease": lease}).rowcount) for one in _UPDATES_OF_LEASES)
        count += sum(int(connection.execute(one).rowcount) for one in _UPDATES_OF_HOSTS)
        if max_delay is not None:
            count += int(connection.execute(_UPDATE_NEXT_ATTEMPTS, {"_delay": max_delay}).rowcount)
        return count

    return database.write(repair)
