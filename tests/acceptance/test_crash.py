"""Everything is killed, again and again, and nothing that was accepted is lost.

`make test` runs a short form of it, `make crash` the long one: 300 tasks, every engine, every database.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from callback_sdk import S3Signer
from callback_sdk.errors import CallbackSDKError
from callback_sdk.testing import Faults, ObjectStore, Postgres, RabbitMQ, SeaweedFS, Valkey, WebhookReceiver
from callback_sdk.testing.supervisor import free_ports
from tests.conftest import missing_server
from tests.topology import Topology, kill_tree, wait_until

LONG = os.environ.get("CALLBACK_SDK_CRASH") == "long"
TASKS = 300 if LONG else 30
KINDS = ["embedded-sqlite", "valkey-postgres"]
if LONG:
    KINDS += ["embedded-postgres", "valkey-sqlite", "rabbitmq-postgres", "rabbitmq-sqlite"]
PATIENCE = 3600 if LONG else 600
RATE = 0.2
SEED = int(os.environ.get("CALLBACK_SDK_CRASH_SEED", "7"))
SECRET = "whsec_" + base64.b64encode(b"0" * 32).decode()
KILLS = TASKS * 3 // 4
"""So few that at least half of the tasks survive: a kill ends at most two runs, and a task fails with its third."""


class Chaos:
    """Kills one process after another, each after it was ready, and restarts ended processes.

    Progress sets the pace, not the clock: between two kills a task is accepted or settled. So a machine on which
    everything starts slowly sees the same kills as a fast one.

    Args:
        topology: The service and its worker.
        servers: The broker and the database server, by name.
        submitter: Whoever submits tasks meanwhile.
    """

    def __init__(self, topology: Topology, servers: dict[str, Any], submitter: Submitter) -> None:
        self._topology = topology
        self._servers = servers
        self._submitter = submitter
        self._random = random.Random(SEED)
        victims = ("service", "child", *(("worker", "process") if topology.worker else ()), *servers)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._trouble: BaseException | None = None
        self.kills: dict[str, int] = dict.fromkeys(victims, 0)

    def __enter__(self) -> Chaos:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._restart_what_is_down()
        if self._trouble is not None:
            raise self._trouble

    @property
    def is_over(self) -> bool:
        """Whether it has made all of its kills, or was ended by an error."""
        return sum(self.kills.values()) >= KILLS or not self._thread.is_alive()

    def _run(self) -> None:
        seen = -1
        while not self._stopping.wait(self._random.uniform(0.3, 0.8)):
            try:
                # Also after the last kill.
                self._restart_what_is_down()
                if not self.is_over and self._submitter.progress > seen and self._kill_one():
                    seen = self._submitter.progress
            except Exception as error:  # noqa: BLE001, PERF203 - the test fails with it
                self._trouble = error
                return

    def _kill_one(self) -> bool:
        """Kill the process with the fewest kills, so that a short run kills all of them."""
        for victim in sorted(self.kills, key=lambda name: (self.kills[name], self._random.random())):
            # The victim may end by itself meanwhile.
            with suppress(psutil.Error, OSError):
                if self._kill(victim):
                    self.kills[victim] += 1
                    return True
            if not self.kills[victim]:
                # A child exists only while a task runs: let nothing else be killed until one has appeared.
                return False
        return False

    def _kill(self, victim: str) -> bool:
        """Kill a process if it is ready, and return whether it was."""
        if victim in self._servers:
            # `restart` returns when the server is ready, so it is ready now.
            self._servers[victim].kill()
            time.sleep(self._random.uniform(0.0, 1.0))
            self._servers[victim].restart()
            return True
        if victim in ("child", "process"):
            return self._kill_below(victim)
        if not (self._topology.is_ready() if victim == "service" else self._below("process")):
            return False
        kill_tree(getattr(self._topology, victim))
        return True

    def _kill_below(self, victim: str) -> bool:
        found = self._below(victim)
        if found:
            self._random.choice(found).kill()
        return bool(found)

    def _below(self, victim: str) -> list[psutil.Process]:
        parent = self._topology.worker or self._topology.service
        below = psutil.Process(parent.pid).children(recursive=True)
        if victim == "child":
            return [process for process in below if "spawn_main" in " ".join(process.cmdline())]
        return [process for process in below if "callback_sdk.service.worker" in process.cmdline()]

    def _restart_what_is_down(self) -> None:
        """Start ended processes, like systemd or Kubernetes."""
        for name in ("service", "worker"):
            process = getattr(self._topology, name)
            if process is not None and process.poll() is not None:
                self._topology.launch(name)


@pytest.fixture(params=KINDS)
def servers(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Run a message broker and a database server for this test only."""
    engine, database = request.param.split("-")
    kinds = {"valkey": Valkey, "rabbitmq": RabbitMQ, "postgres": Postgres}
    with ExitStack() as stack:
        try:
            yield {
                name: stack.enter_context(kinds[kind]())
                for name, kind in (("broker", engine), ("database", database))
                if kind in kinds
            }
        except CallbackSDKError as error:
            missing_server(str(error))


