"""Store time of a job with 100,000 and 1,000,000 queued tasks, relative to 1,000, on SQLite and PostgreSQL.

Each database is filled with tasks that have features and one webhook, from 20 users, with three priorities and two
algorithms, one of them rare. Then it is vacuumed, analyzed and checkpointed, as PostgreSQL's autovacuum does over time;
SQLite isn't analyzed, because the service doesn't do so either. Rounds run on the databases in turns.

A job consists of all calls of the store for one task: the task is submitted, the dispatcher queries due tasks and
deliveries, the task of the highest priority is claimed and finished with a small result, and its delivery is queried,
claimed and recorded as delivered. Every write is on disk when it returns. Nothing is computed or sent, because this
would take the same time with any backlog. Less frequent steps are measured too, without a bar.
"""

from __future__ import annotations

import contextlib
import secrets
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import define, field

from benchmarks.harness import Report, duration, parser
from callback_sdk.concurrency.leases import LEASE_DURATION
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret
from callback_sdk.service.store import DeliveringWorker, RunOutcome, Store, Submission, TaskRow, open_database, tables
from callback_sdk.service.store.cipher import CredentialCipher, new_key
from callback_sdk.service.store.search import TaskFilter
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.testing import Postgres

BAR = 1.3
SIZES = (1_000, 100_000, 1_000_000)
USERS = 20
MAX_PRIORITY = 6
AGAIN_AFTER = 15.0
WORKER = "benchmark"
URL = "http://127.0.0.1:9/done"
FEATURES = b'{"hour": [0, 1, 2, 3], "temperature": [20.5, 21.25, 22.0, 21.75]}'
RESULT = b'{"predictions": {"damage": [0.1, 0.2, 0.3, 0.4]}}'
NOW_AND_THEN = (
    "claims look",
    "a sign of life",
    "dead workers",
    "tasks of an algorithm",
    "first page",
    "page in the middle",
    "page of a status",
    "page of an algorithm",
    "quota",
)

SQLITE = {
    "uuid": "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-' "
    "|| hex(randomblob(2)) || '-' || hex(randomblob(6)))",
    "before": "PRAGMA cache_size = -1000000",
    "after": "PRAGMA wal_checkpoint(TRUNCATE)",
}
POSTGRESQL = {
    "uuid": "gen_random_uuid()::text",
    "before": "SET statement_timeout = 0",
    "after": "VACUUM (ANALYZE); CHECKPOINT",
}


@define
class Backlog:
    """A store with many queued tasks.

    Attributes:
        size: Number of queued tasks.
        times: Durations of all runs of each step, in seconds, by the name of the step.
    """

    store: Store
    size: int
    times: dict[str, list[float]] = field(factory=dict)
    rounds: list[float] = field(factory=list)

    def timed(self, step: str, call: Callable[[], Any]) -> Any:
        """Run a step, and record its duration."""
        started = time.perf_counter()
        found = call()
        self.times.setdefault(step, []).append(time.perf_counter() - started)
        return found

    def job(self) -> None:
        """Submit one task, and finish the task with the highest priority."""
        tasks, deliveries = self.store.tasks, self.store.deliveries
        self.timed("submit", lambda: tasks.submit([submission()]))
        (job_id,) = self.timed("look for tasks", lambda: self.store.queue.fetch_due(1, redispatch_after=AGAIN_AFTER))
        claim = self.timed("claim", lambda: tasks.claim(job_id, WORKER))
        if claim.task.priority != MAX_PRIORITY:
            raise AssertionError("The task with the highest priority must be first.")
        ending = RunOutcome(success=True, result_offsets={"predictions": [0, 10]}, results=RESULT)
        sender = DeliveringWorker(worker=WORKER, free_slots=1)
        ended = self.timed("finish", lambda: tasks.finish(job_id, claim.attempt, ending, sender))
        (delivery,) = ended.claims
        self.timed("settle it", lambda: deliveries.record_receipt(delivery.delivery_id, delivery.attempt, receipt()))
        self.timed(
            "look for deliveries",
            lambda: (deliveries.fetch_due(32, redispatch_after=AGAIN_AFTER), deliveries.next_due()),
        )

    def now_and_then(self) -> None:
        """Run the less frequent steps, which no job waits for."""
        tasks, deliveries, owner = self.store.tasks, self.store.deliveries, "user-1"
        (job_id,) = self.store.queue.fetch_due(1, redispatch_after=AGAIN_AFTER)
        tasks.claim(job_id, WORKER)
        self.timed("claims look", lambda: tasks.claims_of(WORKER))
        self.timed("a sign of life", lambda: tasks.heartbeat(WORKER, {job_id: None}))
        self.timed(
            "dead workers",
            lambda: [store.reclaim(silent_for=LEASE_DURATION.total_seconds()) for store in (tasks, deliveries)],
        )
        self.timed(
            "tasks of an algorithm",
            lambda: self.store.queue.fetch_due(1, algorithms=("rare",), redispatch_after=AGAIN_AFTER),
        )
        page = self.timed("first page", lambda: self.page(owner))
        middle = (page[0]["created_at"] - 0.0005 * self.size, page[0]["job_id"])
        self.timed("page in the middle", lambda: self.page(owner, after=middle))
        self.timed("page of a status", lambda: self.page(owner, status="Pending", after=middle))
        # The user has no task of this algorithm.
        self.timed("page of an algorithm", lambda: self.page(owner, algorithm="rare"))
        self.timed("quota", lambda: tasks.open_count(owner, at_most=100_000))
        tasks.cancel(job_id)

    def page(self, owner: str, *, after: tuple[float, str] | None = None, **options: Any) -> list[dict[str, Any]]:
        """Read a page as for `GET /algorithms/tasks`."""
        found = self.store.search.page(TaskFilter(owner=owner, **options), after=after, limit=50).tasks
        self.store.deliveries.status_counts([task["job_id"] for task in found])
        return found


