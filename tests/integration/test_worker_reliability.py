"""Workers with a wrong or unavailable broker, database or setting: they recover, or exit with one clear line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from kombu import Connection

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.store.cipher import new_key
from callback_sdk.service.supervision.reports import Reports
from callback_sdk.testing.supervisor import free_ports
from tests.conftest import missing_server
from tests.relay import Relay
from tests.topology import Topology, wait_until

REGISTRY = "engine_jobs:registry"
DATA = {"a": [1, 2, 3]}


def broker_url(request: pytest.FixtureRequest, name: str) -> str:
    try:
        url: str = request.getfixturevalue(f"callback_{name}").url
    except CallbackSDKError as error:
        missing_server(str(error))
    # A database of these tests' own.
    return url.replace("/0", "/2") if name == "valkey" else url


def delete_queue(broker: str, name: str) -> None:
    with Connection(broker) as connection:
        connection.channel().queue_delete(name)


def test_queues_that_are_deleted_under_a_busy_worker(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """RabbitMQ cancels the consumer, which Celery misses; the worker detects it, logs it once, and recovers."""
    broker = broker_url(request, "rabbitmq")
    topology = Topology(
        tmp_path,
        REGISTRY,
        engine="celery",
        broker=broker,
        processes=1,
        algorithms=("slow-elsewhere",),
        settings={"STALL_TIMEOUT": "2s"},
    )
    parameters = {"starts": str(tmp_path / "starts"), "go": str(tmp_path / "go")}
    with topology, topology.client() as client:
        first, *others = [client.run_algorithm("slow-elsewhere", DATA, parameters=parameters) for _ in range(3)]
        wait_until((tmp_path / "starts").exists, what="the start")
        delete_queue(broker, "callback-sdk.run.slow-elsewhere")
        (tmp_path / "go").touch()
        assert first.wait(progress=False).success
        # The others come again later, as their ids were lost with the queue.
        wait_until(lambda: "has stalled" in topology.log, what="the watch")
        assert client.run_algorithm("slow-elsewhere", DATA, parameters=parameters).wait(progress=False).success
        assert {task.refresh().status for task in others} <= {"Pending", "In Progress", "Finished"}
    assert len([line for line in topology.log.splitlines() if "has stalled" in line]) == 1
    assert "Traceback" not in topology.log


def test_a_worker_behind_a_partition_reconnects(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A half-open connection has no errors; the worker detects the stall, and reports its readiness."""
    broker = broker_url(request, "valkey")
    port = int(broker.rpartition(":")[2].partition("/")[0])
    with Relay(port) as relay:
        settings = {"STALL_TIMEOUT": "2s", "METRICS_PORT": str(free_ports(1)[0])}
        topology = Topology(
            tmp_path, REGISTRY, engine="celery", broker=broker, processes=1, algorithms=("sum",), settings=settings
        )
        try:
            topology.start_service()
            topology.environment["CALLBACK_SDK_BROKER"] = broker.replace(f":{port}", f":{relay.port}")
            topology.start_worker()
            wait_until(lambda: readiness(topology)[0] == 200, what="readiness")
            assert topology.run("health") == "Ready."
            relay.freeze()
            with topology.client() as client:
                client.run_algorithm("sum", DATA)
                wait_until(lambda: "has stalled" in topology.log, what="the watch")
                wait_until(lambda: readiness(topology)[0] == 200, what="readiness")
                assert client.run_algorithm("sum", DATA).wait(progress=False).success
            (line,) = [line for line in topology.log.splitlines() if "has stalled" in line]
            assert "callback-sdk.run.sum for 2 s" in line
            relay.close()
            wait_until(lambda: readiness(topology)[0] == 503, what="the end of readiness")
            assert "broker" in readiness(topology)[1]["error"]
            assert readiness(topology, "/healthz") == (200, {"status": True})
            assert readiness(topology, "/other")[0] == 404
            with pytest.raises(subprocess.CalledProcessError) as caught:
                topology.run("health")
            assert caught.value.returncode == 1
            assert re.fullmatch(r"Error: Not ready: .*broker.*\n", caught.value.stderr)
        finally:
            topology.close()


def readiness(topology: Topology, path: str = "/readyz") -> tuple[int, Any]:
    port = topology.environment["CALLBACK_SDK_METRICS_PORT"]
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(f"http://127.0.0.1:{port}{path}", timeout=30)
    except requests.ConnectionError:
        return 0, {}
    return answer.status_code, answer.json()


def test_wrong_encryption_keys_end_the_worker(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """With one line, however many processes notice it, and with the exit code of a wrong setting."""
    broker = broker_url(request, "valkey")
    topology = Topology(tmp_path, REGISTRY, broker=broker, processes=2)
    topology.data.mkdir()
    topology.run("db", "upgrade")
    topology.environment["CALLBACK_SDK_ENCRYPTION_KEYS"] = new_key().reveal()
    command = [sys.executable, "-m", "callback_sdk.cli", "worker", REGISTRY]
    done = subprocess.run(
        command, env=topology.environment, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 78
    cause = "Error: The worker can't run: The credentials in the database were encrypted with other keys"
    # A process that starts while another one ends may find that one's child, and logs that it ends it.
    lines = [line for line in done.stderr.splitlines() if "callback_sdk.service.work.orphans" not in line]
    assert [line[: len(cause)] for line in lines] == [cause], done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("setting", "exit_code", "reason"),
    [
        ("DATABASE", 75, "The database is unavailable: .*"),
        ("BROKER", 75, "The message broker can't be used: .*"),
        ("REFUSED", 78, "The message broker refuses the connection: .*"),
        (
            "QUEUE",
            78,
            "The message broker refuses the connection: .*PRECONDITION_FAILED.*were declared with other arguments",
        ),
    ],
)
def test_a_process_that_can_not_start_says_why(
    request: pytest.FixtureRequest, tmp_path: Path, setting: str, exit_code: int, reason: str
) -> None:
    """To its parent, which logs it: it prints nothing, and its exit code tells a wrong setting from an outage."""
    right = broker_url(request, "rabbitmq" if setting in ("REFUSED", "QUEUE") else "valkey")
    if setting == "QUEUE":
        # Another test's service may have declared it as it should be.
        delete_queue(right, "callback-sdk.run.greedy")
        with Connection(right) as connection:
            connection.channel().queue_declare("callback-sdk.run.greedy", auto_delete=False)
            request.addfinalizer(lambda: delete_queue(right, "callback-sdk.run.greedy"))
    settings = {
        "DATABASE": {"DATABASE": f"postgresql://somebody:topsecret@127.0.0.1:{free_ports(1)[0]}/x", "BROKER": right},
        "BROKER": {"BROKER": f"amqp://somebody:topsecret@127.0.0.1:{free_ports(1)[0]}//"},
        "QUEUE": {"BROKER": right},
        "REFUSED": {"BROKER": right.replace("guest:guest@", "somebody:topsecret@")},
    }[setting]
    topology = Topology(tmp_path, REGISTRY, settings=settings)
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "callback_sdk.service.worker", REGISTRY, "greedy", "compute"]
    done = subprocess.run(
        [*command, str(os.getpid()), str(writer)],
        env=topology.environment,
        pass_fds=[writer],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(writer)
    reports = Reports(reader)
    report = reports.read()
    reports.close()
    assert (done.returncode, report.permanent, report.started) == (exit_code, exit_code == 78, False)
    assert re.match(reason, report.failure)
    assert "topsecret" not in report.failure
    assert done.stdout + done.stderr == ""
