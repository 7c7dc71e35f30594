"""The processes that can claim tasks, with their heartbeats, whether they are busy or idle."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from attrs import define

from callback_sdk.errors import CallbackSDKError
from callback_sdk.models import IN_PROGRESS
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.tables import tasks, workers

REPORT_INTERVAL = 10.0
"""Seconds between two heartbeats of a worker."""

MAX_SILENCE = 3 * REPORT_INTERVAL
"""Seconds without a heartbeat after which a worker counts as lost."""

_SHOWN = 3
"""Workers that a message names."""

_log = logging.getLogger(__name__)

_KEPT = 86_400.0
"""Seconds for which lost workers are listed."""

_RUNNING = (
    sa.select(sa.func.count())
    .where(tasks.c.worker == workers.c.name, tasks.c.status == sa.literal(IN_PROGRESS, literal_execute=True))
    .scalar_subquery()
)
_SELECT = sa.select(
    workers, (now() - workers.c.heartbeat_at).label("silent_for"), _RUNNING.label("running")
).order_by(workers.c.name)  # fmt: skip


@define(frozen=True, kw_only=True)
class WorkerFacts:
    """What a worker reports of itself.

    Attributes:
        name: Its unique name, which its claims have.
        host: Name of its machine.
        pid: Its process.
        package_version: Its version of this package.
        algorithms: Names of the algorithms that it takes tasks of.
        slots: Number of tasks that it runs at the same time; 0 while it is starting.
        revision: The newest revision of the schema that it knows; None for versions that don't report it.
    """

    name: str
    host: str
    pid: int
    package_version: str
    algorithms: Sequence[str]
    slots: int
    revision: str | None = None


class OldWorkersError(CallbackSDKError):
    """A worker of an earlier version runs, which would do something wrong with a task."""


@define(frozen=True, kw_only=True)
class ListedWorker(WorkerFacts):
    """A worker as it is listed.

    Attributes:
        started_at: Time of its first heartbeat, in seconds since 1970 in UTC.
        heartbeat_at: Time of its last heartbeat, likewise.
        silent_for: Seconds since then.
        running: Number of its running tasks.
    """

    started_at: float
    heartbeat_at: float
    silent_for: float
    running: int

    @property
    def is_lost(self) -> bool:
        """Whether it sent no heartbeat for so long that it has probably died."""
        return self.silent_for > MAX_SILENCE

    @property
    def idle(self) -> int:
        """Number of further tasks that it can run now."""
        return 0 if self.is_lost else max(0, self.slots - self.running)

    @property
    def status(self) -> str:
        """`"lost"`, `"starting"`, `"busy"` if it runs as many tasks as it can, or `"idle"`."""
        if self.is_lost:
            return "lost"
        return "starting" if not self.slots else "idle" if self.idle else "busy"


class WorkerStore:
    """The workers in a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def report(self, worker: WorkerFacts) -> None:
        """Store a heartbeat, and delete workers that were lost long ago."""
        facts = {name: getattr(worker, name) for name in WorkerFacts.__annotations__}
        facts |= {"algorithms": list(worker.algorithms)}

        def store(connection: sa.Connection) -> None:
            known = workers.update().where(workers.c.name == worker.name).values(**facts, heartbeat_at=now())
            if not connection.execute(known).rowcount:
                connection.execute(workers.insert().values(**facts, started_at=now(), heartbeat_at=now()))
                connection.execute(workers.delete().where(workers.c.heartbeat_at < now() - _KEPT))

        self._database.write(store)

    def remove(self, name: str) -> None:
        """Delete a worker that ends."""
        self._database.write(lambda connection: connection.execute(workers.delete().where(workers.c.name == name)))

    def remove_all(self) -> None:
        """Delete all workers, in a restored database."""
        self._database.write(lambda connection: connection.execute(workers.delete()))

    def all(self) -> list[ListedWorker]:
        """Return all workers, also those that were lost within the last day, ordered by name."""
        with self._database.read() as connection:
            return [_listed_worker(row) for row in connection.execute(_SELECT).mappings()]

    def check_skipping(self) -> None:
        """Check that all workers know of deliveries that are skipped: earlier versions would send the result there.

        Raises:
            OldWorkersError: One doesn't.
        """
        old = {
            f"{worker.host} ({worker.package_version})"
            for worker in self.all()
            if worker.revision is None and not worker.is_lost
        }
        if old:
            # For operators: a submitter must not learn the names of machines.
            _log.warning(
                "A submission is rejected because workers of an earlier version run: %s. Replace them before the "
                "services; callback-sdk workers lists them.",
                ", ".join(sorted(old)[:_SHOWN]),
            )
            raise OldWorkersError(
                "A target subscribes to events without the result, which workers of an earlier version would send "
                "there.",
                hint='Subscribe to "completed", too, or submit the task again when the service has been upgraded.',
            )

    def slots(self) -> dict[str, int]:
        """Return the number of tasks of each algorithm that all workers can run at the same time."""
        found: Counter[str] = Counter()
        for worker in self.all():
            found.update(dict.fromkeys(worker.algorithms, 0 if worker.is_lost else worker.slots))
        return dict(found)


def _listed_worker(row: Any) -> ListedWorker:
    return ListedWorker(**{**row, "algorithms": tuple(row["algorithms"])})
