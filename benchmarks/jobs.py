"""Jobs from submission over computation to the webhook: how many a second, from the first submit to the last webhook.

Each job increments one number, and its result goes to one webhook; all webhooks go to one receiver, a process of its
own, which counts distinct bodies. Submitting threads keep their connections alive, and each sends its next request
when it has the answer to the last; they are as many for every contestant. Ours is shown a second time with
`client.run_algorithm_batch`, which is what it has for somebody with many jobs; the others have nothing like it.

Without `--engine`, ours is `callback-sdk serve` as it comes: the embedded engine, two computing processes, and SQLite
with `synchronous=FULL`. Beside it stands Cog's HTTP server (coglet, in Rust), with `Prefer: respond-async` and its
webhook for `completed`. It keeps nothing on disk and has no queue: who comes while it is busy gets a 409, and comes
again. A predictor as Cog's own guide writes it takes one at a time; the bar is beside that one. An async predictor with
`concurrency.max` lets as many run at once, all in one process, with nothing between them and no time-out or memory
limit that could stop one; it is shown too. Cog runs without Docker as in an image of its own: the environment names
predictor and concurrency, and `python` on the path is this one.

With `--engine celery`, ours has PostgreSQL and a broker, Valkey or RabbitMQ, with one worker of two computing processes
or two of one each. Beside it stands Celery doing the same two steps on the same broker, with nothing in any store: a
task that computes and then sends a task that delivers, over a kept-alive urllib3 pool. It has as many processes, acks
late, and prefetches one task. It is sent its tasks by `apply_async`, without HTTP.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3

from benchmarks.bare_celery import bare_app
from benchmarks.harness import Case, Report, in_turns, parser
from benchmarks.receiver import Receiver, wait_until
from callback_sdk import BatchItem, Client
from callback_sdk.service import Registry
from callback_sdk.testing import LocalService, Postgres, RabbitMQ, Valkey, supervisor

COG_BAR = 5.0
CELERY_BAR = 0.6
THREADS = 16
"""Threads that submit, but for batches."""

PROCESSES = 2
"""Processes that compute, over all workers."""

AT_ONCE = 64
"""Predictions that Cog runs at once."""

ALGORITHM = "increment"
PREDICTOR = """
from cog import BaseRunner

class Plain(BaseRunner):
    def run(self, number: int) -> int:
        return number + 1

class Concurrent(BaseRunner):
    async def run(self, number: int) -> int:
        return number + 1
"""

registry = Registry()


@registry.algorithm(ALGORITHM, version="1.0.0")
def increment(features: Any, parameters: Any, context: Any) -> dict[str, Any]:
    """Add one."""
    return {"predictions": features.to_dict()["number"][0] + 1}


Submitter = contextlib.AbstractContextManager[Callable[[int], None]]
"""Gives what submits one job, by its number, over a connection that it keeps open until the end."""


def job_run(receiver: Receiver, count: int, submitter: Callable[[], Submitter]) -> Callable[[], None]:
    """Return what submits jobs from threads, each with a submitter of its own, and waits for all webhooks."""

    def run() -> None:
        numbers, failures, before = iter(range(count)), [], receiver.count.value
        lock = threading.Lock()

        def work() -> None:
            try:
                with submitter() as submit:
                    while True:
                        with lock:
                            number = next(numbers, None)
                        if number is None:
                            return
                        submit(number)
            except Exception as error:  # noqa: BLE001 - raised again below
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        wait_until(lambda: receiver.count.value >= before + count)

    return run


def batch_run(receiver: Receiver, count: int, client: Client) -> Callable[[], None]:
    """Return what submits jobs to ours as one batch, and waits for all webhooks."""

    def run() -> None:
        before = receiver.count.value
        items = [BatchItem({"number": [number]}, callbacks=[receiver.url]) for number in range(count)]
        client.run_algorithm_batch(ALGORITHM, items, progress=False)
        wait_until(lambda: receiver.count.value >= before + count)

    return run


@contextlib.contextmanager
def post(address: str, path: str) -> Iterator[Callable[[bytes, Mapping[str, str]], int]]:
    """Give what sends a request over a kept-alive connection and returns the status."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)

    def send(body: bytes, headers: Mapping[str, str]) -> int:
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status

    with contextlib.closing(connection):
        yield send


