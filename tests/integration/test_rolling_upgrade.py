"""A rolling upgrade to the next version: old processes work beside new ones on the new schema, and nothing stops."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

import callback_sdk
from callback_sdk import BatchItem, Client
from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import Secret
from callback_sdk.service.store import open_database, schema
from callback_sdk.service.store.cipher import new_key
from callback_sdk.service.store.tables import deliveries, tasks, workers
from callback_sdk.testing import WebhookReceiver
from tests.conftest import missing_server
from tests.topology import Topology, wait_until

MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "9001", "{newest}", None, None


def upgrade(cipher):
    op.add_column("tasks", sa.Column("next", sa.Text))
    op.add_column("deliveries", sa.Column("next", sa.Integer, nullable=False, server_default="0"))
    op.create_table("next", sa.Column("name", sa.String(8), primary_key=True))
    op.create_index("tasks_by_next", "tasks", ["next"])
"""


@pytest.fixture
def next_version(tmp_path: Path) -> Path:
    """Create a directory with the next version of the package, which has a further migration."""
    package = tmp_path / "next" / "callback_sdk"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(callback_sdk.__file__).parent, package, ignore=ignored)
    migration = package / "service" / "store" / "migrations" / "versions" / "9001_next.py"
    migration.write_text(MIGRATION.format(newest=schema.newest()))
    version = package / "_version.py"
    version.write_text(version.read_text().replace(callback_sdk.__version__, "99.0"))
    return package.parent


@contextmanager
def submitting(client: Client, url: str, accepted: list[str]) -> Iterator[None]:
    """Submit tasks until the end of the block. No request may fail."""
    stopping, failures = threading.Event(), []

    def submit() -> None:
        try:
            while not stopping.wait(0.05):
                found = client.run_algorithm_batch("sum", [BatchItem({"a": [1]})] * 3, callback_url=url)
                accepted.extend(task.job_id for task in found)
        except CallbackSDKError as error:
            failures.append(error)

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
    assert failures == []


def _upgrade(topology: Topology) -> str:
    """Run the command in a process of its own, because this one has imported another version."""
    command = [sys.executable, "-m", "callback_sdk.cli", "db", "upgrade"]
    run = subprocess.run(command, env=topology.environment, capture_output=True, text=True, timeout=120, check=True)
    return run.stdout


def _versions(url: str) -> set[str]:
    with closing(open_database(Secret(url))) as database, database.read() as connection:
        return set(connection.execute(sa.select(workers.c.package_version)).scalars())


def _is_done(url: str, accepted: list[str]) -> bool:
    ended = sa.select(tasks.c.job_id).where(tasks.c.success.is_(True))
    delivered = sa.select(deliveries.c.job_id).where(deliveries.c.status == "delivered")
    with closing(open_database(Secret(url))) as database, database.read() as connection:
        return all(set(accepted) <= set(connection.execute(query).scalars()) for query in (ended, delivered))


def test_old_and_new_processes_work_together(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    next_version: Path,
    webhook: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In each step of the upgrade, and on the way back, every accepted task is run and delivered."""
    # `python -m` looks for the package in the working directory first.
    monkeypatch.chdir(tmp_path)
    try:
        broker = request.getfixturevalue("callback_valkey").url
        url = request.getfixturevalue("callback_postgres").create_database()
    except CallbackSDKError as error:
        missing_server(str(error))
    common = {"engine": "celery", "broker": broker, "database": url}
    settings = {"ENCRYPTION_KEYS": new_key().reveal(), "LEASE": "8s"}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    old = Topology(tmp_path / "a", "engine_jobs:registry", **common, settings=settings)
    new = Topology(tmp_path / "b", "engine_jobs:registry", **common, settings=settings, paths=[next_version])
    accepted: list[str] = []
    with old, old.client() as client:
        with submitting(client, webhook.url, accepted):
            wait_until(lambda: _versions(url) == {callback_sdk.__version__}, what="the old worker")
            assert _upgrade(new) == f"Revision {schema.newest()} -> 9001.\n"
            count = len(accepted)
            wait_until(lambda: len(accepted) > count + 10, what="tasks on the new schema")
            # An old worker that starts on the new schema.
            old.worker.terminate()
            old.worker.wait()
            old.start_worker()
            new.start_service()
            new.start_worker()
            wait_until(lambda: _versions(url) == {callback_sdk.__version__, "99.0"}, what="both workers")
            with new.client() as other, submitting(other, webhook.url, accepted):
                count = len(accepted)
                wait_until(lambda: len(accepted) > count + 10, what="tasks of both services")
            old.worker.terminate()
            old.worker.wait()
            count = len(accepted)
            wait_until(lambda: len(accepted) > count + 10, what="tasks of the old service for the new worker")
        wait_until(lambda: _is_done(url, accepted), what="all deliveries")
    new.close()
    # Back to the old version.
    with old, old.client() as client:
        assert client.run_algorithm("sum", {"a": [1]}).wait(progress=False).predictions == {"a": 1}
    assert "Traceback" not in old.log + new.log
