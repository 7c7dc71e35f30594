"""What a job costs while 1,000, 100,000 and 1,000,000 others wait, on SQLite and on PostgreSQL, relative to 1,000.

The databases are filled with tasks that have features and a webhook each, of 20 users, three priorities and two
algorithms, one of them rare. Afterwards they are vacuumed, analyzed and checkpointed, as PostgreSQL's autovacuum and
time do it; SQLite is not analyzed, as nobody does it for the service. The databases stand side by side, and rounds go
through them in turns.

A job is all that the service asks of the store for one: a task is submitted, the dispatcher looks for tasks and
deliveries that are due, the most urgent task is claimed and finished with a small result, and its delivery is looked
up, claimed and settled. Every one of these writes is on disk when it returns. Nothing is computed or sent, which would
cost the same with any backlog and hide what this looks for. Below it stands what comes now and then, without a bar.
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
    """A store in which many tasks wait.

    Attributes:
        size: How many.
        times: Seconds of each step, by its name, in each of its runs.
    """

    store: Store
    size: int
    times: dict[str, list[float]] = field(factory=dict)
    rounds: list[float] = field(factory=list)

    def timed(self, step: str, call: Callable[[], Any]) -> Any:
        """Make a step, and keep how long it took."""
        started = time.perf_counter()
        found = call()
        self.times.setdefault(step, []).append(time.perf_counter() - started)
        return found

    def job(self) -> None:
        """Take one task in, and bring the most urgent one to its end."""
        tasks, deliveries = self.store.tasks, self.store.deliveries
        self.timed("submit", lambda: tasks.submit([submission()]))
        (job_id,) = self.timed("look for tasks", lambda: tasks.fetch_due(1, again_after=AGAIN_AFTER))
        claim = self.timed("claim", lambda: tasks.claim(job_id, WORKER))
        if claim.task.priority != MAX_PRIORITY:
            raise AssertionError("The most urgent task goes first.")
        ending = RunOutcome(success=True, result_offsets={"predictions": [0, 10]}, results=RESULT)
        sender = DeliveringWorker(worker=WORKER, spare=1)
        ended = self.timed("finish", lambda: tasks.finish(job_id, claim.attempt, ending, sender))
        (delivery,) = ended.claims
        self.timed("settle it", lambda: deliveries.delivered(delivery.delivery_id, delivery.attempt, receipt()))
        self.timed(
            "look for deliveries", lambda: (deliveries.fetch_due(32, again_after=AGAIN_AFTER), deliveries.next_due())
        )

    def now_and_then(self) -> None:
        """Make the steps that no job waits for."""
        tasks, deliveries, owner = self.store.tasks, self.store.deliveries, "user-1"
        (job_id,) = tasks.fetch_due(1, again_after=AGAIN_AFTER)
        tasks.claim(job_id, WORKER)
        self.timed("claims look", lambda: tasks.claimed(WORKER))
        self.timed("a sign of life", lambda: tasks.heartbeat(WORKER, {job_id: None}))
        self.timed(
            "dead workers",
            lambda: [store.reclaim(silent_for=LEASE_DURATION.total_seconds()) for store in (tasks, deliveries)],
        )
        self.timed("tasks of an algorithm", lambda: tasks.fetch_due(1, algorithms=["rare"], again_after=AGAIN_AFTER))
        page = self.timed("first page", lambda: self.page(owner))
        middle = (page[0]["created_at"] - 0.0005 * self.size, page[0]["job_id"])
        self.timed("page in the middle", lambda: self.page(owner, after=middle))
        self.timed("page of a status", lambda: self.page(owner, status="Pending", after=middle))
        # Not one of theirs is of this algorithm.
        self.timed("page of an algorithm", lambda: self.page(owner, algorithm="rare"))
        self.timed("quota", lambda: tasks.open_count(owner, at_most=100_000))
        tasks.cancel(job_id)

    def page(self, owner: str, **options: Any) -> list[dict[str, Any]]:
        """Read what `GET /algorithms/tasks` shows."""
        found = self.store.tasks.page(owner, limit=51, **options)
        self.store.deliveries.status_counts([task["job_id"] for task in found])
        return found


def submission() -> Submission:
    """Make a task for the end of the queue of the most urgent ones, which stays as long as it was by that."""
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
    """Make the proof of a delivery that wasn't made."""
    moment = datetime.now(timezone.utc)
    return Receipt(
        target_kind="webhook", url=URL, status=200, size=100, sha256="0" * 64, started_at=moment, finished_at=moment
    )


def fill(store: Store, count: int) -> None:
    """Let many tasks wait: the store takes one, and the database copies its rows, whatever columns they have."""
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
        # Its settings are not those of the service.
        connection.invalidate()
    engine.dispose()


def copies(job_id: str, count: int, uuid: sa.ColumnElement[str]) -> Iterator[sa.Insert]:
    """Yield what makes tasks of one, each a millisecond older than the one before, until there are so many.

    Args:
        job_id: The task that is there.
        count: How many there are in the end.
        uuid: A random id, another one in each row.
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
        # The oldest first, as they would have come.
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
    """Return what inserts rows that are like others but for some columns."""
    others = differing(rows.c)
    query = sa.select(*(others.get(name, rows.c[name]) for name in table.c.keys()))  # noqa: SIM118
    return table.insert().from_select(table.c.keys(), query if order is None else query.order_by(order(rows.c)))


@contextlib.contextmanager
def backlogs(urls: Sequence[str], sizes: Sequence[int]) -> Iterator[list[Backlog]]:
    """Open and fill a database for each size."""
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
    """Print what each step costs, and keep what all of a job's do."""
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
    arguments.add_argument("--sizes", default=",".join(map(str, SIZES)), help="tasks that wait, the fewest first")
    arguments.add_argument("--jobs", type=int, default=100, help="jobs of one round (100)")
    arguments.add_argument("--database", choices=("sqlite", "postgresql"), help="one of the two; both by default")
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
