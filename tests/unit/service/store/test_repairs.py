"""callback_sdk.service.store.repairs"""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.models import ReclaimedTask
from callback_sdk.service.store.repairs import repair_times
from callback_sdk.service.store.tables import deliveries, tasks
from callback_sdk.targets.callbacks import parse_callbacks

DAY = 86400.0


@pytest.fixture
def delivery_id(store: Store) -> str:
    """Submit two tasks: one waits, the other has ended and has a delivery to make."""
    for job_id in ("waits", "ended"):
        task = TaskRow(job_id=job_id, owner="anna", algorithm="a", version="1", features_format="json")
        store.tasks.submit(
            [Submission(task=task, targets=parse_callbacks(["https://example.org/hook"]), features=b"[]")]
        )
    claim = store.tasks.claim("ended", "w")
    store.tasks.finish("ended", claim.attempt, RunOutcome(success=True, results=b"{}"))
    return store.deliveries.of("ended")[0]["delivery_id"]


def shift(store: Store, table: sa.Table, seconds: float, *names: str) -> None:
    """Put times ahead, as they are after the clock was put back."""
    values: dict[str, Any] = {name: table.c[name] + seconds for name in names}
    store.database.write(lambda connection: connection.execute(table.update().values(values)))


def repair(store: Store) -> int:
    return repair_times(store.database, lease=20.0, max_delay=DAY)


@pytest.mark.usefixtures("delivery_id")
def test_a_task_that_was_dispatched_in_the_future_is_dispatched_now(store: Store) -> None:
    """Otherwise it would stay pending until the clock has caught up."""
    assert store.queue.fetch_due(9, redispatch_after=0.0) == ["waits"]
    shift(store, tasks, DAY, "dispatched_at")
    assert store.queue.fetch_due(9, redispatch_after=0.0) == []
    assert repair(store) == 1
    assert store.queue.fetch_due(9, redispatch_after=0.0) == ["waits"]


@pytest.mark.usefixtures("delivery_id")
def test_the_lease_of_a_dead_worker_expires(store: Store) -> None:
    """Its heartbeat of the future counts as one of this moment, so a living worker loses nothing."""
    store.tasks.claim("waits", "dead")
    shift(store, tasks, DAY, "heartbeat_at")
    assert store.tasks.reclaim(silent_for=0.0) == []
    assert repair(store) >= 1
    assert store.tasks.reclaim(silent_for=20.0) == []
    shift(store, tasks, -21.0, "heartbeat_at")
    assert store.tasks.reclaim(silent_for=20.0) == [ReclaimedTask("waits", 1)]


def test_deliveries_are_repaired(store: Store, delivery_id: str) -> None:
    """Times of dispatch, claim and next attempt in the future are repaired."""
    assert [one for one, _ in store.deliveries.fetch_due(9, skip_hosts=(), redispatch_after=0.0)] == [delivery_id]
    shift(store, deliveries, 2 * DAY, "dispatched_at", "next_attempt_at")
    assert repair(store) == 2
    assert store.deliveries.claim(delivery_id, "dead") is not None
    shift(store, deliveries, DAY, "heartbeat_at")
    assert store.deliveries.reclaim(silent_for=0.0) == 0
    assert repair(store) == 1
    shift(store, deliveries, -21.0, "heartbeat_at")
    assert store.deliveries.reclaim(silent_for=20.0) == 1


def test_correct_times_are_not_changed(store: Store, delivery_id: str) -> None:
    """A recent heartbeat and an attempt in some hours are plausible."""
    store.deliveries.claim(delivery_id, "w")
    store.deliveries.record_failure(delivery_id, 1, "503", 3600.0)
    store.tasks.claim("waits", "w")
    assert repair(store) == 0
