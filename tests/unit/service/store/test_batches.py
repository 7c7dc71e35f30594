"""callback_sdk.service.store.batches: one document when all tasks of a batch have ended, and their deliveries too."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
import sqlalchemy as sa

from callback_sdk.service.store import IdempotencyKey, RunOutcome, Store, Submission, TaskRow, idempotency, rows
from callback_sdk.service.store.batches import _LOCK_COMPLETE, MAX_SILENCE, BatchConflictError
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.models import NewBatch
from callback_sdk.service.store.tables import batches, tasks
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from tests.databasework import work
from tests.topology import wait_until
from tests.unit.service.store.hosts_cases import URL, claim, deliver, fail, fetch

CLIENT = boto3.client("s3", region_name="eu-central-1", aws_access_key_id="AK", aws_secret_access_key="SK")
(DONE,) = parse_callbacks("https://example.org/done", {"run": 7})


def put(key: str, expires: int = 3600) -> Callback:
    (found,) = parse_callbacks(
        CLIENT.generate_presigned_url("put_object", Params={"Bucket": "b", "Key": key}, ExpiresIn=expires)
    )
    return found


def post(key: str, expires: int = 3600) -> Callback:
    (found,) = parse_callbacks(CLIENT.generate_presigned_post("b", key, ExpiresIn=expires))
    return found


def stored_target(store: Store) -> Callback:
    with store.database.read() as connection:
        encrypted = connection.execute(sa.select(batches.c.encrypted_target)).scalar_one()
    return rows.callback(encrypted, None, store.tasks._cipher)


def submit(
    store: Store,
    *job_ids: str,
    targets: Sequence[str] = (),
    is_last: bool = True,
    owner: str = "anna",
    id_: str = "b",
    algorithm: str = "sum",
    done: Callback = DONE,
    key: str | None = None,
) -> list[str]:
    """Submit the tasks of one request of a batch, and return the accepted ones."""
    accepted = store.tasks.submit(
        [
            Submission(
                task=TaskRow(job_id=job_id, owner=owner, algorithm=algorithm, version="1", features_format="json"),
                targets=parse_callbacks(list(targets)),
                features=b"[]",
            )
            for job_id in job_ids
        ],
        None if key is None else IdempotencyKey(key=key, fingerprint="f"),
        batch=NewBatch(batch_id=id_, target=done, is_last=is_last),
    )
    return [task.job_id for task in accepted]


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


def test_first_requests_at_the_same_time_are_of_one_batch(store: Store, open_store: Callable[[], Store]) -> None:
    """In any process; none of them fails."""
    stores = [store, open_store()]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: submit(stores[number % 2], str(number), is_last=False), range(16)))
    submit(store, "last")
    with store.database.read() as connection:
        assert len(set(connection.execute(sa.select(tasks.c.batch)).scalars())) == 1
        assert connection.execute(sa.select(batches.c.is_open)).scalar_one() is False


@pytest.mark.parametrize(
    ("done", "options"),
    [
        (DONE, {"algorithm": "mean"}),
        (DONE, {"done": parse_callbacks("https://example.org/other", {"run": 7})[0]}),
        (DONE, {"done": parse_callbacks("https://example.org/done?user=ben", {"run": 7})[0]}),
        (DONE, {"done": parse_callbacks("https://example.org/done", {"run": 8})[0]}),
        (post("a.json"), {"done": post("b.json")}),
        (put("a.json"), {"done": put("b.json")}),
    ],
)
def test_requests_of_a_batch_agree(store: Store, done: Callback, options: dict[str, Any]) -> None:
    """An end of which another place is told than the one that the last request names would be missed."""
    submit(store, "a", is_last=False, done=done)
    with pytest.raises(BatchConflictError, match="another algorithm or another target"):
        submit(store, "b", **{"done": done, **options})
    assert store.tasks.get("b") is None
    assert stored_target(store) == done


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (put("a.json"), put("a.json", expires=60)),
        (post("a.json"), post("a.json", expires=60)),
        (parse_callbacks(URL, {"webhook": {"headers": {"x-token": "old"}}})[0], parse_callbacks(URL)[0]),
    ],
)
def test_newest_signature_is_used(store: Store, old: Callback, new: Callback) -> None:
    """That of the first request may have expired when the batch ends."""
    submit(store, "a", is_last=False, done=old)
    assert submit(store, "b", done=new) == ["b"]
    assert stored_target(store) == new


def test_batches_of_two_users_may_differ(store: Store) -> None:
    """Although they have the same id."""
    submit(store, "a", is_last=False)
    assert submit(store, "b", owner="ben", algorithm="mean", done=put("a.json")) == ["b"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_request_before_the_end_of_a_silent_batch_counts(
    store: Store, open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it comes while another process is looking: PostgreSQL reads the batch after it, and tasks before it."""
    submit(store, "a", is_last=False)
    end(store, "a")
    _age(store, batches.c.requested_at)
    # The statement has its snapshot of the tasks, and waits before it locks the batch.
    waits = sa.literal_column("pg_advisory_xact_lock_shared(7)::text IS NOT NULL")
    monkeypatch.setattr("callback_sdk.service.store.batches._LOCK_COMPLETE", _LOCK_COMPLETE.where(waits))
    other = open_store()
    with ThreadPoolExecutor(1) as pool:
        with other.database.engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7)"))
            ended = pool.submit(store.batches.end_complete)
            wait_until(lambda: _count_waiting(other) == 1, what="the statement")
            submit(other, "last")
        assert ended.result(timeout=60) == []
    end(store, "last")
    (job_id,) = store.batches.end_complete()
    assert results(store, job_id)["tasks"] == {"total": 2, "succeeded": 2, "failed": 0, "expired": 0, "canceled": 0}


