"""callback_sdk.service.store.workers"""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from attrs import evolve

from callback_sdk.service.store import Store, Submission, TaskRow
from callback_sdk.service.store.tables import workers
from callback_sdk.service.store.workers import MAX_SILENCE, OldWorkersError, WorkerFacts

WORKER = WorkerFacts(name="w-1", host="h", pid=7, package_version="1", algorithms=["a", "b"], slots=2)


def fall_silent(store: Store, seconds: float) -> None:
    earlier = workers.update().values(heartbeat_at=workers.c.heartbeat_at - seconds)
    store.database.write(lambda connection: connection.execute(earlier))


def test_workers_are_listed_with_what_they_do(store: Store) -> None:
    """Busy while they run as many tasks as they can, and lost when their heartbeat is missing."""
    store.workers.report(WORKER)
    (found,) = store.workers.all()
    assert (found.name, found.host, found.pid, found.package_version) == ("w-1", "h", 7, "1")
    assert (found.algorithms, found.slots, found.running, found.idle, found.status) == (("a", "b"), 2, 0, 2, "idle")
    assert 0 <= found.silent_for < 60
    for number in range(2):
        task = TaskRow(job_id=str(number), owner="anna", algorithm="a", version="1", features_format="json")
        store.tasks.submit([Submission(task=task, targets=(), features=b"[]")])
        store.tasks.claim(task.job_id, "w-1")
    (found,) = store.workers.all()
    assert (found.running, found.idle, found.status) == (2, 0, "busy")
    fall_silent(store, MAX_SILENCE + 1)
    (found,) = store.workers.all()
    assert (found.idle, found.status) == (0, "lost")
    store.workers.report(evolve(WORKER, slots=0))
    assert store.workers.all()[0].status == "starting"
    store.workers.remove("w-1")
    assert store.workers.all() == []


def test_the_slots_of_an_algorithm_are_those_of_its_live_workers(store: Store) -> None:
    """A worker that takes several algorithms counts for each."""
    store.workers.report(evolve(WORKER, name="lost", slots=9))
    fall_silent(store, MAX_SILENCE + 1)
    store.workers.report(WORKER)
    store.workers.report(evolve(WORKER, name="w-2", algorithms=["b"], slots=1))
    assert store.workers.slots() == {"a": 2, "b": 3}


def test_lost_workers_are_deleted_after_a_day(store: Store) -> None:
    """When another one starts."""
    store.workers.report(WORKER)
    fall_silent(store, 90_000)
    store.workers.report(evolve(WORKER, name="w-2"))
    with store.database.read() as connection:
        assert list(connection.execute(sa.select(workers.c.name)).scalars()) == ["w-2"]


def test_old_workers_are_found_while_they_run(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Those that are lost or that know of skipped deliveries don't matter. Only the log has names of machines."""
    store.workers.check_skipping()
    store.workers.report(evolve(WORKER, revision="0024"))
    store.workers.check_skipping()
    store.workers.report(evolve(WORKER, name="old", host="h2"))
    with pytest.raises(OldWorkersError, match="workers of an earlier version") as caught:
        store.workers.check_skipping()
    assert "h2" not in f"{caught.value.message} {caught.value.hint}"
    assert "workers of an earlier version run: h2 (1)." in caplog.text
    fall_silent(store, MAX_SILENCE + 1)
    store.workers.check_skipping()
