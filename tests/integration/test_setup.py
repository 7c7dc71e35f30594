"""Setups in a service: before the first task, outside the serving process, and visible while they load or fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import requests

from callback_sdk import Client
from callback_sdk.errors import CallbackSDKError
from callback_sdk.testing.supervisor import free_ports
from tests.conftest import missing_server
from tests.topology import Topology, wait_until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the directory that controls the setups."""
    (tmp_path / "control").mkdir()
    return tmp_path / "control"


@pytest.fixture
def topology(tmp_path: Path, folder: Path) -> Iterator[Topology]:
    """Give a service with setups, which the test starts."""
    topology = Topology(tmp_path, "setup_jobs:registry", processes=1, environment={"PYTHON_SETUP_JOBS": str(folder)})
    yield topology
    topology.close()


def readiness(topology: Topology) -> tuple[int, Any]:
    address = (topology.data / "address").read_text().strip()
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(urljoin(address, "/readyz"), timeout=60)
    return answer.status_code, answer.json()


def pids(folder: Path, what: str) -> list[int]:
    lines = [line.rpartition(" ") for line in (folder / "log").read_text().splitlines()]
    return [int(pid) for found, _, pid in lines if found == what]


def test_a_service_loads_before_the_first_task(topology: Topology, folder: Path) -> None:
    """In the worker process alone, and once; a process that replaces it loads before the next task too."""
    topology.start_service()
    wait_until(topology.is_ready)
    assert topology.service is not None
    assert len(pids(folder, "class set up")) == 1
    assert pids(folder, "imported") == pids(folder, "class set up") != [topology.service.pid]
    wait_until(lambda: "printed by the setup" in topology.log)
    with topology.client() as client:
        *values, pid = client.run_algorithm("shared", {"a": [1]}).wait(progress=False).predictions
        assert values == [3, True, "kept"]
        assert pids(folder, "set up") == [pid]
        assert client.run_algorithm("own", {"a": [1]}).wait(progress=False).predictions == "own"
        assert client.run_algorithm("class", {"a": [1]}).wait(progress=False).predictions == [300_000_000, 3]
        client.run_algorithm("shared", {"a": [1]}, parameters={"die": 1}).wait(progress=False)
        wait_until(lambda: len(pids(folder, "class set up")) == 4)
        assert client.run_algorithm("own", {"a": [1]}).wait(progress=False).predictions == "own"
        assert len(pids(folder, "class set up")) == 4


def test_tasks_stay_queued_while_a_setup_fails(topology: Topology, folder: Path) -> None:
    """The reason is in the readiness, the command, the page and the log, without credentials; then the tasks run."""
    (folder / "fail").touch()
    topology.start_service()
    with topology.client() as client:
        task = client.run_algorithm("shared", {"a": [1]})
        wait_until(lambda: "RuntimeError" in str(readiness(topology)))
        code, answer = readiness(topology)
        assert code == 503
        assert "No worker is ready: The setup of the registry failed: RuntimeError: no model at" in answer["error"]
        wait_until(lambda: "worker-0 can't take tasks" in topology.log)
        assert "RuntimeError: no model at" in page(topology, client)
        assert "password" not in str(answer)
        assert "password" not in page(topology, client)
        assert client.get_task(task.job_id).status == "Pending"
        expired = client.run_algorithm("shared", {"a": [1]}, expires=0.1).wait(progress=False)
        assert (expired.outcome, "RuntimeError: no model at" in str(expired.error)) == ("Expired", True)
        assert "password" not in str(expired.error)
        (folder / "fail").unlink()
        assert task.wait(progress=False).predictions[0] == 3
        code, answer = readiness(topology)
        assert (code, answer["status"]) == (200, True)
    assert "worker-0 takes tasks again" in topology.log
    failures = re.findall(r"^.* ERROR .*: The setup of the registry failed: .*\n  Traceback .*$", topology.log, re.M)
    assert len(failures) == topology.log.count("Traceback (most recent call last)")
    assert "password" not in topology.log


def page(topology: Topology, client: Client) -> str:
    """Return the page about the service's health."""
    address = (topology.data / "address").read_text().strip()
    with requests.Session() as session:
        session.trust_env = False
        token = (topology.data / "token").read_text().strip()
        session.post(urljoin(address, "/ui/login"), data={"token": token}, timeout=60)
        return session.get(urljoin(address, "/ui/health"), timeout=60).text


def test_a_celery_worker_takes_tasks_once_it_is_set_up(
    request: pytest.FixtureRequest, tmp_path: Path, folder: Path
) -> None:
    """Until then they stay queued, and its own readiness has the reason; it calls only its algorithms' setups."""
    try:
        broker = request.getfixturevalue("callback_valkey").url
    except CallbackSDKError as error:
        missing_server(str(error))
    (port,) = free_ports(1)
    (folder / "fail").touch()
    with (
        Topology(
            tmp_path,
            "setup_jobs:registry",
            engine="celery",
            broker=broker,
            processes=1,
            algorithms=("shared",),
            settings={"METRICS_PORT": str(port)},
            environment={"PYTHON_SETUP_JOBS": str(folder)},
        ) as topology,
        topology.client() as client,
    ):
        task = client.run_algorithm("shared", {"a": [1]})
        wait_until(lambda: "RuntimeError: no model at" in worker_readiness(port))
        # The service shows it too, and accepts tasks.
        wait_until(lambda: reported(topology) in ([("loading", True)], [("failed", True)]))
        assert "RuntimeError: no model at" in page(topology, client)
        assert "password" not in page(topology, client)
        assert client.get_task(task.job_id).status == "Pending"
        (folder / "fail").unlink()
        assert task.wait(progress=False).predictions[0] == 3
        wait_until(lambda: worker_readiness(port) == "200")
        wait_until(lambda: readiness(topology)[0] == 200)
        count = len(pids(folder, "set up"))
        assert pids(folder, "class set up") == []
        # A process that replaces another one is set up without a further task.
        client.run_algorithm("shared", {"a": [1]}, parameters={"die": 1})
        wait_until(lambda: len(pids(folder, "set up")) > count)


def reported(topology: Topology) -> list[tuple[str, bool]]:
    """Return status of each worker in the service's readiness, and whether the reason is known."""
    status, answer = readiness(topology)
    assert status == 200
    return [(one["status"], "no model at" in (one["problem"] or "")) for one in answer.get("workers", ())]


def worker_readiness(port: int) -> str:
    """Return the status of a worker's readiness, and the error."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.get(f"http://127.0.0.1:{port}/readyz", timeout=60)
        except requests.ConnectionError:
            return ""
    return str(answer.status_code) if answer.ok else str(answer.json())
