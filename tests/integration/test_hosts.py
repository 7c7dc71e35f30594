"""Receivers that go down and come back, with several services on one database, and services that are killed."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from callback_sdk import Client, Task
from callback_sdk.service.store.cipher import new_key
from callback_sdk.testing import Postgres, WebhookReceiver
from tests.topology import Topology, imported_at_startup, kill_tree, wait_until

TASKS = 40


class Receiver:
    """A receiver at a fixed port, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/hook"
        self.host = f"http://127.0.0.1:{self._port}"
        self._log = folder / "received"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, hangs: bool = False) -> None:
        script = Path(__file__).with_name("receiver_process.py")
        options = ["hangs"] if hangs else []
        self._process = subprocess.Popen([sys.executable, str(script), str(self._port), str(self._log), *options])
        wait_until(self._listens, what="the receiver's start")

    def _listens(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self._port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def lines(self, word: str) -> list[list[str]]:
        """Return the words of the lines that begin with a word."""
        text = self._log.read_text() if self._log.exists() else ""
        return [line.split() for line in text.splitlines() if line.startswith(word)]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """Give a receiver that doesn't run yet."""
    found = Receiver(tmp_path)
    yield found
    found.kill()


@pytest.fixture(params=["sqlite", "postgresql"])
def services(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Topology]]:
    """Run two services on one database, as on two machines."""
    if request.param == "sqlite":
        database = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    else:
        server: Postgres = request.getfixturevalue("callback_postgres")
        database = server.create_database()
    settings = {
        "ENCRYPTION_KEYS": new_key().reveal(),
        "BLOB_STORAGE": str(tmp_path / "blobs"),
        "LEASE": "4s",
        "RETRY_DELAYS": "1s 1s 1s 1s 1s 1s 1s 1s",
    }
    paths = [imported_at_startup("short_circuits", tmp_path / "site")]
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Topology(
                    tmp_path / name,
                    "engine_jobs:registry",
                    processes=1,
                    database=database,
                    settings=settings,
                    paths=paths,
                )
            )
            for name in map(_made(tmp_path), ("one", "two"))
        ]


def _made(parent: Path) -> Callable[[str], str]:
    def make(name: str) -> str:
        (parent / name).mkdir()
        return name

    return make


def submit(client: Client, url: str, count: int = TASKS) -> list[Task]:
    return client.run_algorithm_batch(
        "sum", [{"a": [number]} for number in range(count)], callbacks=[url], progress=False
    )


def statuses(client: Client, tasks: list[Task]) -> list[str]:
    found = []
    for task in tasks:
        (delivery,) = client.get_deliveries(task.job_id)
        found.append("held" if delivery.held_since else delivery.status)
    return found


def test_deliveries_survive_a_receiver_that_is_down(services: list[Topology], receiver: Receiver) -> None:
    """They are held, none dies although its attempts would be over, and they arrive once when the receiver is back."""
    with services[0].client() as client:
        tasks = submit(client, receiver.url)
        wait_until(lambda: statuses(client, tasks).count("held") >= TASKS - 12, what="that deliveries are held")
        assert "dead" not in statuses(client, tasks)
        receiver.start()
        wait_until(lambda: set(statuses(client, tasks)) == {"delivered"}, what="all deliveries")
        attempts = [client.get_deliveries(task.job_id)[0].attempt_count for task in tasks]
    assert sum(count == 1 for count in attempts) >= TASKS - 15
    assert max(attempts) <= 9
    begun = [delivery_id for _, delivery_id, _ in receiver.lines("begin")]
    assert len(begun) == len(set(begun)) == TASKS
    running = [int(count) for *_, count in receiver.lines("begin")]
    assert running[0] == 1
    assert max(running) <= 16


def test_a_service_that_dies_with_the_probe_does_not_keep_the_circuit_open(
    services: list[Topology], receiver: Receiver
) -> None:
    """Another service takes the probe over when its lease has expired."""
    with services[0].client() as client:
        tasks = submit(client, receiver.url, 12)
        wait_until(lambda: statuses(client, tasks).count("held") >= 5, what="that deliveries are held")
        receiver.start(hangs=True)
        wait_until(lambda: receiver.lines("begin"), what="the probe")
        tested = len(receiver.lines("begin"))
    # Both may be the sender of the probe: each is killed, and the other one goes on.
    kill_tree(services[0].service)
    receiver.kill()
    receiver.start()
    with services[1].client() as client:
        wait_until(lambda: set(statuses(client, tasks)) == {"delivered"}, what="all deliveries")
    assert tested == 1


def test_a_gone_webhook_is_disabled_alone(services: list[Topology]) -> None:
    """Its deliveries die at once; another webhook of the same host gets its own."""
    with WebhookReceiver() as gone, services[0].client() as client:
        gone.respond(410)
        (first,) = submit(client, gone.url, 1)
        wait_until(lambda: statuses(client, [first]) == ["dead"], what="the end of the delivery")
        (second,) = submit(client, gone.url, 1)
        (other,) = submit(client, f"{gone.url}/other", 1)
        wait_until(lambda: statuses(client, [second]) == ["dead"], what="the end of the delivery")
        wait_until(lambda: statuses(client, [other]) == ["delivered"], what="the other delivery")
        assert len(gone.requests) == 2
        assert "410 Gone" in str(client.get_deliveries(second.job_id)[0].error)
