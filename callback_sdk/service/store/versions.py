"""The trained versions of algorithms in the store."""

from __future__ import annotations

import sqlalchemy as sa

from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import TrainedVersion
from callback_sdk.service.store.tables import tasks, trained_versions

_COLUMNS = tuple(trained_versions.c[name] for name in TrainedVersion.__annotations__)


class VersionStore:
    """Trained versions in a database, each visible only to the user that trained it.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, owner: str, algorithm: str, version: str) -> TrainedVersion | None:
        """Return one version; None if it doesn't exist."""
        one = (
            trained_versions.c.owner == owner,
            trained_versions.c.algorithm == algorithm,
            trained_versions.c.version == version,
        )
        found = self._read(*one)
        return found[0] if found else None

    def of(self, owner: str, algorithm: str) -> list[TrainedVersion]:
        """Return a user's trained versions of an algorithm, oldest first."""
        return self._read(trained_versions.c.owner == owner, trained_versions.c.algorithm == algorithm)

    def of_task(self, job_id: str) -> TrainedVersion | None:
        """Return the version that a training created; None if it created none."""
        found = self._read(trained_versions.c.job_id == job_id)
        return found[0] if found else None

    def _read(self, *conditions: sa.ColumnElement[bool]) -> list[TrainedVersion]:
        query = (
            sa.select(*_COLUMNS).where(*conditions).order_by(trained_versions.c.created_at, trained_versions.c.version)
        )
        with self._database.read() as connection:
            return [TrainedVersion(**row) for row in connection.execute(query).mappings()]


def insert(connection: sa.Connection, job_id: str, version: str, base: str) -> None:
    """Store a version in the transaction that ends its training."""
    task = connection.execute(
        sa.select(tasks.c.owner, tasks.c.algorithm, tasks.c.attempt).where(tasks.c.job_id == job_id)
    ).one()
    row = {"owner": task.owner, "algorithm": task.algorithm, "attempt": task.attempt}
    row |= {"job_id": job_id, "version": version, "base": base}
    connection.execute(trained_versions.insert().values(**row, created_at=now()))