def submission() -> Submission:
    """Return a task of the highest priority: each job submits one and finishes one, so the queue keeps its length."""
    task = TaskRow(
        job_id=str(uuid.uuid4()),
        owner=f"user-{secrets.randbelow(USERS)}",
        algorithm="usual",
        version="1.0.0",
        features_format="json",
        priority=MAX_PRIORITY,
    )
    return Submission(task=task, targets=parse_callbacks(URL), features=FEATURES)


def receipt() -> Receipt:
    """Return a receipt of a simulated delivery."""
    moment = datetime.now(timezone.utc)
    return Receipt(
        target_kind="webhook", url=URL, status=200, size=100, sha256="0" * 64, started_at=moment, finished_at=moment
    )


def fill(store: Store, count: int) -> None:
    """Queue many tasks: the store inserts one, and statements copy its rows, regardless of their columns."""
    engine = store.database.engine
    words = SQLITE if engine.dialect.name == "sqlite" else POSTGRESQL
    (first,) = store.tasks.submit([submission()])
    with engine.begin() as connection:
        connection.exec_driver_sql(words["before"])
        for statement in copies(first.job_id, count, sa.literal_column(words["uuid"])):
            connection.execute(statement)
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for command in words["after"].split("; "):
            connection.exec_driver_sql(command)
        # Closed instead of returned to the pool, because its settings differ from those of the service.
        connection.invalidate()
    engine.dispose()


def copies(job_id: str, count: int, uuid: sa.ColumnElement[str]) -> Iterator[sa.Insert]:
    """Yield statements that copy a task, each copy a millisecond older than the one before.

    Args:
        job_id: The existing task.
        count: Total number of tasks afterwards.
        uuid: Expression of a random id per row.
    """
    number = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
    number = number.union_all(sa.select(number.c.n + 1).where(number.c.n < count - 1))
    n, task = number.c.n, tables.tasks
    yield copy(
        task,
        sa.select(task, n).select_from(task.join(number, sa.true())).where(task.c.job_id == job_id).subquery(),
        lambda row: {
            "job_id": uuid,
            "owner": sa.literal("user-") + sa.cast(row.n % USERS, sa.Text),
            "algorithm": sa.case((row.n % 25 == 7, "rare"), else_=row.algorithm),
            "priority": MAX_PRIORITY - row.n % 3,
            "created_at": row.created_at - row.n * 0.001,
        },
        # Oldest first, in the order of submission.
        lambda row: row.n.desc(),
    )
    copied = sa.select(task.c.job_id.label("copied")).where(task.c.job_id != job_id).cte("copied")
    random = sa.func.replace(uuid, "-", "")
    for table in (tables.task_payloads, tables.deliveries):
        yield copy(
            table,
            sa.select(table, copied)
            .select_from(table.join(copied, sa.true()))
            .where(table.c.job_id == job_id)
            .subquery(),
            lambda row: {"job_id": row.copied, "delivery_id": sa.literal("msg_") + random},
        )


