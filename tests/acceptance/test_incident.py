"""A rehearsed incident: receivers are down for an hour, URLs expire, a worker's machine is lost, and a page helps.

An operator runs the commands of `docs/runbook.md`, as they are there, and every result arrives. `make test` has 100
tasks, `make incident` 2,000.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import define, field

from callback_sdk import BatchItem, Client, S3Signer
from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import Secret
from callback_sdk.service.store import Store, open_database, rows
from callback_sdk.service.store.audit import AuditFilter
from callback_sdk.service.store.cipher import CredentialCipher, ensure_keys
from callback_sdk.service.store.tables import deliveries, metadata, tasks
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.testing import ObjectStore, SeaweedFS, WebhookReceiver
from callback_sdk.testing.faults import FaultResponse
from callback_sdk.testing.received import ReceivedRequest
from tests.clocks import clock
from tests.conftest import missing_server
from tests.topology import Topology, kill_tree, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "runbook.md"
TASKS = int(os.environ.get("INCIDENT_TASKS", "100"))
PATIENCE = 60 + TASKS
USERS = ("anna", "bert", "carl")
MAX_COMMANDS = 6
LIFETIME = timedelta(minutes=30)
HOUR = 3600.0
STEP = 300.0
"""Seconds by which the simulated clock moves at a time; an open circuit is tested after this time at the latest."""

SETTINGS = {"LEASE": "8s", "CIRCUIT_FAILURES": "5"}
TIMES = re.compile(r"(.*_)?(at|since|until)")
RUNNING = ("heartbeat_at", "reported_at")
"""Times of processes that run, for which no time passes."""


@define
class Outage:
    """Whether a server is down, and its answer then."""

    status: int
    is_over: bool = False


class Receiver(WebhookReceiver):
    """A receiver behind a load balancer, which answers in its place while it is down."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.outage = Outage(status)

    def _carry_out(self, request: ReceivedRequest) -> FaultResponse:
        return super()._carry_out(request) if self.outage.is_over else FaultResponse(status=self.outage.status)

    def results(self) -> dict[str, Any]:
        """Return what has arrived: the results by task."""
        documents = [json.loads(request.body) for request in self.accepted]
        return {one["job_id"]: one["results"]["predictions"] for one in documents}


class Bucket(ObjectStore):
    """A store that verifies signatures, behind a load balancer."""

    def __init__(self, upstream: SeaweedFS) -> None:
        super().__init__(upstream=upstream.endpoint_url)
        self.outage = Outage(503)

    def _carry_out(self, request: ReceivedRequest) -> FaultResponse:
        return super()._carry_out(request) if self.outage.is_over else FaultResponse(status=self.outage.status)