def ours(receiver: Receiver, count: int, service: LocalService, client: Client) -> list[Case]:
    """Return ours, with one request each and in batches."""
    each = job_run(receiver, count, to_service(service, receiver.url))
    return [Case("one request each", each, count), Case("a batch", batch_run(receiver, count, client), count)]


def to_service(service: LocalService, webhook: str) -> Callable[[], Submitter]:
    """Return what makes submitters of jobs to ours, with one request each."""

    @contextlib.contextmanager
    def submitter() -> Iterator[Callable[[int], None]]:
        def submit(number: int) -> None:
            features = json.dumps({"number": [number]})
            fields: dict[str, str | tuple[str, str, str]] = {
                "callback_url": webhook,
                "features": ("features.json", features, "application/json"),
            }
            body, kind = urllib3.encode_multipart_formdata(fields)
            status = send(body, {"Content-Type": kind, "Authorization": f"Bearer {service.token}"})
            if status != 202:
                raise RuntimeError(f"The service answered {status}.")

        with post(service.url, f"/api/v2/algorithms/{ALGORITHM}/predict") as send:
            yield submit

    return submitter


def to_cog(address: str, webhook: str) -> Callable[[], Submitter]:
    """Return what makes submitters of jobs to Cog."""

    @contextlib.contextmanager
    def submitter() -> Iterator[Callable[[int], None]]:
        def submit(number: int) -> None:
            request = {"input": {"number": number}, "webhook": webhook, "webhook_events_filter": ["completed"]}
            body = json.dumps(request).encode()
            while (status := send(body, {"Content-Type": "application/json", "Prefer": "respond-async"})) == 409:
                time.sleep(0.001)
            if status != 202:
                raise RuntimeError(f"Cog answered {status}.")

        with post(address, "/predictions") as send:
            yield submit

    return submitter