def test_nothing_is_lost(servers: dict[str, Any], tmp_path: Path, seaweedfs: SeaweedFS, bucket: str) -> None:
    """Every task that got a 202 ends, every delivery arrives, each object is right, each webhook's id is stable."""
    broker, database = servers.get("broker"), servers.get("database")
    settings = {
        "RETRY_DELAYS": "1s " * 12,
        **({} if LONG else {"LEASE": "8s"}),
        "MAX_CALLBACKS": "3",
        "PORT": str(free_ports(1)[0]),
    }
    faults = {"rate": RATE, "delay": timedelta(milliseconds=20)}
    with (
        ObjectStore(upstream=seaweedfs.endpoint_url, faults=Faults(seed=SEED, **faults)) as store,
        WebhookReceiver(secret=SECRET, faults=Faults(seed=SEED + 1, **faults)) as receiver,
        Topology(
            tmp_path,
            "crash_jobs:registry",
            engine="celery" if broker else "embedded",
            broker=broker.url if broker else None,
            database=database.create_database() if database else None,
            settings=settings | {"STORAGE_ENDPOINTS": store.endpoint_url},
        ) as topology,
    ):
        topology.run("secrets", "create", "admin", "--import", stdin=f"{SECRET}\n")
        signer = S3Signer(bucket, client=seaweedfs.client(endpoint_url=store.endpoint_url))
        submit = Submitter(topology)
        with Chaos(topology, servers, submit) as chaos:
            accepted = {
                number: submit(
                    number, [signer.presign_put(f"put/{number}"), signer.presign_post(f"post/{number}"), receiver.url]
                )
                for number in range(TASKS)
            }
            wait_until(
                lambda: submit.settled(accepted.values()) or chaos.is_over,
                patience=PATIENCE,
                what="the end of the kills",
            )
        wait_until(lambda: submit.settled(accepted.values()), patience=PATIENCE, what="the end of every task")
        tasks = {number: submit.task(job_id) for number, job_id in accepted.items()}
    logging.getLogger(__name__).warning("Killed: %s", chaos.kills)
    assert all(chaos.kills.values()), chaos.kills
    client = seaweedfs.client()
    bodies, ids = _webhooks(receiver)
    for number, task in tasks.items():
        document = json.loads(bodies[task["job_id"]])
        assert document["job_id"] == task["job_id"]
        if task["success"]:
            assert document["results"]["predictions"] == [number * number]
        else:
            # Chaos may have killed one task's process three times.
            assert "process died 3 times" in task["error"]
        for place in ("put", "post"):
            stored = client.get_object(Bucket=bucket, Key=f"{place}/{number}")["Body"].read()
            assert stored == bodies[task["job_id"]]
    assert len(ids) == TASKS
    assert sum(task["success"] for task in tasks.values()) > TASKS / 2


class Submitter:
    """A client that submits tasks and queries them, and retries after missing responses."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._session = requests.Session()
        self._session.trust_env = False
        self._done: set[str] = set()
        self._accepted = 0

    @property
    def progress(self) -> int:
        """How many tasks were accepted, and how many were settled, together."""
        return self._accepted + len(self._done)

    def __call__(self, number: int, targets: list[Any]) -> str:
        callbacks = [
            {"url": target, "param": {}}
            if isinstance(target, str)
            else {"url": target.url, "param": target.callback_param}
            for target in targets
        ]
        key = uuid.uuid4().hex
        files = {
            "features": ("features", json.dumps({"a": [number]}).encode()),
            "parameters": ("parameters", json.dumps({"seconds": 0.3}).encode()),
        }
        fields = {"callbacks": json.dumps(callbacks)}

        def send() -> requests.Response:
            return self._request(
                "POST", "/algorithms/square/predict", data=fields, files=files, headers={"Idempotency-Key": key}
            )

        job_id = self._until(send, 202)["job_id"]
        self._accepted += 1
        return job_id

    def task(self, job_id: str) -> dict[str, Any]:
        return self._until(lambda: self._request("GET", f"/algorithms/tasks/{job_id}"), 200)

    def settled(self, job_ids: Any) -> bool:
        """Return whether all of these tasks are delivered to all targets."""
        for job_id in job_ids:
            if job_id not in self._done:
                task = self.task(job_id)
                states = [delivery["status"] for delivery in task["deliveries"]]
                assert "dead" not in states, task["deliveries"]
                if states == ["delivered"] * 3:
                    self._done.add(job_id)
        return self._done.issuperset(job_ids)

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        address = f"http://127.0.0.1:{self._topology.environment['CALLBACK_SDK_PORT']}"
        token = (self._topology.data / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        return self._session.request(method, f"{address}/api/v2{path}", headers=headers, timeout=30, **options)

    def _until(self, send: Callable[[], requests.Response], status: int) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while True:
            answer: requests.Response | None = None
            with suppress(requests.RequestException):
                answer = send()
                if answer.status_code == status:
                    return answer.json()
                assert answer.status_code >= 500, answer.text
            assert time.monotonic() < end, f"no answer: {answer and answer.text}"
            time.sleep(0.2)


def _webhooks(receiver: WebhookReceiver) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the bodies and the ids of webhooks by task, after a look at whether each is always the same."""
    bodies: dict[str, set[bytes]] = {}
    ids: dict[str, set[str | None]] = {}
    for request in receiver.requests:
        if request.body:
            job_id = request.document["job_id"]
            ids.setdefault(job_id, set()).add(request.delivery_id)
            bodies.setdefault(job_id, set()).add(request.body)
    assert all(len(of_task) == 1 for of_task in (*ids.values(), *bodies.values()))
    accepted = {request.document["job_id"] for request in receiver.accepted}
    assert accepted == set(bodies)
    return {job_id: of_task.pop() for job_id, of_task in bodies.items()}, {
        job_id: str(of_task.pop()) for job_id, of_task in ids.items()
    }
