"""Users share the workers of a real service, with each engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from callback_sdk import Client
from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import Secret
from callback_sdk.service.store import open_database
from callback_sdk.service.store.tables import tasks
from tests.conftest import missing_server
from tests.topology import Topology

BACKLOG = 2_000
MAX_PASSED = 300
"""Tasks of another user that may start before the only one of a user: those that were sent to workers before, the more
the busier the machine is."""


@pytest.fixture(params=["embedded-sqlite", "valkey-sqlite", "rabbitmq-postgres"])
def topology(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Topology]:
    """Run a service with two worker processes."""
    engine, database = request.param.split("-")
    options: dict[str, Any] = {"engine": "embedded"}
    try:
        if engine != "embedded":
            options = {"engine": "celery", "broker": request.getfixturevalue(f"callback_{engine}").url}
        if database == "postgres":
            options["database"] = request.getfixturevalue("callback_postgres").create_database()
    except CallbackSDKError as error:
        missing_server(str(error))
    with Topology(tmp_path, "engine_jobs:registry", **options) as topology:
        yield topology


def test_one_task_does_not_wait_for_thousands_of_another_user(topology: Topology) -> None:
    """It is among the next that start."""
    token = topology.run("users", "add", "ben")
    with topology.client() as anna, Client(anna.url, token=token) as ben:
        anna.run_algorithm_batch("sum", [{"a": [1]}] * BACKLOG)
        task = ben.run_algorithm("sum", {"a": [2]})
        assert task.wait(progress=False).predictions == {"a": 2}
        with closing(open_database(_database(topology))) as database, database.read() as connection:
            times = sa.select(tasks.c.created_at, tasks.c.started_at).where(tasks.c.job_id == task.job_id)
            created, started = connection.execute(times).one()
            between = (tasks.c.started_at >= created, tasks.c.started_at < started)
            passed = sa.select(sa.func.count()).select_from(tasks).where(*between)
            waiting = sa.select(sa.func.count()).select_from(tasks).where(tasks.c.created_at < created)
            assert connection.execute(passed).scalar_one() <= MAX_PASSED
            assert connection.execute(waiting).scalar_one() == BACKLOG


def _database(topology: Topology) -> Secret[str]:
    url = topology.environment.get("CALLBACK_SDK_DATABASE")
    return Secret(url or f"sqlite:///{topology.data / 'store.sqlite3'}")
