"""callback_sdk.service.store.search"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

import pytest

from callback_sdk.service.store import Store
from callback_sdk.service.store import search as module
from callback_sdk.service.store.search import TaskFilter, id_range
from callback_sdk.service.store.tables import tasks
from tests.databasework import work

ROW: dict[str, Any] = {
    "owner": "anna",
    "kind": "predict",
    "algorithm": "a",
    "version": "1",
    "features_format": "json",
    "parameters": {},
    "evaluate": True,
    "options": {},
    "priority": 5,
    "status": "Finished",
    "success": True,
    "error": None,
    "error_code": None,
}


def add(store: Store, rows: Iterable[dict[str, Any]]) -> None:
    """Insert tasks as they are, one second after the other."""
    values = [
        {**ROW, "job_id": str(uuid.uuid4()), "created_at": float(number), **row} for number, row in enumerate(rows)
    ]
    store.database.write(lambda connection: connection.execute(tasks.insert(), values))


def found(store: Store, *, limit: int = 100, **wanted: Any) -> list[float]:
    """Return the times of the tasks of all pages."""
    times: list[float] = []
    after = None
    while True:
        page = store.search.page(TaskFilter(**wanted), after=after, limit=limit)
        times += [task["created_at"] for task in page.tasks]
        after = page.position
        if after is None:
            return times


def test_each_filter_selects(store: Store) -> None:
    """Newest first, and all together."""
    add(
        store,
        [
            {},
            {"owner": "berta"},
            {"algorithm": "b"},
            {"success": False, "error": "Disk is FULL at 100%"},
            {"success": False, "error": "Not in time", "error_code": "expired"},
            {"status": "Pending", "success": None},
            {"status": "Canceled", "success": False, "error": "The task was canceled."},
        ],
    )
    assert found(store) == [6, 5, 4, 3, 2, 1, 0]
    assert found(store, owner="berta") == [1]
    assert found(store, algorithm="b") == [2]
    assert found(store, status="failed") == [4, 3]
    assert found(store, status="expired") == [4]
    assert found(store, status="succeeded") == [2, 1, 0]
    assert found(store, status="Pending") == [5]
    assert found(store, error="full") == [3]
    assert found(store, error="100%") == [3]
    assert found(store, error="1__%") == []
    assert found(store, since=2.0, until=4.0) == [3, 2]
    assert found(store, status="failed", error="in time", since=4.0, owner="anna") == [4]


def test_pages_are_complete_and_without_repetition(store: Store) -> None:
    """Also those of tasks that were accepted at the same time."""
    add(store, [{"created_at": float(number // 3)} for number in range(20)])
    assert found(store, limit=4) == sorted((number // 3 for number in range(20)), reverse=True)


def test_tasks_are_found_by_the_beginning_of_their_id(store: Store) -> None:
    """In any case and together with other filters, however many tasks there are."""
    ids = [
        "0f0e0000-0000-4000-8000-000000000000",
        "0f0e1000-0000-4000-8000-000000000000",
        "ffffffff-ffff-4fff-8fff-ffffffffffff",
    ]
    add(store, [{"job_id": one} for one in ids])
    assert found(store, id_prefix="0F0E") == [1, 0]
    assert found(store, id_prefix="0f0e1") == [1]
    assert found(store, id_prefix=ids[2]) == [2]
    assert found(store, id_prefix="f") == [2]
    assert found(store, id_prefix="0f0e", owner="berta") == []
    assert found(store, id_prefix="0f0e", status="failed") == []


@pytest.mark.parametrize("prefix", ["", "x", "-", "%", "0" * 33, "٣", "'; DROP TABLE tasks"])
def test_what_no_id_begins_with_finds_nothing(store: Store, prefix: str) -> None:
    """Without an error."""
    assert id_range(prefix) is None
    assert found(store, id_prefix=prefix) == []


def test_an_error_is_searched_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may be empty although there are more: each reads a bounded number of tasks."""
    monkeypatch.setattr(module, "WINDOW", 10)
    add(store, [{"success": False, "error": "rare" if number in (3, 27) else "common"} for number in range(30)])
    first = store.search.page(TaskFilter(error="rare"), limit=5)
    assert [task["created_at"] for task in first.tasks] == [27]
    second = store.search.page(TaskFilter(error="rare"), after=first.position, limit=5)
    assert second.tasks == []
    assert second.position is not None
    assert found(store, error="rare") == [27, 3]
    assert found(store, error="common", limit=4) == [n for n in range(29, -1, -1) if n not in (3, 27)]


def test_open_tasks_are_found_for_an_action(store: Store) -> None:
    """Queued and running ones only, up to a limit."""
    add(store, [{"status": status} for status in ("Pending", "In Progress", "Finished", "Canceled") * 3])
    assert len(store.search.open_ids(TaskFilter(), limit=100)) == 6
    assert len(store.search.open_ids(TaskFilter(), limit=4)) == 4
    assert len(store.search.open_ids(TaskFilter(status="In Progress"), limit=100)) == 3
    assert store.search.open_ids(TaskFilter(status="failed"), limit=100) == []


@pytest.mark.parametrize(
    "wanted",
    [{}, {"owner": "anna"}, {"status": "failed"}, {"owner": "anna", "status": "failed"}, {"id_prefix": "0f0e0000"}],
    ids=repr,
)
def test_the_work_for_a_page_does_not_grow_with_the_history(store: Store, wanted: dict[str, Any]) -> None:
    """An index answers, even if none of the latest tasks match."""

    def page() -> None:
        assert store.search.page(TaskFilter(**wanted), limit=10).tasks

    add(store, [{"success": number % 50 != 0} for number in range(1000)])
    add(store, [{"job_id": "0f0e0000-0000-4000-8000-000000000000"}])
    small = work(store.database.engine, page)
    add(store, [{}] * 16_000)
    assert work(store.database.engine, page) < 2 * small