def copy(
    table: sa.Table,
    rows: sa.Subquery,
    differing: Callable[[Any], dict[str, Any]],
    order: Callable[[Any], Any] | None = None,
) -> sa.Insert:
    """Return a statement that inserts copies of rows with some columns replaced."""
    others = differing(rows.c)
    query = sa.select(*(others.get(name, rows.c[name]) for name in table.c.keys()))  # noqa: SIM118
    return table.insert().from_select(table.c.keys(), query if order is None else query.order_by(order(rows.c)))


@contextlib.contextmanager
def backlogs(urls: Sequence[str], sizes: Sequence[int]) -> Iterator[list[Backlog]]:
    """Open and fill one database per size."""
    with contextlib.ExitStack() as stack:
        created = []
        for url, size in zip(urls, sizes, strict=True):
            store = Store(open_database(Secret(url)), CredentialCipher([new_key()]))
            stack.callback(store.close)
            started = time.perf_counter()
            fill(store, size)
            print(f"{size:,} tasks in {url.partition(':')[0]}: {time.perf_counter() - started:.0f} s", flush=True)
            created.append(Backlog(store, size))
        yield created


def measure(created: Sequence[Backlog], *, rounds: int, jobs: int) -> None:
    """Run jobs in all backlogs in turns."""
    for number in range(-1, rounds):
        shift = number % len(created)
        for backlog in (*created[shift:], *created[:shift]):
            if number == 0:
                backlog.times.clear()
            started = time.perf_counter()
            for _ in range(jobs):
                backlog.job()
            if number >= 0:
                backlog.rounds.append((time.perf_counter() - started) / jobs)
            for _ in range(5):
                backlog.now_and_then()


def show(report: Report, database: str, created: Sequence[Backlog]) -> None:
    """Print the duration of each step, and record the ratios of whole jobs."""
    width = max(map(len, NOW_AND_THEN)) + 2
    lines = [" " * width + "".join(f"{backlog.size:>18,}" for backlog in created)]
    steps = {step: [statistics.median(backlog.times[step]) for backlog in created] for step in created[0].times}
    job = {step: times for step, times in steps.items() if step not in NOW_AND_THEN}
    whole = [statistics.median(backlog.rounds) for backlog in created]
    for step, times in (*job.items(), ("a job", whole), *((step, steps[step]) for step in NOW_AND_THEN)):
        lines.append(
            f"{step:<{width}}" + "".join(f"{duration(taken):>10}{taken / times[0]:>6.2f} ×" for taken in times)
        )
    report.lines(f"{database}: medians, and beside those with {created[0].size:,} waiting", lines)
    for backlog, taken in zip(created[1:], whole[1:], strict=True):
        report.bar(f"{database} 1e{len(str(backlog.size)) - 1}", taken / whole[0], at_most=BAR)


def main() -> None:
    """Print the tables and the ratios."""
    arguments = parser(__doc__)
    arguments.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of queued tasks, ascending")
    arguments.add_argument("--jobs", type=int, default=100, help="jobs per round (100)")
    arguments.add_argument("--database", choices=("sqlite", "postgresql"), help="database to measure; both by default")
    options = arguments.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    report = Report("backlog", as_json=options.json)
    with contextlib.ExitStack() as stack:
        if options.database != "postgresql":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            with backlogs([f"sqlite:///{folder / str(size)}" for size in sizes], sizes) as created:
                measure(created, rounds=options.rounds, jobs=options.jobs)
                show(report, "sqlite", created)
        if options.database != "sqlite":
            server = stack.enter_context(Postgres())
            with backlogs([server.create_database() for _ in sizes], sizes) as created:
                measure(created, rounds=options.rounds, jobs=options.jobs)
                show(report, "postgresql", created)
    report.end()


if __name__ == "__main__":
    main()
