"""Statistics: queued and running tasks, ended tasks and delivery latencies."""

from __future__ import annotations

import math
from typing import Any

import sqlalchemy as sa
from attrs import define, evolve

from callback_sdk.models import IN_PROGRESS, PENDING
from callback_sdk.service.store import rows
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import DELIVERY_PENDING
from callback_sdk.service.store.tables import deliveries, delivery_attempts, tasks


@define(frozen=True, kw_only=True)
class EndedTasks:
    """Tasks that ended within one time bucket.

    Attributes:
        age: Age of the bucket, in buckets: 0 for the current one.
    """

    age: int
    succeeded: int
    failed: int


@define(frozen=True, kw_only=True)
class AlgorithmLoad:
    """The queued and running tasks of one algorithm.

    Attributes:
        queued: Number of queued tasks.
        oldest: Age of the oldest one, in seconds; None without any.
        running: Number of running tasks.
    """

    queued: int = 0
    oldest: float | None = None
    running: int = 0


@define(frozen=True, kw_only=True)
class Backlog:
    """The queue and recent runs.

    Attributes:
        queued: Number of queued tasks.
        running: Number of running tasks.
        run_seconds: Mean duration of the latest runs, in seconds; 0 without any.
    """

    queued: int
    running: int
    run_seconds: float


@define(frozen=True)
class TaskAges:
    """How long ago a task was accepted, started and ended, in seconds.

    Attributes:
        created: Since its acceptance.
        started: Since the start of its last run; None if it was not started.
        finished: Since its end; None if it has not ended.
    """

    created: float
    started: float | None
    finished: float | None


class Statistics:
    """Statistics of one database, over all users. Each query reads an index only.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def loads(self) -> dict[str, AlgorithmLoad]:
        """Return the load of each algorithm that has queued or running tasks."""
        columns = (tasks.c.algorithm, tasks.c.status, sa.func.count(), now() - sa.func.min(tasks.c.created_at))
        query = sa.select(*columns).where(tasks.c.status.in_((PENDING, IN_PROGRESS)))
        found: dict[str, AlgorithmLoad] = {}
        with self._database.read() as connection:
            for name, status, count, age in connection.execute(query.group_by(tasks.c.algorithm, tasks.c.status)):
                load = found.get(name, AlgorithmLoad())
                queued = {"queued": count, "oldest": age}
                found[name] = evolve(load, **(queued if status == PENDING else {"running": count}))
        return found

    def oldest_queued(self) -> dict[str, float]:
        """Return the age of the oldest queued task of each algorithm, in seconds."""
        return {name: load.oldest for name, load in self.loads().items() if load.oldest is not None}

    def oldest_due(self) -> float:
        """Return for how many seconds a delivery has been due that isn't held and that no worker has claimed."""
        query = sa.select(now() - sa.func.min(deliveries.c.next_attempt_at)).where(
            deliveries.c.status == DELIVERY_PENDING,
            deliveries.c.worker.is_(None),
            deliveries.c.held_since.is_(None),
            deliveries.c.next_attempt_at.is_not(None),
        )
        with self._database.read() as connection:
            return max(0.0, connection.execute(query).scalar() or 0.0)

    def backlog(self, *, runs: int = 1000) -> Backlog:
        """Return the queue and the mean duration of recent runs.

        Args:
            runs: Number of the latest runs.
        """
        latest = (
            sa.select(tasks.c.started_at, tasks.c.finished_at)
            .where(tasks.c.finished_at.is_not(None))
            .order_by(tasks.c.finished_at.desc())
            .limit(runs)
            .subquery()
        )
        # A task that expired or was canceled in the queue was never started.
        mean = sa.select(sa.func.avg(latest.c.finished_at - latest.c.started_at))
        counts = sa.select(tasks.c.status, sa.func.count()).where(tasks.c.status.in_((PENDING, IN_PROGRESS)))
        with self._database.read() as connection:
            found = dict(rows.pairs(connection.execute(counts.group_by(tasks.c.status))))
            seconds = connection.execute(mean).scalar()
        return Backlog(queued=found.get(PENDING, 0), running=found.get(IN_PROGRESS, 0), run_seconds=float(seconds or 0))

    def ended(self, *, bucket_seconds: float, count: int) -> list[EndedTasks]:
        """Count the recently ended tasks per time bucket.

        Args:
            bucket_seconds: Length of a bucket, in seconds.
            count: Number of buckets.

        Returns:
            One entry per bucket, oldest first.
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

    def ages(self, *, within: float, limit: int) -> tuple[list[TaskAges], float]:
        """Return when the tasks of the last time were accepted, started and ended.

        Args:
            within: Open tasks, and those that ended in the last `within` seconds.
            limit: Maximum number of tasks each: the latest ended, the running, and the oldest queued ones.

        Returns:
            The tasks, and the age of the oldest ended one if there are older ones; `math.inf` otherwise.
        """
        ages = (now() - tasks.c.created_at, now() - tasks.c.started_at, now() - tasks.c.finished_at)
        ended = sa.select(*ages).where(tasks.c.finished_at >= now() - within).order_by(tasks.c.finished_at.desc())
        queued, running = (sa.select(*ages).where(tasks.c.status == status) for status in (PENDING, IN_PROGRESS))
        with self._database.read() as connection:
            latest = [TaskAges(*row) for row in connection.execute(ended.limit(limit))]
            waiting = connection.execute(queued.order_by(tasks.c.priority.desc(), tasks.c.created_at).limit(limit))
            found = [TaskAges(*row) for query in (waiting, connection.execute(running.limit(limit))) for row in query]
        last = latest[-1].finished if len(latest) == limit else None
        return [*latest, *found], math.inf if last is None else last

    def latencies(self, *, within: float, limit: int) -> list[tuple[float, float]]:
        """Return the latencies of recent deliveries, from the end of their task to the successful attempt.

        Args:
            within: Only deliveries of the last `within` seconds.
            limit: Maximum number of deliveries, latest first.

        Returns:
            Pairs of age and latency, in seconds, latest first.
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
