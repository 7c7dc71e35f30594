"""`delivering` in workers of Celery, RQ and Dask, and in process pools: what is delivered, however a job ends."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.errors import CallbackSDKError
from callback_sdk.testing import WebhookReceiver
from tests.conftest import missing_server
from tests.integration import delivering_jobs
from tests.topology import PATIENCE, kill_tree, wait_until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

KILLED = "The process that ran the job was ended by signal 9 (SIGKILL), before the job did."
CRASHED = "The process that ran the job was ended by signal 11 (SIGSEGV), before the job did."


@pytest.fixture(scope="module")
def broker(request: pytest.FixtureRequest) -> str:
    """Give the URL of a database of Valkey that no other test uses."""
    try:
        return request.getfixturevalue("callback_valkey").url.replace("/0", "/7")
    except CallbackSDKError as error:
        missing_server(str(error))


def _environment(**variables: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}"} | variables


def _document(webhook: WebhookReceiver) -> dict[str, Any]:
    """Wait for the only document, and return it."""
    (request,) = webhook.wait_for(1)
    return request.document


def _check(document: dict[str, Any], *, error: str | None, status: str = "Finished") -> None:
    assert (document["status"], document["success"], document.get("error")) == (status, error is None, error)


# Celery


@pytest.fixture(scope="module")
def celery(broker: str) -> Iterator[Any]:
    """Run a Celery worker with one process, and return the application."""
    environment = _environment(BROKER=broker)
    command = [sys.executable, "-m", "celery", "--app", "delivering_celery", "worker", "--concurrency", "1"]
    worker = subprocess.Popen(
        [*command, "--loglevel", "WARNING", "--without-gossip", "--without-mingle"], env=environment
    )
    code = "import delivering_celery, sys; delivering_celery.app.control.purge()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=PATIENCE)
    from celery import Celery

    with Celery("delivering", broker=broker, backend=broker) as app:
        try:
            wait_until(lambda: app.control.ping(timeout=1), what="the worker")
            yield app
        finally:
            kill_tree(worker)


def _send(app: Any, *arguments: Any, name: str = "run", **options: Any) -> Any:
    return app.send_task(f"delivering_celery.{name}", arguments, **options)


def test_a_celery_task_delivers_its_results(celery: Any, webhook: WebhookReceiver) -> None:
    """Its results, under the id of the task."""
    task = _send(celery, "ends", webhook.url)
    document = _document(webhook)
    _check(document, error=None)
    assert document["job_id"] == task.id
    assert task.get(timeout=PATIENCE) == "done"


@pytest.mark.parametrize(
    ("how", "error", "status"),
    [
        ("raises", "ValueError: no convergence", "Finished"),
        ("SIGKILL", KILLED, "Finished"),
        ("SIGSEGV", CRASHED, "Finished"),
        ("SIGTERM", "The job was asked to end with SIGTERM.", "Canceled"),
        ("exits", "The job exited with code 3, before its end.", "Finished"),
    ],
)
def test_a_celery_task_that_fails_is_delivered(
    celery: Any, webhook: WebhookReceiver, how: str, error: str, status: str
) -> None:
    """Neither a SIGSEGV nor the OOM killer's SIGKILL can be caught in the task."""
    _send(celery, how, webhook.url)
    _check(_document(webhook), error=error, status=status)


def test_the_soft_time_limit_of_celery_is_delivered(celery: Any, webhook: WebhookReceiver, tmp_path: Path) -> None:
    """It is an exception in the task."""
    _send(celery, f"waits:{tmp_path / 'pid'}", webhook.url, soft_time_limit=3)
    limit = "The job was stopped at the time limit of its queue: SoftTimeLimitExceeded: SoftTimeLimitExceeded()."
    _check(_document(webhook), error=limit)


@pytest.mark.parametrize(
    ("options", "error", "status"),
    [
        ({}, "The job was asked to end with SIGTERM.", "Canceled"),
        ({"timeout": 2}, "The job has reached its time limit of 0:00:02.", "Finished"),
    ],
)
def test_the_hard_time_limit_of_celery_is_delivered(
    celery: Any, webhook: WebhookReceiver, tmp_path: Path, options: dict[str, Any], error: str, status: str
) -> None:
    """Celery sends SIGTERM as it does for a task that is revoked, so the job has to have a time limit of its own."""
    _send(celery, f"waits:{tmp_path / 'pid'}", webhook.url, kwargs=options, time_limit=5)
    _check(_document(webhook), error=error, status=status)


def test_a_revoked_celery_task_is_delivered_as_canceled(
    celery: Any, webhook: WebhookReceiver, tmp_path: Path
) -> None:  # fmt: skip
    """Celery ends its process with SIGTERM."""
    task = _send(celery, f"waits:{tmp_path / 'pid'}", webhook.url)
    wait_until((tmp_path / "pid").exists, what="the task")
    celery.control.revoke(task.id, terminate=True)
    _check(_document(webhook), error="The job was asked to end with SIGTERM.", status="Canceled")


def test_an_attempt_that_celery_repeats_is_not_delivered(celery: Any, webhook: WebhookReceiver) -> None:
    """Only the last one is, under the id that all have."""
    task = _send(celery, webhook.url, name="run_twice")
    assert task.get(timeout=PATIENCE) == "done"
    document = _document(webhook)
    _check(document, error=None)
    assert document["job_id"] == task.id