@contextlib.contextmanager
def kept(
    command: list[str], files: Mapping[str, str] | None = None, **environment: str
) -> Iterator[supervisor.SupervisedProcess]:
    """Run a command until the block ends, in a folder of its own unless it needs this one."""
    folder = Path(tempfile.gettempdir()) / f"benchmark-{secrets.token_hex(6)}"
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    process = supervisor.SupervisedProcess(
        [sys.executable, "-m", *command],
        env={**os.environ, "PATH": path, **environment},
        folder=folder,
        files=files or {},
        cwd=None if files else Path.cwd(),
    )
    try:
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def cog(predictor: str, at_once: int) -> Iterator[str]:
    """Run Cog's server and give its address."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    concurrency = f"concurrency:\n  max: {at_once}\n" if at_once > 1 else ""
    with kept(
        ["cog.server.http", "--host", "127.0.0.1"],
        {"predict.py": PREDICTOR, "cog.yaml": f"run: predict.py:{predictor}\n{concurrency}"},
        PORT=str(port),
        COG_PREDICT_TYPE_STUB=f"predict.py:{predictor}",
        COG_MAX_CONCURRENCY=str(at_once),
        COG_LOG_LEVEL="warn",
    ):
        wait_until(lambda: _is_ready(address))
        yield address


def _is_ready(address: str) -> bool:
    with contextlib.suppress(OSError, urllib3.exceptions.HTTPError):
        answer = urllib3.request("GET", f"{address}/health-check", retries=False)
        return bool(answer.json()["status"] == "READY")
    return False


class Workers(LocalService):
    """The service with several workers.

    Args:
        count: How many.
        options: What `LocalService` takes.
    """

    def __init__(self, count: int, **options: Any) -> None:
        super().__init__("benchmarks.jobs:registry", processes=PROCESSES // count, **options)
        self._count = count
        self._others: list[supervisor.SupervisedProcess] = []

    def _launch(self) -> None:
        super()._launch()
        names = [f"{self._folder.name}-worker-{number}" for number in range(1, self._count)]
        self._others = [self._keep("worker", self._folder.with_name(name)) for name in names]

    def close(self) -> str:
        """Stop all of it."""
        for worker in self._others:
            worker.stop()
        return super().close()


def to_celery(broker: str, webhook: str) -> Callable[[], Submitter]:
    """Return what makes submitters of jobs to bare Celery."""
    app = bare_app(broker)
    return lambda: contextlib.nullcontext(lambda number: app.tasks["compute"].delay(str(uuid.uuid4()), number, webhook))


def beside_cog(report: Report, receiver: Receiver, rounds: int, jobs: int) -> None:
    """Measure the embedded engine and Cog."""
    with (
        LocalService("benchmarks.jobs:registry", processes=PROCESSES) as service,
        Client(service.url, token=service.token) as client,
        cog("Concurrent", AT_ONCE) as concurrent,
        cog("Plain", 1) as plain,
    ):
        cases = [
            *ours(receiver, jobs, service, client),
            Case("Cog, concurrent", job_run(receiver, jobs, to_cog(concurrent, receiver.url)), jobs),
            Case("Cog, plain", job_run(receiver, jobs, to_cog(plain, receiver.url)), jobs),
        ]
        times = in_turns(cases, rounds)
    us, batch, concurrent_cog, plain_cog = (times[case.name].median for case in cases)
    report.table("a job on SQLite", times, us=cases[0].name)
    report.bar("cog", plain_cog / us, at_least=COG_BAR)
    report.bar("cog concurrent", concurrent_cog / us)
    report.bar("cog, a batch", plain_cog / batch)


def beside_celery(report: Report, receiver: Receiver, broker: str, rounds: int, jobs: int, workers: int) -> None:
    """Measure the engine celery and bare Celery, with one worker or more."""
    share = str(PROCESSES // workers)
    with (
        Postgres() as postgres,
        BROKERS[broker]() as own,
        BROKERS[broker]() as theirs,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(workers):
            stack.enter_context(kept(["benchmarks.bare_celery", theirs.url, share]))
        service = stack.enter_context(Workers(workers, database=postgres.create_database(), broker=own.url))
        client = stack.enter_context(Client(service.url, token=service.token))
        cases = [
            *ours(receiver, jobs, service, client),
            Case("bare Celery", job_run(receiver, jobs, to_celery(theirs.url, receiver.url)), jobs),
        ]
        times = in_turns(cases, rounds)
    us, batch, other = (times[case.name].median for case in cases)
    report.table(f"a job, {broker}, {workers} worker{'s' * (workers > 1)}", times, us=cases[0].name)
    report.bar(f"celery-{workers}", other / us, at_least=CELERY_BAR)
    report.bar(f"celery-{workers}, a batch", other / batch, at_least=CELERY_BAR)


BROKERS: Mapping[str, Callable[[], Any]] = {"valkey": Valkey, "rabbitmq": RabbitMQ}


def main() -> None:
    """Print the tables and the ratios."""
    arguments = parser(__doc__)
    arguments.add_argument("--engine", choices=("embedded", "celery"), default="embedded")
    arguments.add_argument("--broker", choices=tuple(BROKERS), default="valkey", help="of the engine celery (valkey)")
    arguments.add_argument("--jobs", type=int, default=400, help="jobs of one round (400)")
    options = arguments.parse_args()
    report = Report("jobs" if options.engine == "embedded" else f"jobs-{options.broker}", as_json=options.json)
    with Receiver() as receiver:
        if options.engine == "embedded":
            beside_cog(report, receiver, options.rounds, options.jobs)
        else:
            for workers in (1, 2):
                beside_celery(report, receiver, options.broker, options.rounds, options.jobs, workers)
    report.end()


if __name__ == "__main__":
    main()
