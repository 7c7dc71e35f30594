"""Outbox among processes that share it, die, and fork; and against a store that checks signatures."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from callback_sdk import JobResult, Outbox, ResultsWriter, S3Signer
from callback_sdk.concurrency.host_slots import PER_HOST
from callback_sdk.outbox import files, store
from callback_sdk.testing import SeaweedFS, WebhookReceiver
from callback_sdk.transport import retry
from tests.rawserver import RawServer, answer, read_request

ROOT = Path(__file__).parents[2]
RESULT = JobResult(job_id="42", success=True, results={"life": [7.5]})

WRITE = """
import sys
from callback_sdk import JobResult, Outbox
outbox = Outbox(sys.argv[1])
outbox.write(JobResult(job_id="42", success=True, results={"life": [7.5]}), sys.argv[2])
"""

RUN = """
import sys
from callback_sdk import Outbox
with Outbox(sys.argv[1]) as outbox:
    outbox.run(until_empty=True)
"""


class Counting:
    """A webhook that counts the concurrent senders of each delivery.

    Args:
        hold: Seconds that it takes for each request.
        faults: Whether the first try of a delivery fails.
    """

    def __init__(self, *, hold: float = 0.0, faults: bool = False) -> None:
        self.hold = hold
        self.faults = faults
        self.tries: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.bodies: dict[str, set[bytes]] = {}
        self.max_concurrent = 0
        self.arrived = threading.Event()
        self._open: dict[str, list[socket.socket]] = {}
        self._lock = threading.Lock()

    def __call__(self, connection: socket.socket, number: int) -> None:
        """Serve one connection; see `RawServer`."""
        while True:
            head, body = read_request(connection)
            if not head:
                return
            webhook_id = head.lower().split(b"webhook-id: ")[1].split()[0].decode()
            with self._lock:
                others = [other for other in self._open.get(webhook_id, []) if not _has_gone(other)]
                self._open[webhook_id] = [*others, connection]
                self.max_concurrent = max(self.max_concurrent, len(others) + 1)
                self.tries[webhook_id] += 1
                self.bodies.setdefault(webhook_id, set()).add(body)
                fails = self.faults and self.tries[webhook_id] == 1
            self.arrived.set()
            until = time.monotonic() + self.hold
            while time.monotonic() < until and not _has_gone(connection):
                time.sleep(0.005)
            with self._lock:
                gone = _has_gone(connection)
                self._open[webhook_id] = [other for other in self._open[webhook_id] if other is not connection]
                self.accepted[webhook_id] += not fails and not gone
            if not gone:
                connection.sendall(answer("503 Service Unavailable") if fails else answer("200 OK"))


def _has_gone(connection: socket.socket) -> bool:
    try:
        return bool(select.select([connection], [], [], 0)[0]) and connection.recv(1, socket.MSG_PEEK) == b""
    except (OSError, ValueError):
        return True


@contextlib.contextmanager
def python(script: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a script in a separate process, and kill it at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a fresh file."""
    return tmp_path / "outbox.sqlite3"