def test_a_celery_task_that_runs_again_after_its_death_is_delivered_once(
    celery: Any, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """The broker delivers it again, so the death of its process is not its end."""
    task = _send(celery, webhook.url, str(tmp_path / "attempt"), name="run_until_not_killed")
    assert task.get(timeout=PATIENCE) == "done"
    _check(_document(webhook), error=None)


# RQ


@pytest.fixture
def rq(broker: str) -> Callable[..., Any]:
    """Run one job in a worker of RQ that ends when its queue is empty; return the job."""
    from redis import Redis
    from rq import Queue

    def run(*arguments: Any, timeout: int = 60, **options: Any) -> Any:
        with Redis.from_url(broker) as connection:
            queue = Queue("delivering", connection=connection)
            queue.empty()
            job = queue.enqueue("delivering_jobs.run", args=(*arguments, "rq-1"), job_timeout=timeout, **options)
            command = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--quiet", "--url", broker, "delivering"]
            subprocess.run(command, env=_environment(), check=True, timeout=PATIENCE)
            return job.get_status()

    return run


@pytest.mark.parametrize(
    ("how", "error", "status"),
    [
        ("ends", None, "Finished"),
        ("raises", "ValueError: no convergence", "Finished"),
        ("SIGKILL", KILLED, "Finished"),
        ("SIGSEGV", CRASHED, "Finished"),
    ],
)
def test_a_job_of_rq_is_delivered(
    rq: Callable[..., Any], webhook: WebhookReceiver, how: str, error: str | None, status: str
) -> None:
    """Also when its work horse is killed."""
    assert rq(how, webhook.url).value == ("finished" if error is None else "failed")
    document = _document(webhook)
    _check(document, error=error, status=status)
    assert document["job_id"] == "rq-1"


def test_the_time_limit_of_rq_is_delivered(rq: Callable[..., Any], webhook: WebhookReceiver, tmp_path: Path) -> None:
    """RQ raises an exception in the job."""
    assert rq(f"waits:{tmp_path / 'pid'}", webhook.url, timeout=3).value == "failed"
    error = _document(webhook)["error"]
    assert error.startswith("The job was stopped at the time limit of its queue: JobTimeoutException: ")


# The OOM killer


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """Make a control group with a memory limit, of either version."""
    root, limit = Path("/sys/fs/cgroup"), "memory.max"
    if not (root / "cgroup.controllers").exists():
        root, limit = root / "memory", "memory.limit_in_bytes"
    group = root / f"callback-sdk-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text("200000000")
    except OSError:
        missing_server("memory limits: run the tests as root on a machine with control groups")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text(), what="the end of the processes")
    group.rmdir()


def test_a_worker_that_the_oom_killer_has_killed_is_delivered(webhook: WebhookReceiver, memory_group: Path) -> None:
    """With the cause, which neither its parent nor its queue knows."""
    code = f"import delivering_jobs; delivering_jobs.run('allocates', '{webhook.url}', '42')"
    command = f'echo $$ > {memory_group}/cgroup.procs && exec {sys.executable} -c "{code}"'
    worker = subprocess.run(["sh", "-c", command], env=_environment(), timeout=PATIENCE, check=False)
    assert worker.returncode == -signal.SIGKILL
    cause = "The memory limit was reached, and the kernel killed the process that ran the job"
    _check(_document(webhook), error=f"{cause}: it was ended by signal 9 (SIGKILL).")


# Dask

_DASK = """
import sys
import dask
from distributed import Client, LocalCluster
import delivering_jobs

if __name__ == "__main__":
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        try:
            print(client.submit(delivering_jobs.run, *sys.argv[1:], "dask-1").result())
        except BaseException as error:
            print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("how", "outcome", "error"),
    [
        ("ends", "done", None),
        ("raises", "ValueError", "ValueError: no convergence"),
        ("SIGKILL", "KilledWorker", KILLED),
        ("exits", "KilledWorker", "The job exited with code 3, before its end."),
    ],
)
def test_a_task_of_dask_is_delivered(
    webhook: WebhookReceiver, tmp_path: Path, how: str, outcome: str, error: str | None
) -> None:
    """It runs in a thread of its worker, and the worker may be killed."""
    script = tmp_path / "script.py"
    script.write_text(_DASK)
    command = [sys.executable, str(script), how, webhook.url]
    run = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert run.stdout.split() == [outcome], run.stderr
    _check(_document(webhook), error=error)


# Pools of processes


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_job_in_a_process_pool_is_delivered_when_its_process_is_killed(method: str, webhook: WebhookReceiver) -> None:
    """The pool itself only says that some process has ended."""
    pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method))
    with pool, pytest.raises(BrokenProcessPool):
        pool.submit(delivering_jobs.run, "SIGKILL", webhook.url, "pool-1").result(PATIENCE)
    _check(_document(webhook), error=KILLED)


def test_a_worker_whose_group_is_killed_is_delivered(webhook: WebhookReceiver, tmp_path: Path) -> None:
    """As a service manager or a scheduler does it."""
    code = f"import delivering_jobs; delivering_jobs.run('waits:{tmp_path}/pid', '{webhook.url}', '42')"
    worker = subprocess.Popen([sys.executable, "-c", code], env=_environment(), start_new_session=True)
    wait_until((tmp_path / "pid").exists, what="the job")
    os.killpg(worker.pid, signal.SIGKILL)
    assert worker.wait(PATIENCE) == -signal.SIGKILL
    _check(_document(webhook), error=KILLED)
