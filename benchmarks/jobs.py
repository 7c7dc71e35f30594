"""Throughput of jobs from submission to webhook: jobs per second from the first submission to the last webhook.

Each job increments one number, and its result is sent to one webhook. All webhooks go to one receiver in a separate
process, which counts distinct bodies. The number of submitting threads is the same for all contestants. Each thread
keeps its connection alive, and sends the next request after the response to the last one. callback_sdk is measured a
second time with `client.run_algorithm_batch`, for which the other contestants have no equivalent.

Without `--engine`, callback_sdk is `callback-sdk serve` with its defaults: the embedded engine with two child
processes, and SQLite with `synchronous=FULL`. It is compared with Cog's HTTP server (coglet, in Rust), with `Prefer:
respond-async` and its webhook for `completed`. Cog stores nothing on disk and has no queue: while it is busy it
responds with 409, and the request is repeated. A predictor as in Cog's documentation processes one job at a time; the
bar applies to this one. An async predictor with `concurrency.max` processes several jobs at once in one process,
without isolation, timeouts or memory limits; its ratio is shown without a bar. Cog runs without Docker, configured as
in one of its images: environment variables set predictor and concurrency, and `python` on the PATH is this interpreter.

With `--engine celery`, callback_sdk uses PostgreSQL and a broker, Valkey or RabbitMQ, with one worker of two processes
or two workers of one process each. It is compared with bare Celery, which runs the same two steps on the same broker
without a store: a task that computes, and then sends a task that delivers over a kept-alive urllib3 pool. Bare Celery
has the same number of processes, acknowledges late, and prefetches one task. Its tasks are sent by `apply_async`,
without HTTP.
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
"""Number of submitting threads, except for batches."""

PROCESSES = 2
"""Total number of computing processes of all workers."""

AT_ONCE = 64
"""Maximum concurrent predictions of Cog's async predictor."""

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
"""Context manager of a function that submits the job with a number, over a connection that it keeps open."""


def job_run(receiver: Receiver, count: int, submitter: Callable[[], Submitter]) -> Callable[[], None]:
    """Return a function that submits jobs from threads with one submitter each, and waits for all webhooks."""

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
    """Return a function that submits jobs to the service as one batch, and waits for all webhooks."""

    def run() -> None:
        before = receiver.count.value
        items = [BatchItem({"number": [number]}, callbacks=[receiver.url]) for number in range(count)]
        client.run_algorithm_batch(ALGORITHM, items, progress=False)
        wait_until(lambda: receiver.count.value >= before + count)

    return run


@contextlib.contextmanager
def post(address: str, path: str) -> Iterator[Callable[[bytes, Mapping[str, str]], int]]:
    """Yield a function that sends a request over a kept-alive connection and returns the status."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)

    def send(body: bytes, headers: Mapping[str, str]) -> int:
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status

    with contextlib.closing(connection):
        yield send


def ours(receiver: Receiver, count: int, service: LocalService, client: Client) -> list[Case]:
    """Return the cases of the service: one request per job, and batches."""
    each = job_run(receiver, count, to_service(service, receiver.url))
    return [Case("one request each", each, count), Case("a batch", batch_run(receiver, count, client), count)]


def to_service(service: LocalService, webhook: str) -> Callable[[], Submitter]:
    """Return a factory of submitters to the service, with one request per job."""

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
    """Return a factory of submitters to Cog."""

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
    """Run a command in a temporary directory until the block ends."""
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
    """Run Cog's server, and yield its address."""
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
        count: Number of workers.
        options: Options of `LocalService`.
    """

    def __init__(self, count: int, **options: Any) -> None:
        super().__init__("benchmarks.jobs:registry", processes=PROCESSES // count, **options)
        self._count = count
        self._others: list[supervisor.SupervisedProcess] = []

    def _launch(self) -> None:
        super()._launch()
        names = [f"{self._folder.name}-worker-{number}" for number in range(1, self._count)]
        self._others = [self._launch_process("worker", self._folder.with_name(name)) for name in names]

    def close(self) -> str:
        """Stop the service and all workers."""
        for worker in self._others:
            worker.stop()
        return super().close()


def to_celery(broker: str, webhook: str) -> Callable[[], Submitter]:
    """Return a factory of submitters to bare Celery."""
    app = bare_app(broker)
    return lambda: contextlib.nullcontext(lambda number: app.tasks["compute"].delay(str(uuid.uuid4()), number, webhook))


def beside_cog(report: Report, receiver: Receiver, rounds: int, jobs: int) -> None:
    """Compare the embedded engine with Cog."""
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
    """Compare the engine celery with bare Celery, with one or two workers."""
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
    arguments.add_argument(
        "--broker", choices=tuple(BROKERS), default="valkey", help="broker of the engine celery (valkey)"
    )
    arguments.add_argument("--jobs", type=int, default=400, help="jobs per round (400)")
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
