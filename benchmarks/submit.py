"""Submission of 10,000 tasks by `client.run_algorithm_batch`, compared with `client.run_algorithm` for each task.

The service is `callback-sdk serve` in a separate process, on SQLite with `synchronous=FULL`: every response is sent
after the tasks are on disk. Each task has different features (a dict with two columns of four numbers) and a different
webhook. Both cases use the same `Client` with a kept-alive connection, make one call after another, and return a `Task`
for each; 500 tasks are enough to measure the slower case.

No task is computed or delivered during the measurement, because the only worker process runs a first task that sleeps
until the end. So the benchmark measures the path from a dict to a committed row, with the backlog of earlier rounds.
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
"""Maximum tasks of a user in the service."""

SINGLE = 500
"""Tasks per round with one request each."""

ALGORITHM = "asleep"
NOWHERE = "http://127.0.0.1:9/done"
"""URL of a webhook without a server; nothing is sent, because no task ends."""

registry = Registry()


@registry.algorithm(ALGORITHM, version="1.0.0", timeout=timedelta(hours=12))
def asleep(features: Any, parameters: Any, context: Any) -> dict[str, Any]:
    """Occupy the worker process."""
    time.sleep(12 * 3600)
    return {}


def tasks(count: int) -> list[tuple[dict[str, list[float]], str]]:
    """Return features and a webhook for each task."""
    columns = [[(number + row) / 7 for row in range(4)] for number in range(count)]
    return [
        ({"hour": [0.0, 1.0, 2.0, 3.0], "temperature": column}, f"{NOWHERE}/{number}")
        for number, column in enumerate(columns)
    ]


def in_batches(client: Client, count: int) -> Callable[[], list[Task]]:
    """Return a function that submits tasks in requests of 1,000."""
    submissions = tasks(count)
    return lambda: client.run_algorithm_batch(
        ALGORITHM, [BatchItem(features, callbacks=[url]) for features, url in submissions], progress=False
    )


def one_by_one(client: Client, count: int) -> Callable[[], list[Task]]:
    """Return a function that submits each task in a separate request."""
    submissions = tasks(count)
    return lambda: [client.run_algorithm(ALGORITHM, features, callback_url=url) for features, url in submissions]


def main() -> None:
    """Print the table and the ratio."""
    arguments = parser(__doc__)
    arguments.add_argument("--tasks", type=int, default=10_000, help="tasks per batch (10,000)")
    options = arguments.parse_args()
    if (options.rounds + 1) * (options.tasks + SINGLE) >= MOST:
        arguments.error(f"These rounds have more tasks than the service accepts from one user ({MOST:,}).")
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
