"""Times in the store that lie too far in the future, because the database's clock was wrong or was put back."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.tables import deliveries, tasks

_LEASE: sa.BindParameter[float] = sa.bindparam("_lease", type_=sa.Double)
_DELAY: sa.BindParameter[float] = sa.bindparam("_delay", type_=sa.Double)


def _repair(column: sa.Column[Any], longest: sa.BindParameter[float], value: Any) -> sa.Update:
    return column.table.update().where(column > now() + longest).values({column.name: value})


_UPDATES_OF_LEASES = (
    # What was dispatched in the future would not be dispatched again until then.
    _repair(tasks.c.dispatched_at, _LEASE, None),
    _repair(deliveries.c.dispatched_at, _LEASE, None),
    # The lease of a dead worker would not expire until then; one that lives renews it in seconds.
    _repair(tasks.c.heartbeat_at, _LEASE, now()),
    _repair(deliveries.c.heartbeat_at, _LEASE, now()),
)
_UPDATE_NEXT_ATTEMPTS = _repair(deliveries.c.next_attempt_at, _DELAY, now())


def repair_times(database: Database, *, lease: float, longest_delay: float | None = None) -> int:
    """Repair times that lie too far in the future.

    Args:
        database: The store's database.
        lease: Seconds by which the time of a dispatch or of a heartbeat may be ahead.
        longest_delay: Seconds that no delivery waits for its next attempt; None to leave these times alone.

    Returns:
        How many times were repaired.
    """

    def repair(connection: sa.Connection) -> int:
        count = sum(int(connection.execute(one, {"_lease": lease}).rowcount) for one in _UPDATES_OF_LEASES)
        if longest_delay is not None:
            count += int(connection.execute(_UPDATE_NEXT_ATTEMPTS, {"_delay": longest_delay}).rowcount)
        return count

    return database.write(repair)
