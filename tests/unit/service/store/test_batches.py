"""callback_sdk.service.store.batches: one document when all tasks of a batch have ended, and their deliveries too."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.models import NewBatch
from callback_sdk.service.store.tables import batches
from callback_sdk.targets.callbacks import parse_callbacks
from tests.unit.service.store.hosts_cases import URL, claim, deliver, fail, fetch

(DONE,) = parse_callbacks("https://example.org/done", {"run": 7})


def submit(
    store: Store, *job_ids: str, targets: Sequence[str] = (), is_last: bool = True, owner: str = "anna", id_: str = "b"
) -> None:
    """Submit the tasks of one request of a batch."""
    store.tasks.submit(
        [
            Submission(
                task=TaskRow(job_id=job_id, owner=owner, algorithm="sum", version="1", features_format="json"),
                targets=parse_callbacks(list(targets)),
                features=b"[]",
            )
            for job_id in job_ids
        ],
        batch=NewBatch(batch_id=id_, target=DONE, is_last=is_last),
    )


def end(store: Store, job_id: str, *, success: bool = True) -> None:
    found = store.tasks.claim(job_id, "w")
    assert found is not None
    store.tasks.finish(job_id, found.attempt, RunOutcome(success=success, error=None if success else "no"))


def results(store: Store, job_id: str) -> dict[str, Any]:
    (row,) = store.deliveries.of(job_id)
    assert (row["url"], row["callback_param"], row["status"]) == ("https://example.org/done", {"run": 7}, "pending")
    found = claim(store, row["delivery_id"])
    assert found.result.success
    loaded: dict[str, Any] = json.loads(found.results or b"")
    return loaded


def test_batch_ends_with_its_last_task(store: Store) -> None:
    """Whatever becomes of them: the document counts them, and names those without a result."""
    submit(store, "a", "b", "c")
    end(store, "a")
    end(store, "b", success=False)
    assert store.batches.end_complete() == []
    store.tasks.cancel("c")
    (job_id,) = store.batches.end_complete()
    assert results(store, job_id) == {
        "tasks": {"total": 3, "succeeded": 1, "failed": 1, "expired": 0, "canceled": 1},
        "deliveries": {"delivered": 0, "dead": 0, "skipped": 0},
        "unsuccessful": ["b", "c"],
    }
    assert store.batches.end_complete() == []


def test_batch_waits_for_the_deliveries_of_its_tasks(store: Store) -> None:
    """Until each is delivered or dead."""
    submit(store, "a", targets=[URL, URL + "2"])
    end(store, "a")
    first, second = fetch(store)
    deliver(store, claim(store, first))
    assert store.batches.end_complete() == []
    fail(store, claim(store, second), retry_in=60.0)
    assert store.batches.end_complete() == []
    with store.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(batches)).scalar() == 1
    _redeliver_and_give_up(store, second)
    (job_id,) = store.batches.end_complete()
    assert results(store, job_id)["deliveries"] == {"delivered": 1, "dead": 1, "skipped": 0}


def _redeliver_and_give_up(store: Store, delivery_id: str) -> None:
    store.deliveries.redeliver("a", delivery_id)
    fail(store, claim(store, delivery_id), retry_in=None)


def test_batch_of_several_requests_ends_after_the_last_one(store: Store) -> None:
    """The tasks of the first may have ended long before."""
    submit(store, "a", is_last=False)
    end(store, "a")
    assert store.batches.end_complete() == []
    submit(store, "b")
    assert store.batches.end_complete() == []
    end(store, "b")
    (job_id,) = store.batches.end_complete()
    assert results(store, job_id)["tasks"]["total"] == 2


def test_batches_of_two_users_with_one_id_are_two(store: Store) -> None:
    """Ids are the clients' own."""
    submit(store, "a")
    submit(store, "b", owner="ben")
    end(store, "a")
    (job_id,) = store.batches.end_complete()
    assert results(store, job_id)["tasks"]["total"] == 1


def test_one_of_many_services_ends_a_batch(store: Store, open_store: Callable[[], Store]) -> None:
    """There is one document."""
    submit(store, "a")
    end(store, "a")
    stores = [store, open_store()]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: stores[number % 2].batches.end_complete(), range(16)))
    assert sum(map(len, found)) == 1


def test_tasks_of_a_batch_that_goes_on_are_kept(store: Store) -> None:
    """The document counts them."""
    submit(store, "a", "b")
    end(store, "a")
    assert store.tasks.purgeable(older_than=-1.0, limit=10) == []
    end(store, "b")
    (job_id,) = store.batches.end_complete()
    assert {each.job_id for each in store.tasks.purgeable(older_than=-1.0, limit=10)} == {"a", "b"}
    before = store.tasks.bytes_of("anna")
    store.tasks.delete(["a", "b"])
    store.tasks.delete([job_id])
    assert before > 0
    assert store.tasks.bytes_of("anna") == 0