@define
class Incident:
    """The service, its receivers and its store."""

    topology: Topology
    store: Store
    cipher: CredentialCipher
    receivers: tuple[Receiver, Receiver]
    bucket: Bucket
    signer: S3Signer
    upstream: SeaweedFS
    folder: Path
    keys: dict[str, str] = field(factory=dict)
    """Keys of the objects by task."""
    expected: dict[str, Any] = field(factory=dict)
    """Results by task."""

    def submit(self, user: str) -> None:
        """Submit a user's share of the tasks: for the receivers, and for the bucket."""
        token = self.topology.run("users", "add", user)
        address = (self.topology.data / "address").read_text().strip()
        numbers = range(TASKS // len(USERS) + (user == USERS[0]) * (TASKS % len(USERS)))
        keys = [f"{user}/{number}/result 1.json" for number in numbers]
        targets = [
            self.signer.presign_put(keys[number], expires=LIFETIME)
            if number % 3 == 2
            else self.receivers[number % 3].url
            for number in numbers
        ]
        with Client(address, token=token) as client:
            items = [BatchItem({"a": [number, 1]}, callbacks=[targets[number]]) for number in numbers]
            found = client.run_algorithm_batch("sum", items)
        for number, task in enumerate(found):
            self.expected[task.job_id] = {"a": number + 1}
            if number % 3 == 2:
                self.keys[task.job_id] = keys[number]

    def pass_time(self, seconds: float) -> None:
        """Move the simulated clock: everything that is stored becomes older, the signatures of URLs included."""

        def age(connection: sa.Connection) -> None:
            for table in metadata.tables.values():
                columns = [one for one in table.c if TIMES.fullmatch(one.name) and one.name not in RUNNING]
                if columns and table.name in ("tasks", "deliveries", "delivery_attempts", "hosts"):
                    connection.execute(table.update().values({one: one - seconds for one in columns}))

        # Attempts that are running may be in the way.
        self.store.database.write_with_retry(age)

    def age_signatures(self, seconds: float) -> None:
        """Sign the objects of all pending deliveries again, as if that had been some seconds ago."""
        query = sa.select(deliveries.c.delivery_id, deliveries.c.job_id).where(deliveries.c.job_id.in_(self.keys))
        with self.store.database.read() as connection:
            found = connection.execute(query).all()
        with clock(self.signer, datetime.now(timezone.utc) - timedelta(seconds=seconds)):
            signed = [self.signer.presign_put(self.keys[row.job_id], expires=LIFETIME) for row in found]
        changes = [
            deliveries.update()
            .where(deliveries.c.delivery_id == row.delivery_id)
            .values(rows.target_columns(parse_callbacks([target])[0], self.cipher))
            for row, target in zip(found, signed, strict=True)
        ]

        def change(connection: sa.Connection) -> None:
            for one in changes:
                connection.execute(one)

        self.store.database.write_with_retry(change)

    def undelivered(self) -> int:
        """Return the number of deliveries that have not succeeded."""
        query = sa.select(sa.func.count()).select_from(deliveries).where(deliveries.c.status != "delivered")
        with self.store.database.read() as connection:
            return connection.execute(query).scalar_one()

    def settle(self) -> None:
        """Wait until no attempt is running or due."""
        due = (deliveries.c.worker.is_not(None)) | (
            deliveries.c.next_attempt_at <= sa.literal_column("extract(epoch from now())")
        )
        query = sa.select(sa.func.count()).where(due, deliveries.c.held_since.is_(None))

        def is_quiet() -> bool:
            with self.store.database.read() as connection:
                return connection.execute(query).scalar_one() == 0

        wait_until(is_quiet, patience=PATIENCE, what="the end of all attempts")


@pytest.fixture
def incident(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Incident]:
    """Run a service, its first worker and the receivers, which are down."""
    try:
        seaweedfs = request.getfixturevalue("seaweedfs")
        database = request.getfixturevalue("callback_postgres").create_database()
        broker = request.getfixturevalue("callback_valkey").url
    except CallbackSDKError as error:
        missing_server(str(error))
    arguments = {"engine": "celery", "database": database, "broker": broker, "settings": SETTINGS}
    with (
        Receiver(503) as first,
        Receiver(404) as second,
        Bucket(seaweedfs) as bucket,
        Topology(tmp_path, "engine_jobs:registry", **arguments) as topology,
    ):
        cipher = CredentialCipher(ensure_keys(topology.data / "keys"))
        signer = S3Signer(
            seaweedfs.create_bucket(),
            client=seaweedfs.client(endpoint_url=bucket.endpoint_url),
        )
        with closing(Store(open_database(Secret(database)), cipher)) as store:
            yield Incident(topology, store, cipher, (first, second), bucket, signer, seaweedfs, tmp_path)


def lose_a_worker(incident: Incident) -> None:
    """Kill a worker with all its processes while it runs tasks; another one is on another machine."""
    starts, go = incident.folder / "starts", incident.folder / "go"
    with incident.topology.client() as client:
        parameters = {"starts": str(starts), "go": str(go)}
        running = [client.run_algorithm("slow", {"a": [1]}, parameters=parameters) for _ in range(2)]
        wait_until(lambda: starts.exists() and len(starts.read_text().splitlines()) == 2, what="two runs")
        lost = incident.topology.worker
        incident.topology.launch("worker")
        kill_tree(lost)
        go.touch()
        for user in USERS:
            incident.submit(user)
        wait_until(lambda: not incident.store.tasks.unfinished_ids(), patience=PATIENCE, what="the end of all tasks")
        assert [client.get_task(task.job_id).success for task in running] == [True, True]


def commands() -> list[str]:
    """Return the commands of the page, each of which is one line."""
    text = PAGE.read_text().partition("\n## Commands\n")[2].partition("\n## ")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines() if line]