def _count_waiting(store: Store) -> int:
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM "
        "pg_database WHERE datname = current_database())"
    )
    with store.database.read() as connection:
        return int(connection.execute(sa.text(waiting)).scalar_one())


def test_batch_whose_last_request_never_comes_fails(store: Store) -> None:
    """Its target is told so, some days after the last one that came, and its tasks can be purged."""
    submit(store, "a", is_last=False)
    submit(store, "b", is_last=False)
    for job_id in ("a", "b"):
        end(store, job_id)
    _age(store, batches.c.created_at)
    assert store.batches.end_complete() == []
    _age(store, batches.c.requested_at)
    (job_id,) = store.batches.end_complete()
    task = store.tasks.get(job_id)
    assert task is not None
    assert (task["success"], task["kind"]) == (False, "batch")
    assert task["error"] == (
        "The last request of the batch has not come within 7 days of the one before. The 2 tasks that were submitted "
        "have ended."
    )
    (row,) = store.deliveries.of(job_id)
    found = claim(store, row["delivery_id"])
    assert (found.result.success, found.result.error, found.results) == (False, task["error"], None)
    assert {each.job_id for each in store.tasks.purgeable(older_than=-1.0, limit=10)} == {"a", "b"}


def _age(store: Store, column: sa.Column[Any]) -> None:
    long_ago = column.table.update().values({column.name: now() - MAX_SILENCE.total_seconds() - 1.0})
    store.database.write(lambda connection: connection.execute(long_ago))


def test_repeated_requests_of_an_open_batch_create_no_duplicates(store: Store) -> None:
    """However late the client comes back to send the last one: its keys are kept as long."""
    assert submit(store, "a", is_last=False, key="k/0") == ["a"]
    assert idempotency.delete(store.database, older_than=-1.0) == 0
    assert submit(store, "again", is_last=False, key="k/0") == ["a"]
    assert submit(store, "b", key="k/1") == ["b"]
    for job_id in ("a", "b"):
        end(store, job_id)
    (job_id,) = store.batches.end_complete()
    assert results(store, job_id)["tasks"]["total"] == 2
    assert idempotency.delete(store.database, older_than=-1.0) == 2


def test_ended_tasks_cost_nothing_while_a_batch_goes_on(store: Store) -> None:
    """Whether a task of a batch has not ended is found at once, however many have."""
    counts = []
    for size in (50, 1000):
        submit(store, *(f"{size}-{number}" for number in range(size)), id_=str(size))
        ended = tasks.update().where(tasks.c.job_id.startswith(f"{size}-"), tasks.c.job_id != f"{size}-{size - 1}")
        store.database.write(lambda one, ended=ended: one.execute(ended.values(status="Finished", finished_at=now())))
        # As PostgreSQL does now and then: otherwise earlier versions of the rows count, too.
        with store.database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql("VACUUM")
        counts.append(work(store.database.engine, store.batches.end_complete))
    assert counts[1] < 5 * counts[0]


def test_bytes_of_batches_are_those_of_their_owners(store: Store) -> None:
    """Also if several end in one transaction."""
    for owner in ("ben", "anna", "carl"):
        for number in range(2):
            submit(store, f"{owner}{number}", owner=owner, id_=str(number))
            store.tasks.cancel(f"{owner}{number}")
    before = {owner: store.tasks.bytes_of(owner) for owner in ("ben", "anna", "carl")}
    job_ids = store.batches.end_complete()
    assert len(job_ids) == 6
    stored = [task for job_id in job_ids if (task := store.tasks.get(job_id)) is not None]
    for owner, count in before.items():
        own = sum(task["stored_bytes"] for task in stored if task["owner"] == owner)
        assert store.tasks.bytes_of(owner) == count + own > count


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
