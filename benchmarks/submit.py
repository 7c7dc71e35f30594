"""Submitting 10,000 tasks by `client.run_algorithm_batch`, beside one request each by `client.run_algorithm`.

The service is `callback-sdk serve` in a process of its own, on SQLite with `synchronous=FULL`: every answer comes after
the disk has the tasks. Each task has features of its own (a dict with two columns of four numbers) and one webhook of
its own. Both sides go through the same `Client` and its kept-alive connection, one call after another, and end with a
`Task` for each; 500 tasks are enough to time the slow side.

Nothing of them is computed or delivered meanwhile: the only worker process is busy with a first task, which sleeps
until the end, and asleep itself. So what is measured is the way from a dict to a committed row, with the backlog that
the rounds before have left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from benchmarks.harness import Case, Report, in_turns, parser
from callback_sdk import BatchItem, Client
from callback_sdk.client import Task
from callback_sdk.service import Registry
from callback_sdk.testing import LocalService

BAR = 10.0
MOST = 100_000
"""Tasks that a user may have in a service."""

SINGLE = 500
"""Tasks in a round of one request each."""

ALGORITHM = "asleep"
NOWHERE = "http://127.0.0.1:9/done"
"""Nobody listens there, and nothing is sent as long as no task ends."""

registry = Registry()


@registry.algorithm(ALGORITHM, version="1.0.0", timeout=timedelta(hours=12))
def asleep(features: Any, parameters: Any, context: Any) -> dict[str, Any]:
    """Keep the worker process from all other tasks."""
    time.sleep(12 * 3600)
    return {}


def tasks(count: int) -> list[tuple[dict[str, list[float]], str]]:
    """Make features and a webhook for each task."""
    columns = [[(number + row) / 7 for row in range(4)] for number in range(count)]
    return [
        ({"hour": [0.0, 1.0, 2.0, 3.0], "temperature": column}, f"{NOWHERE}/{number}")
        for number, column in enumerate(columns)
    ]


def in_batches(client: Client, count: int) -> Callable[[], list[Task]]:
    """Return what submits tasks in requests of 1,000."""
    submissions = tasks(count)
    return lambda: client.run_algorithm_batch(
        ALGORITHM, [BatchItem(features, callbacks=[url]) for features, url in submissions], progress=False
    )


def one_by_one(client: Client, count: int) -> Callable[[], list[Task]]:
    """Return what submits tasks in a request each."""
    submissions = tasks(count)
    return lambda: [client.run_algorithm(ALGORITHM, features, callback_url=url) for features, url in submissions]


def main() -> None:
    """Print the table and the ratio."""
    arguments = parser(__doc__)
    arguments.add_argument("--tasks", type=int, default=10_000, help="tasks of one batch (10,000)")
    options = arguments.parse_args()
    if (options.rounds + 1) * (options.tasks + SINGLE) >= MOST:
        arguments.error(f"These rounds have more than the {MOST:,} tasks that a service takes of one user.")
    report = Report("submit", as_json=options.json)
    with (
        LocalService("benchmarks.submit:registry") as service,
        Client(service.url, token=service.token) as client,
    ):
        one_by_one(client, 1)()
        cases = [
            Case("run_algorithm_batch", in_batches(client, options.tasks), options.tasks),
            Case("one request each", one_by_one(client, SINGLE), SINGLE),
        ]
        times = in_turns(cases, options.rounds)
    us, other = (times[case.name] for case in cases)
    report.table("submitting a task", times, us=cases[0].name)
    report.bar("one request each", other.median / us.median, at_least=BAR)
    report.end()


if __name__ == "__main__":
    main()
