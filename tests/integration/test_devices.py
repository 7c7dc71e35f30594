"""Runs with devices of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import Client
from callback_sdk.errors import CallbackSDKError
from tests.conftest import missing_server
from tests.topology import Topology, kill_tree, wait_until

DATA = {"a": [1]}


@pytest.fixture(scope="module", params=["embedded", "celery"])
def topology(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run a service with two devices, and one process for other tasks."""
    try:
        broker = request.getfixturevalue("callback_valkey").url if request.param == "celery" else None
    except CallbackSDKError as error:
        missing_server(str(error))
    with Topology(
        tmp_path_factory.mktemp("devices"),
        "device_jobs:registry",
        engine=request.param,
        broker=broker,
        processes=1,
        settings={"DEVICES": "0,GPU-1", "LEASE": "8s"},
    ) as topology:
        yield topology


def submit(client: Client, folder: Path) -> Any:
    return client.run_algorithm("train", DATA, parameters={"folder": str(folder)})


def started(folder: Path) -> list[str]:
    return sorted(path.read_text() for path in folder.glob("*.started"))


def test_as_many_run_at_once_as_there_are_devices(client: Client, tmp_path: Path) -> None:
    """Each with its own; tasks without devices don't wait for them, and see none."""
    tasks = [submit(client, tmp_path) for _ in range(3)]
    wait_until(lambda: started(tmp_path) == ["0", "GPU-1"])
    assert client.run_algorithm("plain", DATA).wait(timedelta(minutes=2), progress=False).predictions == ""
    assert started(tmp_path) == ["0", "GPU-1"]
    (tmp_path / "go").touch()
    devices = [task.wait(timedelta(minutes=2), progress=False).predictions for task in tasks]
    assert set(devices) == {"0", "GPU-1"}
    assert len(started(tmp_path)) == 3


def test_devices_of_a_killed_process_are_used_again(topology: Topology, client: Client, tmp_path: Path) -> None:
    """As soon as the processes that had them have ended."""
    tasks = [submit(client, tmp_path) for _ in range(2)]
    wait_until(lambda: started(tmp_path) == ["0", "GPU-1"])
    victim = topology.worker or topology.service
    kill_tree(victim)
    for path in tmp_path.glob("*.started"):
        path.unlink()
    if victim is topology.service:
        topology.start_service()
    else:
        topology.start_worker()
    wait_until(lambda: started(tmp_path) == ["0", "GPU-1"])
    (tmp_path / "go").touch()
    with topology.client() as client:
        for task in tasks:
            assert client.get_task(task.job_id).wait(timedelta(minutes=2), progress=False).success


def test_a_service_without_devices_does_not_start(tmp_path: Path) -> None:
    """Its tasks could never run."""
    with pytest.raises((AssertionError, subprocess.SubprocessError)), Topology(tmp_path, "device_jobs:registry") as one:
        one.client()
    assert "The algorithm 'train' has devices=1, and --devices names 0." in (tmp_path / "log").read_text()
