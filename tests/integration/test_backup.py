"""A backup under load, restored elsewhere: every task of it ends, and is delivered with the same webhook-id."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from callback_sdk import BatchItem, Client
from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import Secret
from callback_sdk.service.store import open_database
from callback_sdk.service.store.tables import deliveries, tasks
from callback_sdk.testing import WebhookReceiver
from callback_sdk.testing.postgres import _find_programs
from tests.conftest import missing_server
from tests.topology import Topology, kill_tree, wait_until

BEFORE = 100
"""Tasks that are submitted before the backup begins."""

LARGE = {"a": list(range(20_000))}
"""Features that are too large for the database, like their results."""


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find pg_dump and pg_restore."""
    monkeypatch.setenv("PATH", f"{_find_programs()}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(params=["embedded", "celery"])
def kind(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the arguments of a topology; with celery the database is PostgreSQL."""
    if request.param == "embedded":
        return {"engine": "embedded"}
    try:
        broker = request.getfixturevalue("callback_valkey").url
        request.getfixturevalue("callback_postgres")
    except CallbackSDKError as error:
        missing_server(str(error))
    return {"engine": "celery", "broker": broker}


def _topology(folder: Path, kind: dict[str, Any], request: pytest.FixtureRequest) -> Topology:
    folder.mkdir()
    server = request.getfixturevalue("callback_postgres") if kind["engine"] == "celery" else None
    database = server.create_database() if server else None
    return Topology(folder, "engine_jobs:registry", **kind, database=database, settings={"LEASE": "8s"})


@contextmanager
def submitting(client: Client, url: str) -> Iterator[None]:
    """Submit tasks until the end of the block."""
    stopping = threading.Event()

    def submit() -> None:
        while not stopping.is_set():
            client.run_algorithm_batch("large", [BatchItem(LARGE)] * 5, callback_url=url)

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _rows(topology: Topology, *columns: sa.Column[Any]) -> list[Any]:
    url = topology.environment.get("CALLBACK_SDK_DATABASE") or f"sqlite:///{topology.data / 'store.sqlite3'}"
    with closing(open_database(Secret(url))) as database, database.read() as connection:
        return list(connection.execute(sa.select(*columns)).all())


def _are_delivered(topology: Topology) -> bool:
    states = {status for (status,) in _rows(topology, deliveries.c.status)}
    return {status for (status,) in _rows(topology, tasks.c.status)} == {"Finished"} and states == {"delivered"}


def _ids(webhook: WebhookReceiver) -> dict[str, set[str]]:
    """Return the ids of the webhooks of each task."""
    found: dict[str, set[str]] = {}
    for request in webhook.requests:
        found.setdefault(request.document["job_id"], set()).add(request.delivery_id)
    return found


def test_a_backup_under_load_is_complete(
    kind: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path, webhook: WebhookReceiver
) -> None:
    """Its tasks all end elsewhere with success, although the service has run them and removed their features since."""
    with _topology(tmp_path / "old", kind, request) as old:
        with old.client() as client:
            client.run_algorithm_batch("large", [BatchItem(LARGE)] * BEFORE, callback_url=webhook.url)
            with submitting(client, webhook.url):
                # In a process of its own: `run` would change the environment that the submitting thread reads.
                command = [sys.executable, "-m", "callback_sdk.cli", "db", "backup", str(tmp_path / "backup")]
                done = subprocess.run(command, env=old.environment, capture_output=True, text=True, check=True)
                assert "Backed up" in done.stdout
        wait_until(lambda: _are_delivered(old), what="all deliveries")
        for process in (old.service, old.worker):
            if process is not None:
                kill_tree(process)
        accepted = {job_id for (job_id,) in _rows(old, tasks.c.job_id)}
    new = _topology(tmp_path / "new", kind, request)
    new.data.mkdir()
    shutil.copy(old.data / "keys", new.data / "keys")
    said = new.run("db", "restore", str(tmp_path / "backup"))
    saved = dict(_rows(new, tasks.c.job_id, tasks.c.status))
    assert accepted > set(saved)
    assert len(saved) >= BEFORE
    waiting = {job_id for job_id, status in saved.items() if status == "Pending"}
    assert f"will run {len(waiting)} tasks" in said
    assert waiting
    before = _ids(webhook)
    count = len(webhook.requests)
    with new:
        wait_until(lambda: _are_delivered(new), what="all deliveries after the restore")
    again = {request.document["job_id"] for request in webhook.requests[count:]}
    assert waiting <= again
    assert all(request.document["success"] for request in webhook.requests)
    after = _ids(webhook)
    assert {job_id: after[job_id] for job_id in saved} == {job_id: before[job_id] for job_id in saved}
    assert {len(ids) for ids in after.values()} == {1}


def test_a_killed_backup_has_not_its_name(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """And the next one succeeds."""
    with _topology(tmp_path / "old", {"engine": "embedded"}, request) as old:
        # A lock like that of the removal of a blob: the command waits for it when it has created its directory.
        lock = os.open(old.data / "blobs", os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_SH)
        target = tmp_path / "backup"
        command = [sys.executable, "-m", "callback_sdk.cli", "db", "backup", str(target)]
        with subprocess.Popen(command, env=old.environment) as process:
            wait_until(lambda: list(tmp_path.glob(".backup.*.partial")), what="the beginning of the backup")
            process.send_signal(signal.SIGKILL)
        os.close(lock)
        assert not target.exists()
        old.run("db", "backup", str(target))
        assert (target / "store.sqlite3").exists()
