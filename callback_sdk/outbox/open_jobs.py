"""Jobs that have begun and not ended: what is delivered for them if their process ends before they do."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any

from attrs import define

from callback_sdk.models import FINISHED, JobResult
from callback_sdk.outbox.database import OutboxDatabase
from callback_sdk.outbox.rows import text_column
from callback_sdk.redaction import Secret


@define(frozen=True, kw_only=True)
class OpenJob:
    """A job that has begun and not ended.

    Attributes:
        key: Random name of this execution of the job.
        job_id: The job's id.
        callbacks: The targets of its document, as JSON has them.
        owner: Name of the lock that is held as long as the job's process runs; see `ClaimOwner`.
        reports_loss: Whether a failure is delivered if the process ends before the job.
    """

    key: str
    job_id: str
    callbacks: Secret[list[Any]]
    owner: str
    reports_loss: bool = True


@define(frozen=True)
class JobFailure:
    """Why a job has failed.

    Attributes:
        error: The error of its document.
        status: The status of its document.
    """

    error: str
    status: str = FINISHED

    def of(self, job: OpenJob) -> JobResult:
        """Return the failure as the outcome of a job."""
        return JobResult(job_id=job.job_id, success=False, error=self.error, status=self.status)


class OpenJobs:
    """The rows of open jobs.

    A row is removed in the transaction that stores the job's document, so of two processes that end a job, one does.

    Args:
        database: The outbox's database.
    """

    def __init__(self, database: OutboxDatabase) -> None:
        self._database = database

    def add(self, job: OpenJob) -> None:
        """Store a job that begins now. Its owner's lock is held."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO open_jobs (key, job_id, targets, owner, reports_loss, begun_at) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    job.key,
                    text_column(job.job_id),
                    json.dumps(job.callbacks.reveal()),
                    job.owner,
                    job.reports_loss,
                    time.time(),
                ),
            )

    def owners(self) -> list[str]:
        """Return the owners of open jobs."""
        return [row["owner"] for row in self._database.read("SELECT DISTINCT owner FROM open_jobs")]

    def of(self, owner: str) -> list[OpenJob]:
        """Return the open jobs of an owner, oldest first."""
        rows = self._database.read("SELECT * FROM open_jobs WHERE owner = ? ORDER BY begun_at", (owner,))
        return [_read(row) for row in rows]

    def find(self, key: str) -> OpenJob | None:
        """Return an open job; None if it has ended."""
        rows = self._database.read("SELECT * FROM open_jobs WHERE key = ?", (key,))
        return _read(rows[0]) if rows else None

    def remove(self, key: str) -> bool:
        """End a job without a document, and return whether it was open."""
        with self._database.transaction() as connection:
            return close(connection, key)


def close(connection: sqlite3.Connection, key: str) -> bool:
    """End a job within a transaction, and return whether it was open."""
    return connection.execute("DELETE FROM open_jobs WHERE key = ?", (key,)).rowcount == 1


def _read(row: sqlite3.Row) -> OpenJob:
    return OpenJob(
        key=row["key"],
        job_id=row["job_id"],
        callbacks=Secret(json.loads(row["targets"])),
        owner=row["owner"],
        reports_loss=bool(row["reports_loss"]),
    )
