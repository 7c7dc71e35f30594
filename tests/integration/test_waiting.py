"""Waiting for tasks of a real service: the requests that it takes, and how it ends."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from callback_sdk import Client
from callback_sdk.client import Task
from callback_sdk.service import Registry
from callback_sdk.testing import LocalService
from tests.topology import wait_until

registry = Registry()


@registry.algorithm("gate", version="1.0.0")
def gate(path: str) -> str:
    """Wait until a file is written."""
    with Path(path).open() as pipe:
        return pipe.read()


@pytest.fixture
def service() -> Iterator[LocalService]:
    """Run a service."""
    with LocalService("tests.integration.test_waiting:registry") as service:
        yield service


def metric(service: LocalService, name: str) -> float:
    """Return the sum of a metric of the service."""
    text = requests.get(f"{service.url.removesuffix('/api/v2')}/metrics", timeout=30).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.M))


def begin(client: Client, path: Path) -> Task:
    """Submit a task that ends when something is written to a named pipe."""
    os.mkfifo(path)
    return client.run_algorithm("gate", parameters={"path": str(path)}, callbacks=[])


def test_many_waits_take_one_request_each(service: LocalService, tmp_path: Path) -> None:
    """And all of them learn of the end of the task, with its result."""
    with Client(service.url, token=service.token) as client, ThreadPoolExecutor(100) as pool:
        task = begin(client, tmp_path / "gate")
        before = metric(service, "callback_sdk_http_requests_total")
        waits = [pool.submit(client.get_task(task.job_id).wait, 600, progress=False) for _ in range(100)]
        wait_until(lambda: metric(service, "callback_sdk_waiting_clients") == 100)
        looks = metric(service, "callback_sdk_http_requests_total")
        (tmp_path / "gate").write_text("open")
        assert {wait.result().predictions for wait in waits} == {"open"}
        # Each wait has got its task before; the others are requests of metrics.
        after = metric(service, "callback_sdk_http_requests_total")
        assert after - looks <= 100 + 1
        assert looks - before >= 100


def test_a_stopping_service_does_not_wait_for_its_waiting_clients(service: LocalService, tmp_path: Path) -> None:
    """They are told to ask again, and streams end."""
    answers: list[tuple[int, str | None]] = []

    def ask(path: str) -> None:
        headers = {"Authorization": f"Bearer {service.token}"}
        answer = requests.get(f"{service.url}/algorithms/tasks/{path}", headers=headers, timeout=60)
        answers.append((answer.status_code, answer.headers.get("Retry-After")))

    with Client(service.url, token=service.token) as client:
        task = begin(client, tmp_path / "gate")
    paths = [f"{task.job_id}?wait=50", f"{task.job_id}/events", "events"]
    asking = [threading.Thread(target=ask, args=[path]) for path in paths]
    for thread in asking:
        thread.start()
    wait_until(lambda: metric(service, "callback_sdk_waiting_clients") == 3)
    service.close()
    for thread in asking:
        thread.join()
    assert sorted(answers, key=str) == [(200, None), (200, None), (503, "1")]
