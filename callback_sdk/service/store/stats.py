"""How much is going on: what waits, who works, what has ended, and how long deliveries took."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from attrs import define

from callback_sdk.models import PENDING
from callback_sdk.service.store import rows
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.tables import deliveries, delivery_attempts, tasks


@define(frozen=True, kw_only=True)
class EndedTasks:
    """Tasks that ended within one bucket_seconds of time.

    Attributes:
        age: How many stretches ago: 0 for the one that runs.
    """

    age: int
    succeeded: int
    failed: int


@define(frozen=True, kw_only=True)
class Worker:
    """Who runs tasks at the moment.

    Attributes:
        name: The machine's name, and something that no other worker has.
        tasks: How many.
        silent_for: Seconds since its last sign of life; None when it has given none yet.
    """

    name: str
    tasks: int
    silent_for: float | None


class Statistics:
    """Counts of one database, of all users together. None of them looks at more than its index.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def queued(self) -> dict[str, int]:
        """Count the tasks that wait, by algorithm."""
        query = sa.select(tasks.c.algorithm, sa.func.count()).where(tasks.c.status == PENDING)
        with self._database.read() as connection:
            return dict(rows.pairs(connection.execute(query.group_by(tasks.c.algorithm))))

    def oldest_queued(self) -> dict[str, float]:
        """Return for how many seconds the oldest waiting task of each algorithm has waited."""
        age = now() - sa.func.min(tasks.c.created_at)
        query = sa.select(tasks.c.algorithm, age).where(tasks.c.status == PENDING).group_by(tasks.c.algorithm)
        with self._database.read() as connection:
            return dict(rows.pairs(connection.execute(query)))

    def workers(self) -> list[Worker]:
        """Return who runs tasks, by name."""
        query = (
            sa.select(
                tasks.c.worker.label("name"),
                sa.func.count().label("tasks"),
                (now() - sa.func.max(tasks.c.heartbeat_at)).label("silent_for"),
            )
            .where(tasks.c.worker > "")
            .group_by(tasks.c.worker)
            .order_by(tasks.c.worker)
        )
        with self._database.read() as connection:
            return [Worker(**row) for row in connection.execute(query).mappings()]

    def ended(self, *, bucket_seconds: float, count: int) -> list[EndedTasks]:
        """Count the tasks that ended lately.

        Args:
            bucket_seconds: Length of one bucket_seconds of time, in seconds.
            count: How many stretches to look back.

        Returns:
            One for each bucket_seconds, the oldest first.
        """
        query = _ages(tasks.c.finished_at, bucket_seconds, count, tasks.c.success)
        found: dict[tuple[int, bool], int] = {}
        with self._database.read() as connection:
            for age, success, number in connection.execute(query):
                found[int(age), bool(success)] = number
        ages = range(count - 1, -1, -1)
        return [
            EndedTasks(age=age, succeeded=found.get((age, True), 0), failed=found.get((age, False), 0)) for age in ages
        ]

    def latencies(self, *, within: float, limit: int) -> list[tuple[float, float]]:
        """Return how long deliveries took, from the end of their task to the try that made them.

        Args:
            within: Only those made in the last so many seconds.
            limit: The latest so many, at most.

        Returns:
            Pairs of age and latency, in seconds, the latest first.
        """
        latest = (
            sa.select(delivery_attempts.c.delivery_id, delivery_attempts.c.finished_at)
            .where(delivery_attempts.c.finished_at >= now() - within, delivery_attempts.c.error.is_(None))
            .order_by(delivery_attempts.c.finished_at.desc())
            .limit(limit)
            .subquery()
        )
        query = (
            sa.select(now() - latest.c.finished_at, latest.c.finished_at - tasks.c.finished_at)
            .select_from(latest.join(deliveries, deliveries.c.delivery_id == latest.c.delivery_id).join(tasks))
            .order_by(latest.c.finished_at.desc())
        )
        with self._database.read() as connection:
            return list(rows.pairs(connection.execute(query)))


def _ages(moment: Any, bucket_seconds: float, count: int, *by: Any) -> sa.Select[Any]:
    age = sa.cast(sa.func.floor((now() - moment) / bucket_seconds), sa.Integer).label("age")
    inner = sa.select(age, *by).where(moment >= now() - bucket_seconds * count).subquery()
    groups = list(inner.c)
    return sa.select(*groups, sa.func.count()).group_by(*groups)
