"""The commands of the page on troubleshooting show the problem of their row, and fix it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from callback_sdk import Client, JobResult, Outbox
from callback_sdk.client import Task
from callback_sdk.testing import LocalService, WebhookReceiver
from tests.commands import run_here
from tests.topology import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
JOBS = """
import time
from callback_sdk.service import Registry

registry = Registry()


@registry.algorithm("sleep", version="1")
def sleep(features, parameters, context):
    print("started", flush=True)
    time.sleep(600)


@registry.algorithm("echo", version="1")
def echo(features, parameters, context):
    return {"predictions": 1}
"""

ROWS = {
    line.split("|")[1].split(":")[0].strip(): re.findall(r"`(callback-sdk [^`]+)`", line)
    for line in PAGE.read_text().partition("## Messages")[0].splitlines()
    if line.startswith("| ") and "`" in line
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """Run a service with one process."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "stuck_jobs.py").write_text(JOBS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.chdir(folder)
        with LocalService("stuck_jobs:registry") as service:
            yield service


@pytest.fixture
def client(service: LocalService) -> Iterator[Client]:
    """Return a client of it."""
    with Client(service.url, token=service.token) as client:
        yield client


def execute(service: LocalService, line: str, **values: str) -> str:
    """Run a command of the page, with values in place of words in capitals, and return its output."""
    words = [values.get(word, word) for word in line.split()[1:]]
    environment = {"CALLBACK_SDK_URL": service.url, "CALLBACK_SDK_TOKEN": service.token}
    done = run_here(words, environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def started(client: Client) -> Task:
    """Submit a task that doesn't end by itself, and return it once it runs."""
    task = client.run_algorithm("sleep", {"a": [1]})
    wait_until(lambda: "started" in task.get_logs())
    return task


def test_every_row_has_commands() -> None:
    """The first one shows the problem."""
    assert len(ROWS) == 6
    assert all(commands for commands in ROWS.values())


def test_stuck_tasks(service: LocalService, client: Client) -> None:
    """One runs and doesn't end, so that the next one stays pending; both can be canceled."""
    running = started(client)
    waiting = client.run_algorithm("sleep", {"a": [1]})
    pending, why, _, cancel = ROWS["Tasks stay pending"]
    assert waiting.job_id in execute(service, pending)
    assert execute(service, why).startswith("Ready.")
    assert "is canceled" in execute(service, cancel, JOB_ID=waiting.job_id)
    logs, cancel = ROWS["A task runs and doesn't end."]
    assert "started" in execute(service, logs, JOB_ID=running.job_id)
    assert "is canceled" in execute(service, cancel, JOB_ID=running.job_id)
    assert [task.refresh().status for task in (waiting, running)] == ["Canceled", "Canceled"]


def test_workers(service: LocalService) -> None:
    """Their state is part of the service's."""
    (health,) = ROWS["A worker has died, or can't start."]
    assert execute(service, health).startswith("Ready.")


def test_dead_and_late_deliveries(service: LocalService, client: Client, tmp_path: Path) -> None:
    """The receiver is gone, and comes back."""
    late, hosts, resume = ROWS["Deliveries are late"]
    dead, redeliver, replace = ROWS["Deliveries are dead"]
    with WebhookReceiver() as receiver:
        receiver.respond(400)
        task = client.run_algorithm("echo", {"a": [1]}, callback_url=receiver.url)
        wait_until(lambda: [one.status for one in client.get_deliveries(task.job_id)] == ["dead"])
        assert execute(service, late) == ""
        execute(service, hosts)
        execute(service, resume, HOST=receiver.url.split("/")[2])
        assert task.job_id in execute(service, dead)
        assert execute(service, redeliver).startswith("1 delivery is due now")
        receiver.wait_for(2)
        wait_until(lambda: [one.status for one in client.get_deliveries(task.job_id)] == ["delivered"])
        (tmp_path / "target").write_text(f"{receiver.url}?new=1")
        (delivery,) = client.get_deliveries(task.job_id)
        values = {"JOB_ID": task.job_id, "DELIVERY_ID": delivery.delivery_id, "FILE": str(tmp_path / "target")}
        assert "new target" in execute(service, replace, **values)


def test_full_disks(service: LocalService, tmp_path: Path) -> None:
    """The free space is among the findings; old receipts can be deleted. `serve` is tested elsewhere."""
    doctor, serve, purge = ROWS["A disk is full, or nearly so."]
    assert "GiB free" in execute(service, doctor)
    assert serve == "callback-sdk serve REGISTRY --retention 30d"
    with WebhookReceiver() as receiver, Outbox(tmp_path / "outbox.sqlite3") as outbox:
        outbox.write(JobResult(job_id="42", success=True), receiver.url)
    assert execute(service, purge, PATH=str(tmp_path / "outbox.sqlite3")) == "Deleted 0 receipts.\n"
