"""callback_sdk.service.store.expiry"""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
import sqlalchemy as sa

from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.tables import tasks
from callback_sdk.targets.callbacks import parse_callbacks

HOUR = timedelta(hours=1).total_seconds()
HOOK = "https://example.org/hook"


def submit(store: Store, job_id: str = "1", **expiry: float) -> str:
    task = TaskRow(job_id=job_id, owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, targets=parse_callbacks([HOOK]), features=b"[]", **expiry)])
    return job_id


def pass_time(store: Store, seconds: float) -> None:
    """Move the times of all tasks into the past."""
    moved = {name: tasks.c[name] - seconds for name in ("created_at", "expires_at", "targets_expire_at")}
    store.database.write(lambda connection: connection.execute(sa.update(tasks).values(moved)))


def in_an_hour() -> float:
    return time.time() + HOUR


@pytest.mark.parametrize("kind", ["task", "targets"])
def test_an_expired_task_is_not_started(store: Store, kind: str) -> None:
    """Whether its own time has passed or that of all its targets."""
    submit(store, **({"expires": HOUR} if kind == "task" else {"targets_expire_at": in_an_hour()}))
    assert store.tasks.end_expired() == []
    pass_time(store, HOUR)
    assert store.tasks.claim("1", "w") is None
    assert store.tasks.end_expired() == ["1"]
    assert store.tasks.end_expired() == []
    task = store.tasks.get("1")
    assert (task["status"], task["success"], task["error_code"]) == ("Finished", False, "expired")
    assert ("targets" in task["error"]) is (kind == "targets")
    assert task["finished_at"] is not None


def test_the_error_has_the_reason_why_no_worker_could_start_it(store: Store) -> None:
    """It doesn't say that they were busy."""
    submit(store, "1", expires=HOUR)
    pass_time(store, HOUR)
    store.tasks.end_expired("The setup of the registry failed: no model.")
    assert store.tasks.get("1")["error"] == (
        "No worker started the task before it expired: no worker is ready. The setup of the registry failed: no model. "
        "It was not computed."
    )


def test_the_failure_is_delivered(store: Store) -> None:
    """Its deliveries are due at once."""
    submit(store, expires=HOUR)
    pass_time(store, HOUR)
    store.tasks.end_expired()
    ((delivery_id, _),) = store.deliveries.fetch_due(10, redispatch_after=30)
    result = store.deliveries.claim(delivery_id, "w").result
    assert (result.success, result.status) == (False, "Finished")
    assert "expired" in result.error


def test_a_task_expires_only_before_its_first_start(store: Store) -> None:
    """A run that was started in time and interrupted is repeated, unless nothing could be delivered."""
    submit(store, "own", expires=HOUR)
    submit(store, "targets", targets_expire_at=in_an_hour())
    for job_id in ("own", "targets"):
        store.tasks.release(job_id, store.tasks.claim(job_id, "w").attempt)
    pass_time(store, HOUR)
    assert store.tasks.end_expired() == ["targets"]
    assert store.tasks.claim("targets", "w") is None
    assert store.tasks.claim("own", "w").attempt == 2


def test_a_running_task_does_not_expire(store: Store) -> None:
    """Its result is stored, and delivered where that is still possible."""
    submit(store, expires=HOUR, targets_expire_at=in_an_hour())
    claim = store.tasks.claim("1", "w")
    pass_time(store, HOUR)
    assert store.tasks.end_expired() == []
    assert store.tasks.finish("1", claim.attempt, RunOutcome(success=True, results=b"{}")) is not None
    assert store.tasks.get("1")["error_code"] is None


def test_other_tasks_stay_queued(store: Store) -> None:
    """Those that never expire, and those with time left."""
    submit(store, "never")
    submit(store, "later", expires=3 * HOUR)
    submit(store, "now", expires=HOUR)
    pass_time(store, HOUR)
    assert store.tasks.end_expired() == ["now"]
    assert store.tasks.counts()["Pending"] == 2


def test_many_tasks_expire_at_once(store: Store) -> None:
    """More than one transaction ends."""
    for number in range(3):
        submitted = [
            Submission(
                task=TaskRow(job_id=f"{number}-{n}", owner="anna", algorithm="a", version="1", features_format="json"),
                features=b"[]",
                expires=HOUR,
            )
            for n in range(100)
        ]
        store.tasks.submit(submitted)
    pass_time(store, HOUR)
    assert len(set(store.tasks.end_expired())) == 300


@pytest.mark.parametrize("name", ["expires_at", "targets_expire_at"])
def test_expired_tasks_are_found_by_an_index(store: Store, name: str) -> None:
    """The backlog isn't read at each check."""
    indexed = {index.name for index in tasks.indexes if name in index.columns}
    for number in range(20):
        submit(store, str(number))
    with store.database.read() as connection:
        if connection.dialect.name != "sqlite":
            # The statistics may be those of earlier tests' rows.
            connection.execute(sa.text("ANALYZE tasks"))
            connection.execute(sa.text("SET enable_seqscan = off"))
        explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        plan = connection.execute(
            sa.text(f"{explain} SELECT job_id FROM tasks WHERE status = 'Pending' AND {name} <= 1")
        ).all()
    assert any(index in str(plan) for index in indexed)
