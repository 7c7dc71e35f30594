"""callback_sdk.service.store.queue: which tasks are next, on both databases."""

from __future__ import annotations

from collections import Counter

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callback_sdk.service.store import Store, Submission, TaskRow
from callback_sdk.service.store.tables import tasks
from tests.databasework import work

AGAIN = 30.0

_INSERT_MANY = sa.text(
    "INSERT INTO tasks (job_id, owner, kind, algorithm, version, features_format, parameters, evaluate, options,"
    " priority, status, attempt, crash_count, nulls_written, created_at)"
    " WITH RECURSIVE numbers(number) AS"
    " (SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number + 1 < :count)"
    " SELECT 'task-' || number, 'user-' || (number % :users), 'predict', 'a', '1', 'json', '{}', '{}', '{}',"
    " 5, 'Pending', 0, 0, 0, 1700000000 + number FROM numbers"
)


def submit(store: Store, owner: str, *job_ids: str, algorithm: str = "a", priority: int = 5) -> None:
    rows = [
        TaskRow(job_id=job_id, owner=owner, algorithm=algorithm, version="1", features_format="json", priority=priority)
        for job_id in job_ids
    ]
    store.tasks.submit([Submission(task=row, targets=(), features=b"[]") for row in rows])


def numbered(name: str, count: int) -> list[str]:
    return [f"{name}{number}" for number in range(count)]


def fetch(store: Store, limit: int, **options) -> list[str]:
    return store.queue.fetch_due(limit, redispatch_after=AGAIN, **options)


def test_a_single_task_is_next_although_another_user_has_queued_thousands(store: Store) -> None:
    """Also if those were there first, and are being run."""
    submit(store, "anna", *numbered("a", 2000))
    assert fetch(store, 4) == ["a0", "a1", "a2", "a3"]
    submit(store, "ben", "b0")
    assert fetch(store, 2) == ["b0", "a4"]


def test_users_take_turns_in_the_order_of_their_tasks(store: Store) -> None:
    """From one fetch to the next, and until one of them has no task left."""
    submit(store, "anna", *numbered("a", 5))
    submit(store, "ben", *numbered("b", 2))
    submit(store, "cleo", *numbered("c", 9))
    assert fetch(store, 2) == ["a0", "b0"]
    assert fetch(store, 5) == ["c0", "a1", "b1", "c1", "a2"]
    assert fetch(store, 20) == ["c2", "a3", "c3", "a4", "c4", "c5", "c6", "c7", "c8"]


def test_a_share_that_a_user_can_not_fill_goes_to_the_others(store: Store) -> None:
    """No worker is idle while a task is queued."""
    submit(store, "anna", *numbered("a", 30))
    submit(store, "ben", "b0")
    submit(store, "cleo", "c0", "c1")
    found = fetch(store, 12)
    assert len(found) == len(set(found)) == 12
    assert {"b0", "c0", "c1"} < set(found)


def test_users_share_the_time_of_the_workers(store: Store) -> None:
    """Somebody whose tasks run waits for those who have fewer running tasks."""
    submit(store, "anna", *numbered("a", 20))
    for job_id in fetch(store, 2):
        store.tasks.claim(job_id, "w")
    submit(store, "ben", *numbered("b", 20))
    assert fetch(store, 2) == ["b0", "b1"]


def test_a_higher_priority_is_first_whoever_has_it(store: Store) -> None:
    """Users take turns among tasks of the same priority only."""
    submit(store, "anna", *numbered("u", 3), priority=9)
    submit(store, "anna", *numbered("a", 9))
    submit(store, "ben", *numbered("b", 9))
    submit(store, "ben", "later", priority=0)
    assert fetch(store, 5) == ["u0", "u1", "u2", "b0", "b1"]
    assert "later" not in fetch(store, 16)
    assert fetch(store, 9) == ["later"]


def test_the_tasks_of_a_user_are_in_order_over_all_algorithms(store: Store) -> None:
    """And a user with many algorithms gets no more than the others."""
    for number in range(6):
        submit(store, "anna", f"a{number}", algorithm=f"algorithm-{5 - number}")
    submit(store, "ben", *numbered("b", 6), algorithm="algorithm-0")
    assert fetch(store, 6) == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_the_workers_of_an_algorithm_are_shared_by_its_users(store: Store) -> None:
    """Tasks of other algorithms, which have other workers, don't count."""
    submit(store, "anna", *numbered("a", 9))
    submit(store, "anna", "elsewhere", algorithm="b")
    submit(store, "ben", *numbered("b", 9))
    store.tasks.claim("elsewhere", "w")
    assert fetch(store, 4, algorithms=("a",)) == ["a0", "b0", "a1", "b1"]
    assert fetch(store, 4, algorithms=("b",)) == []
    assert fetch(store, 4, algorithms=()) == fetch(store, 0) == []


def test_lost_ids_keep_their_turn(store: Store) -> None:
    """They are dispatched again, the oldest first."""
    submit(store, "anna", *numbered("a", 9))
    assert fetch(store, 2) == ["a0", "a1"]
    assert store.queue.fetch_due(2, redispatch_after=0.0) == ["a0", "a1"]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_everybody_is_served_in_every_round(store: Store, data: st.DataObject) -> None:
    """Whatever is submitted and however many are fetched: in order, completely, and no user is passed over."""
    store.database.write(lambda connection: connection.execute(tasks.delete()))
    counts = data.draw(st.dictionaries(st.sampled_from("abcdefghij"), st.integers(1, 12), min_size=1))
    for owner, count in counts.items():
        submit(store, owner, *numbered(owner, count))
    since = {owner: Counter[str]() for owner in counts}
    seen: dict[str, list[str]] = {owner: [] for owner in counts}
    while any(len(seen[owner]) < counts[owner] for owner in counts):
        for job_id in fetch(store, data.draw(st.integers(1, 7))):
            owner = job_id[0]
            seen[owner].append(job_id)
            for other in since.values():
                other[owner] += 1
            assert max(since[owner].values()) <= 2
            since[owner].clear()
    assert seen == {owner: numbered(owner, count) for owner, count in counts.items()}


def _work_of_a_fetch(store: Store, count: int, users: int) -> int:
    """Return the work for eight tasks of a queue."""
    store.database.write(lambda connection: connection.execute(tasks.delete()))
    store.database.write(lambda connection: connection.execute(_INSERT_MANY, {"count": count, "users": users}))
    fetched: list[str] = []
    found = work(store.database.engine, lambda: fetched.extend(fetch(store, 8)))
    assert len(fetched) == 8
    return found


def test_a_fetch_is_no_more_work_with_a_long_queue(store: Store) -> None:
    """1,000 tasks of 10 users against 100,000 tasks of 1,000 users."""
    few = _work_of_a_fetch(store, 1_000, 10)
    assert _work_of_a_fetch(store, 100_000, 1_000) < 4 * few


@pytest.mark.parametrize("count", [1_000, 20_000])
def test_tasks_that_are_dispatched_are_passed_over(store: Store, count: int) -> None:
    """One user's tasks are dispatched in order, also deep in the queue."""
    store.database.write(lambda connection: connection.execute(_INSERT_MANY, {"count": count, "users": 1}))
    found = [job_id for _ in range(3) for job_id in fetch(store, 100)]
    assert found == [f"task-{number}" for number in range(300)]
