"""Output files of tasks in the store.

The rows of a run are inserted before its files become blobs, so that no blob is unknown after a crash. The transaction
that ends the task makes them the task's own, in the column `output_attempt`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from callback_sdk.models import IN_PROGRESS, PENDING
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import NewFile, TaskFile
from callback_sdk.service.store.rows import pairs
from callback_sdk.service.store.tables import delivered_outputs, outputs, tasks

# These statements are built once: building one takes longer than running it.
_JOB_ID: sa.BindParameter[str] = sa.bindparam("_job")
_ATTEMPT: sa.BindParameter[int] = sa.bindparam("_attempt")
_NAME: sa.BindParameter[str] = sa.bindparam("_name")
_DELIVERY_ID: sa.BindParameter[str] = sa.bindparam("_delivery")

_SHOWN = (
    *(outputs.c[name] for name in ("job_id", "attempt", "position", "name", "size", "sha256", "media_type")),
    outputs.c.data.is_(None).label("is_blob"),
)
_OF_TASK = sa.and_(outputs.c.job_id == tasks.c.job_id, outputs.c.attempt == tasks.c.output_attempt)
_SELECT = sa.select(*_SHOWN).join(tasks, _OF_TASK).where(outputs.c.job_id == _JOB_ID).order_by(outputs.c.position)
_SELECT_ONE = _SELECT.where(outputs.c.name == _NAME)
_SELECT_DATA = sa.select(outputs.c.data).where(
    outputs.c.job_id == _JOB_ID,
    outputs.c.attempt == _ATTEMPT,
    outputs.c.position == sa.bindparam("_position"),
)
_DELETE_RUN = outputs.delete().where(outputs.c.job_id == _JOB_ID, outputs.c.attempt == _ATTEMPT)
_INSERT = outputs.insert()
_SELECT_BLOBS = (
    sa.select(*_SHOWN)
    .where(outputs.c.job_id.in_(sa.bindparam("_jobs", expanding=True)), outputs.c.data.is_(None))
    .order_by(outputs.c.job_id)
)
_IS_LOST = sa.or_(
    # An earlier run, whose process died, or the last one, which the task ended without.
    outputs.c.attempt < tasks.c.attempt,
    tasks.c.status.not_in((PENDING, IN_PROGRESS)),
) & sa.func.coalesce(tasks.c.output_attempt != outputs.c.attempt, True)
_SELECT_LOST = (
    sa.select(outputs.c.job_id, outputs.c.attempt)
    .join(tasks)
    # A process that has just lost its claim may still be uploading.
    .where(_IS_LOST, sa.func.coalesce(tasks.c.finished_at, tasks.c.started_at) < now() - sa.bindparam("_age"))
    .distinct()
    .limit(sa.bindparam("_limit", type_=sa.Integer))
)
_SELECT_DELIVERED = sa.select(delivered_outputs.c.position, delivered_outputs.c.stored).where(
    delivered_outputs.c.delivery_id == _DELIVERY_ID
)


class OutputFileStore:
    """Output files in a database: all that is known of them, and the content of small ones.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, job_id: str, attempt: int, files: Sequence[NewFile], *, first: int = 0) -> None:
        """Insert files of a run, durably. They belong to the task when it ends with this run; see `TaskStore.finish`.

        Args:
            job_id: The task.
            attempt: Number of the run.
            files: The files.
            first: Position of the first one.
        """
        rows = [
            {
                "job_id": job_id,
                "attempt": attempt,
                "position": position,
                "name": file.name,
                "size": file.size,
                "sha256": file.sha256,
                "media_type": file.media_type,
                "data": file.data,
            }
            for position, file in enumerate(files, start=first)
        ]
        positions = [row["position"] for row in rows]
        earlier = _DELETE_RUN.where(outputs.c.position.in_(positions))

        def insert(connection: sa.Connection) -> None:
            # An earlier attempt of this call may have been committed, and its response lost.
            connection.execute(earlier, {"_job": job_id, "_attempt": attempt})
            connection.execute(_INSERT, rows)

        if rows:
            self._database.write_with_retry(insert)

    def of(self, job_id: str) -> list[TaskFile]:
        """Return the output files of a task, in the order in which they were made; none until it has ended."""
        with self._database.read() as connection:
            return [TaskFile(**row) for row in connection.execute(_SELECT, {"_job": job_id}).mappings()]

    def get(self, job_id: str, name: str) -> TaskFile | None:
        """Return one output file of a task; None if it has none of this name."""
        with self._database.read() as connection:
            row = connection.execute(_SELECT_ONE, {"_job": job_id, "_name": name}).mappings().first()
        return None if row is None else TaskFile(**row)

    def data(self, file: TaskFile) -> bytes | None:
        """Return the content of a small file; None if it is a blob, or was purged."""
        one = {"_job": file.job_id, "_attempt": file.attempt, "_position": file.position}
        with self._database.read() as connection:
            data: bytes | None = connection.execute(_SELECT_DATA, one).scalar()
        return data

    def blobs(self, job_ids: Collection[str]) -> list[TaskFile]:
        """Return all output files of tasks that may be blobs, of all of their runs."""
        with self._database.read() as connection:
            found = connection.execute(_SELECT_BLOBS, {"_jobs": list(job_ids)}).mappings()
            return [TaskFile(**row) for row in found]

    def lost(self, *, older_than: float, limit: int) -> list[tuple[str, int]]:
        """Return runs with output files that belong to no task: task and number of the run.

        Args:
            older_than: Seconds since the task ended or started again.
            limit: Maximum number.
        """
        with self._database.read() as connection:
            found = connection.execute(_SELECT_LOST, {"_age": older_than, "_limit": limit})
            return [(row.job_id, row.attempt) for row in found]

    def delete(self, job_id: str, attempt: int) -> None:
        """Delete the rows of a run, but not its blobs."""
        self._database.write(lambda connection: connection.execute(_DELETE_RUN, {"_job": job_id, "_attempt": attempt}))

    def receipts(self, delivery_id: str) -> dict[int, dict[str, Any]]:
        """Return what attempts of a delivery have stored, by the positions of the files."""
        with self._database.read() as connection:
            return dict(pairs(connection.execute(_SELECT_DELIVERED, {"_delivery": delivery_id})))

    def add_delivered(self, delivery_id: str, stored: Mapping[int, dict[str, Any]]) -> None:
        """Record what an attempt of a delivery has stored, by the positions of the files."""
        rows = [{"delivery_id": delivery_id, "position": position, "stored": one} for position, one in stored.items()]
        if rows:
            known = delivered_outputs.delete().where(
                delivered_outputs.c.delivery_id == delivery_id, delivered_outputs.c.position.in_(list(stored))
            )

            def insert(connection: sa.Connection) -> None:
                connection.execute(known)
                connection.execute(delivered_outputs.insert(), rows)

            self._database.write(insert)
