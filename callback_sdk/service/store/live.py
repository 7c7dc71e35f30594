"""Tasks that clients watch: what has changed of many tasks, in one query."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from attrs import define, field

from callback_sdk.service.store.database import Database
from callback_sdk.service.store.output import IS_COMPLETE
from callback_sdk.service.store.tables import task_output, tasks

_END = (
    sa.select(sa.func.max(task_output.c.start + sa.func.length(task_output.c.data)))
    .where(task_output.c.job_id == tasks.c.job_id, task_output.c.attempt == tasks.c.attempt)
    .scalar_subquery()
)
_SELECT = sa.select(
    *(tasks.c[name] for name in ("job_id", "status", "success", "error_code", "progress", "attempt")),
    sa.func.coalesce(_END, 0).label("output_end"),
    sa.case((IS_COMPLETE, 1), else_=0).label("complete"),
).where(tasks.c.job_id.in_(sa.bindparam("_jobs", expanding=True)))


@define(frozen=True, kw_only=True)
class LiveTask:
    """What changes of a task while it is watched.

    Attributes:
        status: Its status.
        success: Whether it succeeded; None until it has ended.
        error_code: The kind of its error, for programs.
        progress: The last reported progress.
        attempt: Number of its run.
        output_end: Number of bytes of the run's output until now.
        complete: Whether it has ended, and all of its output is stored.
    """

    status: str
    success: bool | None
    error_code: str | None
    progress: dict[str, Any] | None = field(default=None, repr=False)
    attempt: int
    output_end: int
    complete: bool


class LiveTasks:
    """Watched tasks in a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, job_ids: Collection[str]) -> dict[str, LiveTask]:
        """Return the present state of tasks by id, without those that don't exist any more."""
        with self._database.read() as connection:
            found = [dict(row) for row in connection.execute(_SELECT, {"_jobs": list(job_ids)}).mappings()]
        return {row.pop("job_id"): LiveTask(**row | {"complete": bool(row["complete"])}) for row in found}
