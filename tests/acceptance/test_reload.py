"""`callback-sdk serve --reload`: changes of the code take effect, and no task is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from callback_sdk import Client
from callback_sdk.errors import CallbackSDKError
from tests.conftest import missing_server
from tests.topology import PATIENCE, kill_tree, wait_until

ROOT = Path(__file__).parents[2]
DATA = {"a": [1]}
JOBS = """
import atexit, time
from pathlib import Path
from helper import VALUE
from callback_sdk.service import Registry

registry = Registry()
atexit.register(print, "printed at the end of each process")

@registry.algorithm("value")
def value(features, parameters, context):
    return VALUE

@registry.algorithm("slow")
def slow(features, parameters, context):
    Path(parameters["started"]).touch()
    time.sleep(2)
    return VALUE
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory with a registry that imports another module."""
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "helper.py").write_text("VALUE = 1\n")
    return tmp_path


def start(folder: Path, command: str, *options: str) -> subprocess.Popen[bytes]:
    """Start a service or a worker in this directory."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("CALLBACK_SDK_")}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "callback_sdk.cli", command, "jobs:registry", "--data-dir", "data", *options],
            cwd=folder,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stderr=log,
        )


@pytest.fixture
def service(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the service in this directory."""
    process = start(folder, "serve", "--reload", "--port", "0", "--processes", "1")
    yield process
    kill_tree(process)


@pytest.fixture
def client(folder: Path, service: subprocess.Popen[bytes]) -> Iterator[Client]:
    """Give a client that doesn't repeat what was refused."""
    address = folder / "data" / "address"
    wait_until(address.exists)
    token = (folder / "data" / "token").read_text().strip()
    with Client(f"{address.read_text().strip()}/api/v2", token=token, retries=0, timeout=PATIENCE) as client:
        yield client


def value(client: Client) -> int:
    return client.run_algorithm("value", DATA).wait(timedelta(seconds=PATIENCE), progress=False).result().predictions


def restarts(folder: Path) -> int:
    return (folder / "log").read_text().count("the service is stopped")


def test_a_change_takes_effect_and_nothing_is_lost(folder: Path, client: Client) -> None:
    """Tasks are submitted all the time, one of them runs during the change, and no connection is refused."""
    assert value(client) == 1
    slow = client.run_algorithm("slow", DATA, parameters={"started": str(folder / "started")})
    wait_until((folder / "started").exists)
    found: list[int] = []
    stopped = threading.Event()

    def submit() -> None:
        while not stopped.is_set():
            found.append(value(client))

    thread = threading.Thread(target=submit)
    thread.start()
    (folder / "helper.py").write_text("VALUE = 2\n")
    wait_until(lambda: found and found[-1] == 2)
    stopped.set()
    thread.join()
    assert found == sorted(found)
    assert slow.wait(timedelta(seconds=PATIENCE), progress=False).success
    assert restarts(folder) == 1


def test_tasks_wait_while_the_code_has_an_error(folder: Path, client: Client) -> None:
    """The error is logged, and a change of any module that it names is noticed."""
    (folder / "helper.py").write_text("VALUE = (\n")
    wait_until(lambda: "waits until its code can be imported" in (folder / "log").read_text())
    (folder / "jobs.py").write_text(f"import later\n{JOBS}")
    (folder / "helper.py").write_text("VALUE = 3\n")
    (folder / "later.py").write_text("1 / 0\n")
    wait_until(lambda: "ZeroDivisionError" in (folder / "log").read_text())
    waiting: list[int] = []
    thread = threading.Thread(target=lambda: waiting.append(value(client)))
    thread.start()
    (folder / "later.py").write_text("\n")
    thread.join(PATIENCE)
    assert waiting == [3]


def test_a_service_that_died_after_a_change_starts_at_the_next_one(
    folder: Path, client: Client, service: subprocess.Popen[bytes]
) -> None:
    """Its death is logged."""
    (folder / "helper.py").write_text("VALUE = 2\n")
    # The previous process takes tasks until it stops.
    wait_until(lambda: value(client) == 2)
    assert restarts(folder) == 1
    (process,) = psutil.Process(service.pid).children()
    kill_tree(process)
    wait_until(lambda: "The service ended with exit code -9" in (folder / "log").read_text())
    (folder / "helper.py").write_text("VALUE = 3\n")
    assert value(client) == 3


def test_a_change_ends_an_import_that_hangs(folder: Path, client: Client, service: subprocess.Popen[bytes]) -> None:
    """So does a signal; the service works with the previous code meanwhile."""
    assert value(client) == 1
    hanging = "from pathlib import Path\nPath('hanging').touch()\nimport time\ntime.sleep(600)\nVALUE = 2\n"
    (folder / "helper.py").write_text(hanging)
    wait_until((folder / "hanging").exists)
    assert value(client) == 1
    (folder / "helper.py").write_text("VALUE = 3\n")
    wait_until(lambda: value(client) == 3)
    (folder / "hanging").unlink()
    (folder / "helper.py").write_text(hanging)
    wait_until((folder / "hanging").exists)
    service.terminate()
    assert service.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything(folder: Path, client: Client, service: subprocess.Popen[bytes], number: int) -> None:
    """In an orderly way."""
    assert value(client) == 1
    service.send_signal(number)
    assert service.wait(PATIENCE) == 0
    assert not (folder / "data" / "address").exists()
    assert "Traceback" not in (folder / "log").read_text()


def test_a_celery_worker_is_reloaded(request: pytest.FixtureRequest, folder: Path) -> None:
    """Only the given algorithms are run; the service needs no restart, as it doesn't import the code."""
    try:
        broker = request.getfixturevalue("callback_valkey").url
    except CallbackSDKError as error:
        missing_server(str(error))
    service = start(folder, "serve", "--engine", "celery", "--broker", broker, "--port", "0")
    worker = None
    try:
        wait_until((folder / "data" / "address").exists)
        options = ["--broker", broker, "--processes", "1", "--algorithm", "value"]
        worker = start(folder, "worker", "--reload", *options)
        address = (folder / "data" / "address").read_text().strip()
        token = (folder / "data" / "token").read_text().strip()
        with Client(f"{address}/api/v2", token=token) as client:
            assert value(client) == 1
            (folder / "helper.py").write_text("VALUE = 2\n")
            wait_until(lambda: value(client) == 2)
        assert restarts(folder) == 1
        (supervisor,) = psutil.Process(worker.pid).children()
        worker.kill()
        wait_until(lambda: not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE)
    finally:
        kill_tree(service)
        if worker is not None:
            kill_tree(worker)


def test_a_registry_that_can_not_be_imported_is_an_error(folder: Path, service: subprocess.Popen[bytes]) -> None:
    """At the start there is no previous code."""
    service.kill()
    service.wait()
    (folder / "helper.py").write_text("1 / 0\n")
    command = [sys.executable, "-m", "callback_sdk.cli", "serve", "jobs:registry", "--reload", "--port", "0"]
    ended = subprocess.run(
        [*command, "--data-dir", "other"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 78
    assert "ZeroDivisionError" in ended.stderr
