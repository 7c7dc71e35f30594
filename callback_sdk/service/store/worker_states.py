"""States of the processes of Celery workers, as their supervisors report them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from attrs import define

from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.tables import worker_states

REPORT_INTERVAL = 10.0
"""Maximum seconds between two reports of a worker."""

_MAX_AGE = 3 * REPORT_INTERVAL
"""Seconds after which a worker that reports nothing has ended."""

_MAX_STATES = 50
"""Maximum number of states that are returned: a response with long problems stays below 64 KiB."""


@define(frozen=True, kw_only=True)
class ReportedState:
    """The state of one process; see `WorkerState`.

    Attributes:
        name: Machine and process.
        status: `"loading"`, `"ready"` or `"failed"`.
        problem: The reason; None if there is none.
    """

    name: str
    status: str
    problem: str | None = None


class WorkerStateStore:
    """The states in a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def report(self, states: Sequence[ReportedState]) -> None:
        """Store the states of one worker, and delete those of workers that have ended."""
        rows = [{"name": one.name, "status": one.status, "problem": one.problem} for one in states]

        def store(connection: sa.Connection) -> None:
            names = [one.name for one in states]
            ended = worker_states.c.reported_at < now() - _MAX_AGE
            connection.execute(worker_states.delete().where(sa.or_(worker_states.c.name.in_(names), ended)))
            if rows:
                connection.execute(worker_states.insert().values(reported_at=now()), rows)

        self._database.write(store)

    def remove(self, names: Sequence[str]) -> None:
        """Delete the states of a worker that ends."""
        self._database.write(
            lambda connection: connection.execute(worker_states.delete().where(worker_states.c.name.in_(names)))
        )

    def current(self) -> list[ReportedState]:
        """Return the states of workers that have not ended, first of those that aren't ready, ordered by name."""
        columns = (worker_states.c.name, worker_states.c.status, worker_states.c.problem)
        query = sa.select(*columns).where(worker_states.c.reported_at >= now() - _MAX_AGE)
        with self._database.read() as connection:
            order = (worker_states.c.status == "ready", worker_states.c.name)
            found = connection.execute(query.order_by(*order).limit(_MAX_STATES)).mappings()
            return [ReportedState(**row) for row in found]
