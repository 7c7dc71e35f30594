"""Tasks that clients watch: what has changed of many tasks, in one query."""

from __future__ import annotations

import sys
from collections.abc import Collection
from itertools import islice
from typing import Any

import sqlalchemy as sa
from attrs import define, field

from callback_sdk.models import CANCELED, FINISHED, IN_PROGRESS
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import DELIVERY_PENDING
from callback_sdk.service.store.output import IS_COMPLETE
from callback_sdk.service.store.tables import deliveries, task_output, tasks

_AT_ONCE = 5000
"""Tasks of one query. Databases limit its parameters: SQLite to 32,766, PostgreSQL to 65,535."""

_END = (
    sa.select(sa.func.max(task_output.c.start + sa.func.length(task_output.c.data)))
    .where(task_output.c.job_id == tasks.c.job_id, task_output.c.attempt == tasks.c.attempt)
    .scalar_subquery()
)
_PENDING_DELIVERIES = (
    sa.select(sa.func.count())
    .where(deliveries.c.job_id == tasks.c.job_id, deliveries.c.status == DELIVERY_PENDING)
    .scalar_subquery()
)
_SELECT = sa.select(
    *(tasks.c[name] for name in ("job_id", "owner", "status", "success", "error_code", "progress", "attempt")),
    sa.func.coalesce(_END, 0).label("output_end"),
    _PENDING_DELIVERIES.label("pending_deliveries"),
    sa.case((IS_COMPLETE, 1), else_=0).label("complete"),
).where(tasks.c.job_id.in_(sa.bindparam("_jobs", expanding=True)))

_OWNER: sa.BindParameter[str] = sa.bindparam("_owner")
_SINCE: sa.BindParameter[float] = sa.bindparam("_since", type_=sa.Double)
_CHANGED_AT = sa.case(
    # There are no more of these than workers can run.
    (tasks.c.status == IN_PROGRESS, sys.float_info.max),
    else_=sa.func.coalesce(tasks.c.finished_at, tasks.c.created_at),
)
_RECENT = sa.union(
    *(
        sa.select(tasks.c.job_id, _CHANGED_AT.label("changed_at")).where(tasks.c.owner == _OWNER, condition)
        for condition in (
            tasks.c.created_at > _SINCE,
            tasks.c.finished_at > _SINCE,
            # There is no index of the times at which tasks were started.
            tasks.c.status == IN_PROGRESS,
        )
    )
).subquery()
_SELECT_RECENT = sa.select(_RECENT.c.job_id)
_SELECT_LATEST = _SELECT_RECENT.order_by(_RECENT.c.changed_at.desc()).limit(sa.bindparam("_limit", type_=sa.Integer))


@define(frozen=True, kw_only=True)
class LiveTask:
    """What changes of a task while it is watched.

    Attributes:
        owner: Id of its user.
        status: Its status.
        success: Whether it succeeded; None until it has ended.
        error_code: The kind of its error, for programs.
        progress: The last reported progress.
        attempt: Number of its run.
        output_end: Number of bytes of the run's output until now.
        complete: Whether it has ended, and all of its output is stored.
        pending_deliveries: Number of its deliveries that are still to be made.
    """

    owner: str
    status: str
    success: bool | None
    error_code: str | None
    progress: dict[str, Any] | None = field(default=None, repr=False)
    attempt: int
    output_end: int
    complete: bool
    pending_deliveries: int

    @property
    def has_ended(self) -> bool:
        """Whether it is finished or canceled."""
        return self.status in (FINISHED, CANCELED)


class LiveTasks:
    """Watched tasks in a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, job_ids: Collection[str]) -> dict[str, LiveTask]:
        """Return the present state of tasks by id, without those that don't exist any more."""
        found: list[dict[str, Any]] = []
        left = iter(job_ids)
        with self._database.read() as connection:
            while some := list(islice(left, _AT_ONCE)):
                found += [dict(row) for row in connection.execute(_SELECT, {"_jobs": some}).mappings()]
        return {row.pop("job_id"): LiveTask(**row | {"complete": bool(row["complete"])}) for row in found}

    def changed_since(self, owner: str, moment: float, *, limit: int | None = None) -> list[str]:
        """Return the tasks of a user that may have changed since a time of the database's clock.

        Args:
            owner: Id of the user.
            moment: The time.
            limit: Maximum number of tasks, of which those that have changed last are returned; None for all.
        """
        values: dict[str, Any] = {"_owner": owner, "_since": moment}
        query = _SELECT_RECENT
        if limit is not None:
            query, values["_limit"] = _SELECT_LATEST, limit
        with self._database.read() as connection:
            return list(connection.execute(query, values).scalars())