def run(incident: Incident, command: str, token: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the page as the operator's shell does."""
    address = (incident.topology.data / "address").read_text().strip()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CALLBACK_SDK_", "AWS_"))}
    environment = {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CALLBACK_SDK_URL": address,
        "CALLBACK_SDK_TOKEN": token,
        "AWS_ACCESS_KEY_ID": incident.upstream.access_key,
        "AWS_SECRET_ACCESS_KEY": incident.upstream.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": incident.bucket.endpoint_url,
    }
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=incident.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 4,
        check=False,
    )


def test_with_the_runbook_every_result_is_delivered(incident: Incident) -> None:
    """With the commands of the page alone, at most six, and each at its place with the right value."""
    began = time.time()
    lose_a_worker(incident)
    incident.settle()
    for _ in range(int(HOUR / STEP)):
        incident.pass_time(STEP)
    incident.age_signatures(HOUR)
    incident.settle()
    assert incident.undelivered() == TASKS
    token = incident.topology.run("users", "add", "otto", "--operator")

    found = commands()
    assert len(found) <= MAX_COMMANDS
    hosts, look, redeliver, sign, list_rest = found
    done = run(incident, hosts, token)
    assert done.returncode == 0, done.stderr
    assert incident.receivers[0].url.removesuffix("/webhook") in done.stdout
    # Only now: a probe would close the circuit, and the command would not list the host.
    for server in (*incident.receivers, incident.bucket):
        server.outage.is_over = True
    done = run(incident, look, token)
    # A few may have been delivered since the outage is over, by attempts that were due.
    assert done.returncode == 3, done.stderr
    done = run(incident, redeliver, token)
    assert done.returncode == 3, done.stderr
    assert f"{len(incident.keys)} skipped" in done.stderr
    done = run(incident, sign, token)
    assert (done.returncode, done.stdout) == (0, f"{len(incident.keys)} deliveries have new targets.\n"), done.stderr
    incident.pass_time(STEP)
    wait_until(lambda: not incident.undelivered(), patience=PATIENCE, what="the delivery of the rest")
    done = run(incident, list_rest, token)
    assert done.returncode == 0, done.stderr
    assert not re.findall(r"msg_\w+", done.stdout)

    check_results(incident)
    check_audit(incident, began)


def check_results(incident: Incident) -> None:
    """Check that each result is at its own place, and at no other."""
    arrived = {**incident.receivers[0].results(), **incident.receivers[1].results()}
    s3 = incident.upstream.client()
    for job_id, key in incident.keys.items():
        assert job_id not in arrived
        body = s3.get_object(Bucket=incident.signer.bucket, Key=key)["Body"].read()
        arrived[job_id] = json.loads(body)["results"]["predictions"]
    assert arrived == incident.expected
    with incident.store.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).where(tasks.c.success.is_(False))).scalar_one() == 0


def check_audit(incident: Incident, began: float) -> None:
    """Check that each redelivery and each new target of the users' deliveries is in the audit log."""
    changed: dict[str, set[str]] = {"redelivered": set(), "target-replaced": set()}
    before = None
    while entries := incident.store.audit.page(AuditFilter(actor="otto", since=began - 1), before=before, limit=500):
        for entry in entries:
            if entry.action in changed:
                assert entry.owner in USERS
                changed[entry.action] |= {*entry.facts.get("delivery_ids", [entry.facts.get("delivery_id")])}
        before = entries[-1].entry_id
    assert len(changed["redelivered"]) == TASKS - len(incident.keys)
    assert len(changed["target-replaced"]) == len(incident.keys)
