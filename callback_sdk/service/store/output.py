"""Output of runs in the store: the last part of what an algorithm printed and logged, in pieces."""

from __future__ import annotations

from itertools import pairwise

import sqlalchemy as sa
from attrs import define, field

from callback_sdk.models import CANCELED, FINISHED
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.tables import task_output, tasks

MAX_OUTPUT = 64 * 1024
"""Maximum stored bytes of a run's output: the last ones."""

_MAX_STOPPING = 60.0
"""Seconds after a cancellation after which no more output is expected: the worker may have died."""

# These statements are built once: building one takes longer than running it.
_JOB_ID: sa.BindParameter[str] = sa.bindparam("_job")
_ATTEMPT: sa.BindParameter[int] = sa.bindparam("_attempt")
_START: sa.BindParameter[int] = sa.bindparam("_start", type_=sa.BigInteger)
_KEPT_FROM: sa.BindParameter[int] = sa.bindparam("_kept_from", type_=sa.BigInteger)

_SELECT_ATTEMPT = sa.select(tasks.c.attempt).where(tasks.c.job_id == _JOB_ID)
_DELETE_REPLACED = task_output.delete().where(
    task_output.c.job_id == _JOB_ID,
    sa.or_(
        task_output.c.attempt != _ATTEMPT,
        task_output.c.start >= _START,
        task_output.c.start + sa.func.length(task_output.c.data) <= _KEPT_FROM,
    ),
)
_INSERT = task_output.insert()
_SELECT = sa.select(task_output).where(task_output.c.job_id == _JOB_ID).order_by(task_output.c.start)

_COMPLETE = (
    tasks.update()
    .where(tasks.c.job_id == _JOB_ID, tasks.c.attempt == _ATTEMPT, tasks.c.status == CANCELED)
    .values(worker=None)
)
IS_COMPLETE = sa.or_(
    tasks.c.status == FINISHED,
    # The worker of a canceled task is that of its run, until that has ended.
    sa.and_(tasks.c.status == CANCELED, sa.or_(tasks.c.worker.is_(None), tasks.c.finished_at < now() - _MAX_STOPPING)),
)
"""Condition that a task has ended, and so has its run, which prints on for a while after a cancellation."""

_SELECT_COMPLETE = sa.select(sa.literal(1)).where(tasks.c.job_id == _JOB_ID, IS_COMPLETE)


@define(frozen=True, kw_only=True)
class StoredOutput:
    """The stored part of a run's output.

    Attributes:
        attempt: Number of the run; 0 if there is no output.
        start: Number of bytes before it that were dropped.
        data: The bytes.
    """

    attempt: int = 0
    start: int = 0
    data: bytes = field(default=b"", repr=False)

    @property
    def end(self) -> int:
        """Number of bytes of the run's output until now."""
        return self.start + len(self.data)


class OutputStore:
    """Output of runs in a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, job_id: str, attempt: int, start: int, data: bytes) -> None:
        """Store a piece of a run's output, replacing all that was stored from its start, and that of earlier runs.

        Nothing is stored if the task has been claimed again. What precedes the last `MAX_OUTPUT` bytes is deleted.

        Args:
            job_id: The task.
            attempt: Number of the run.
            start: Position of the piece in the output, in bytes.
            data: The piece.
        """
        one = {"_job": job_id, "_attempt": attempt, "_start": start, "_kept_from": start + len(data) - MAX_OUTPUT}
        row = {"job_id": job_id, "attempt": attempt, "start": start, "data": data}

        def store(connection: sa.Connection) -> None:
            if connection.execute(_SELECT_ATTEMPT, one).scalar() == attempt:
                connection.execute(_DELETE_REPLACED, one)
                connection.execute(_INSERT, row)

        self._database.write(store)
        self._database.changes.publish([job_id])

    def complete(self, job_id: str, attempt: int) -> None:
        """Record that the run of a canceled task has ended, and all of its output is stored.

        Args:
            job_id: The task. Nothing is recorded if it isn't canceled.
            attempt: Number of the run.
        """
        one = {"_job": job_id, "_attempt": attempt}

        def store(connection: sa.Connection) -> None:
            connection.execute(_COMPLETE, one)

        self._database.write(store)
        self._database.changes.publish([job_id])

    def is_complete(self, job_id: str) -> bool:
        """Return whether a task has ended, and so has its run, which prints on for a while after a cancellation."""
        with self._database.read() as connection:
            return bool(connection.execute(_SELECT_COMPLETE, {"_job": job_id}).scalar())

    def read(self, job_id: str) -> StoredOutput:
        """Return the output of a task's last run."""
        with self._database.read() as connection:
            pieces = connection.execute(_SELECT, {"_job": job_id}).all()
        if not pieces:
            return StoredOutput()
        # What was printed too fast to be stored is missing in the middle.
        pairs = enumerate(pairwise(pieces), start=1)
        gaps = [number for number, (piece, following) in pairs if piece.start + len(piece.data) < following.start]
        kept = pieces[gaps[-1] if gaps else 0 :]
        data = b"".join(piece.data for piece in kept)
        start = kept[0].start + max(0, len(data) - MAX_OUTPUT)
        data = data[-MAX_OUTPUT:]
        if start:
            line = data.find(b"\n") + 1
            start, data = start + line, data[line:]
        return StoredOutput(attempt=kept[0].attempt, start=start, data=data)
