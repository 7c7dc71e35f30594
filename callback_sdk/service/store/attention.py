"""Deliveries that need attention: dead, late and failing ones, by host and algorithm."""

from __future__ import annotations

import sqlalchemy as sa
from attrs import define

from callback_sdk.models import DeliveryFilter
from callback_sdk.service.store.bulk_redelivery import JOINED, conditions
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.tables import deliveries, tasks

STATES = ("dead", "late", "failing")
"""The states, the worst one first."""


@define(frozen=True, kw_only=True)
class DeliveryGroup:
    """Deliveries in the same state to the same host, of tasks of the same algorithm.

    Attributes:
        state: `"dead"`, `"late"` or `"failing"`. A late delivery that fails is in both groups.
        count: Their number.
        age: Seconds since the end of the first of their tasks.
    """

    state: str
    host: str
    algorithm: str
    count: int
    age: float


class DeliveryAttention:
    """Counts deliveries in a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def groups(self, *, owner: str | None, limit: int) -> list[DeliveryGroup]:
        """Return the groups, the worst state first, and of a state the largest group first.

        Args:
            owner: Id of the user whose deliveries these are; None for those of all users.
            limit: Maximum number of groups of each state.
        """
        count = sa.func.count().label("count")
        age = (now() - sa.func.min(tasks.c.finished_at)).label("age")
        query = (
            sa.select(deliveries.c.host, tasks.c.algorithm, count, age)
            .select_from(JOINED)
            .group_by(deliveries.c.host, tasks.c.algorithm)
            .order_by(count.desc(), deliveries.c.host, tasks.c.algorithm)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [
                DeliveryGroup(state=state, **row)
                for state in STATES
                for row in connection.execute(query.where(*conditions(DeliveryFilter(status=state), owner))).mappings()
            ]
