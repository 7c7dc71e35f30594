"""Statistics: queued tasks, active workers, ended tasks and delivery latencies."""

from __future__ import annotations

import math
from typing import Any

import sqlalchemy as sa
from attrs import define

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
class Worker:
    """A worker that runs tasks at the moment.

    Attributes:
        name: The machine's name with a unique suffix.
        tasks: Number of its running tasks.
        silent_for: Seconds since its last heartbeat; None if it has sent none yet.
    """

    name: str
    tasks: int
    silent_for: float | None


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

    def queued(self) -> dict[str, int]:
        """Count the queued tasks, by algorithm."""
        query = sa.select(tasks.c.algorithm, sa.func.count()).where(tasks.c.status == PENDING)
        with self._database.read() as connection:
            return dict(rows.pairs(connection.execute(query.group_by(tasks.c.algorithm))))

    def oldest_queued(self) -> dict[str, float]:
        """Return the age of the oldest queued task of each algorithm, in seconds."""
        age = now() - sa.func.min(tasks.c.created_at)
        query = sa.select(tasks.c.algorithm, age).where(tasks.c.status == PENDING).group_by(tasks.c.algorithm)
        with self._database.read() as connection:
            return dict(rows.pairs(connection.execute(query)))

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

    def workers(self) -> list[Worker]:
        """Return the workers that run tasks, ordered by name."""
        query = (
            sa.select(
                tasks.c.worker.label("name"),
                sa.func.count().label("tasks"),
                (now() - sa.func.max(tasks.c.heartbeat_at)).label("silent_for"),
            )
            # A canceled task keeps its worker if that has died before the end of the run.
            .where(tasks.c.worker > "", tasks.c.status == IN_PROGRESS)
            .group_by(tasks.c.worker)
            .order_by(tasks.c.worker)
        )
        with self._database.read() as connection:
            return [Worker(**row) for row in connection.execute(query).mappings()]

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