@pytest.fixture
def no_lease_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock of leases in this process."""
    now = time.time()
    monkeypatch.setattr(store, "time", SimpleNamespace(time=lambda: now))


@pytest.mark.usefixtures("no_lease_expires")
def test_delivery_of_a_killed_process_is_taken_over_at_once(path: Path) -> None:
    """After kill -9 in the middle of sending, the next one sends it within seconds and not when a lease has run out."""
    webhook = Counting(hold=60)
    with RawServer(webhook) as server:
        with python(WRITE, path, server.url) as writer:
            assert webhook.arrived.wait(60)
            with Outbox(path) as outbox, _set_after(seconds=1) as stop:
                assert outbox.entries()[0].sending
                outbox.run(stop=stop)
                assert sum(webhook.tries.values()) == 1
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        webhook.hold = 0
        with Outbox(path) as outbox, _set_after(seconds=60) as stop:
            outbox.run(until_empty=True, stop=stop)
            (entry,) = outbox.entries()
    assert (entry.status, entry.attempts) == ("delivered", 2)
    assert webhook.max_concurrent == 1
    assert [len(bodies) for bodies in webhook.bodies.values()] == [1]


def test_job_that_runs_again_after_a_kill_is_one_delivery(path: Path) -> None:
    """Its write claims the delivery of the killed process, with the same id."""
    webhook = Counting(hold=60)
    with RawServer(webhook) as server:
        with python(WRITE, path, server.url) as writer:
            assert webhook.arrived.wait(60)
            writer.kill()
            writer.wait()
        webhook.hold = 0
        with Outbox(path) as outbox:
            assert outbox.write(RESULT, server.url).receipts
            assert len(outbox.entries()) == 1
    assert list(webhook.tries.values()) == [2]
    assert list(webhook.accepted.values()) == [1]


def test_processes_that_share_an_outbox_send_each_delivery_once(path: Path) -> None:
    """Two at a time, killed again and again in the middle of it: none is lost, none is sent by two at once."""
    webhook = Counting(faults=True)
    count = 120
    with RawServer(webhook) as server, Outbox(path) as outbox:
        for number in range(count):
            outbox.write(_result(number), f"{server.url}/{number % 5}")
        assert len(outbox.entries(status="pending")) == count
        outbox.redeliver()
        # Nothing is accepted until both are dead: what is accepted right before a kill may rightly be sent again.
        webhook.hold = 60
        for _ in range(3):
            before = sum(webhook.tries.values())
            with python(RUN, path) as one, python(RUN, path) as two:
                _wait_until(lambda: sum(webhook.tries.values()) == before + 2 * PER_HOST)  # noqa: B023
                one.kill()
                two.kill()
        webhook.hold = 0.01
        with python(RUN, path) as one, python(RUN, path) as two:
            assert one.wait(180) == two.wait(180) == 0
        entries = outbox.entries()
    assert {entry.status for entry in entries} == {"delivered"}
    assert max(entry.attempts for entry in entries) > 2
    assert webhook.max_concurrent == 1
    assert list(webhook.accepted.values()) == [1] * count
    assert all(len(bodies) == 1 for bodies in webhook.bodies.values())


def test_processes_may_make_the_outbox_at_the_same_time(path: Path, webhook: WebhookReceiver) -> None:
    """Six that start at once find one outbox, and make one delivery of the same result."""
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(python(WRITE, path, webhook.url)) for _ in range(6)]
        assert [writer.wait(180) for writer in writers] == [0] * 6
    assert len(webhook.requests) == 1


def test_child_of_a_fork_has_its_own_connection(path: Path, webhook: WebhookReceiver) -> None:
    """A worker may open the outbox before it forks; parent and children write side by side."""
    with Outbox(path) as outbox:
        outbox.write(RESULT, webhook.url)
        children = [_fork(lambda n=n: outbox.write(_result(n), webhook.url)) for n in range(4)]  # type: ignore[misc]
        outbox.write(_result(99), webhook.url)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
        assert {entry.job_id for entry in outbox.entries(status="delivered")} == {"42", "99", "0", "1", "2", "3"}


FORKS = """
import os, sys, time
from callback_sdk import JobResult, Outbox
outbox = Outbox(sys.argv[1])
outbox.write(JobResult(job_id="1", success=True), sys.argv[2] + "/first")
if os.fork() == 0:
    os.setpgid(0, 0)
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
sys.stdin.readline()
outbox.write(JobResult(job_id="42", success=True, results={"life": [7.5]}), sys.argv[2])
"""


@pytest.mark.usefixtures("no_lease_expires")
def test_child_does_not_keep_its_dead_parent_alive(path: Path) -> None:
    """Deliveries of a killed parent are due at once, although its child still runs and inherited its locks."""
    webhook = Counting()
    with RawServer(webhook) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", FORKS, path, server.url],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            child = int(process.stdout.readline())
            try:
                webhook.hold = 60
                process.stdin.write(b"\n")
                process.stdin.flush()
                _wait_until(lambda: sum(webhook.tries.values()) == 2)
                process.kill()
                process.wait()
                webhook.hold = 0
                with Outbox(path) as outbox, _set_after(seconds=60) as stop:
                    outbox.run(until_empty=True, stop=stop)
            finally:
                os.kill(child, signal.SIGKILL)
    assert sum(webhook.accepted.values()) == 2


def test_targets_of_all_kinds_are_delivered_after_a_fault(
    path: Path, seaweedfs: SeaweedFS, bucket: str, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PUT and POST are read back; a webhook too small for the results learns where they are."""
    monkeypatch.setattr(retry, "service_delay", lambda attempts, delays: timedelta(0))
    signer = S3Signer(bucket, client=seaweedfs.client())
    webhook.respond(503)
    results = {"predictions": ["x" * 1000] * 300}
    with ResultsWriter(storage_endpoints=[seaweedfs.endpoint_url]) as writer, Outbox(path, writer=writer) as outbox:
        targets = [
            webhook.url,
            signer.presign_put("put.json"),
            signer.presign_post("post.json"),
            signer.presign_post("other.json"),
        ]
        written = outbox.write(JobResult(job_id="1", success=True, results=results), targets)
        assert [receipt.target_kind for receipt in written.receipts] == ["s3-put", "s3-post", "s3-post"]
        assert len(json.dumps(results)) > files.INLINE
        outbox.run(until_empty=True)
    for key in ("put.json", "post.json", "other.json"):
        assert _read(seaweedfs, bucket, key)["results"] == results
    document = webhook.requests[-1].document
    assert "results" not in document
    assert document["results_url"] == f"{seaweedfs.endpoint_url}/{bucket}/put.json"


def _read(seaweedfs: SeaweedFS, bucket: str, key: str) -> Any:
    return json.loads(seaweedfs.client().get_object(Bucket=bucket, Key=key)["Body"].read())


def _result(number: int) -> JobResult:
    return JobResult(job_id=str(number), success=True, results=number)


@contextlib.contextmanager
def _set_after(*, seconds: float) -> Iterator[threading.Event]:
    """Give an event that ends `run` after a while."""
    event = threading.Event()
    timer = threading.Timer(seconds, event.set)
    timer.start()
    try:
        yield event
    finally:
        timer.cancel()
        timer.join()


def _fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def _wait_until(came_true: Callable[[], bool]) -> None:
    until = time.monotonic() + 180
    while not came_true():
        assert time.monotonic() < until
        time.sleep(0.01)
