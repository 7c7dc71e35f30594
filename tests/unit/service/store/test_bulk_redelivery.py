"""callback_sdk.service.store.bulk_redelivery: deliveries by filters, and their redelivery page by page."""

from __future__ import annotations

import itertools
from datetime import datetime, timezone

import pytest
import sqlalchemy as sa

from callback_sdk.errors import TargetExpiredError
from callback_sdk.models import DeliveryFilter
from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.bulk_redelivery import Position
from callback_sdk.service.store.tables import deliveries, tasks
from callback_sdk.targets.callbacks import Callback, parse_callbacks

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
numbers = itertools.count()


def add(
    store: Store,
    owner: str = "anna",
    *,
    url: str = "https://a.example/hook",
    algorithm: str = "a",
    error: str | None = "503 Service Unavailable",
    dead: bool = True,
    at: float = 0.0,
) -> str:
    """Add a delivery whose first attempt failed, of a task that ended some seconds after noon, and return its id."""
    job_id = f"{owner}-{next(numbers)}"
    task = TaskRow(job_id=job_id, owner=owner, algorithm=algorithm, version="1", features_format="json")
    store.tasks.submit([Submission(task=task, targets=parse_callbacks([url]), features=b"[]")])
    store.tasks.finish(job_id, store.tasks.claim(job_id, "w").attempt, RunOutcome(success=True))
    end = tasks.update().where(tasks.c.job_id == job_id).values(finished_at=NOON.timestamp() + at)
    store.database.write(lambda connection: connection.execute(end))
    (row,) = store.deliveries.of(job_id)
    if error is not None:
        fail(store, row["delivery_id"], error, dead=dead)
    return row["delivery_id"]


def fail(store: Store, delivery_id: str, error: str = "410 Gone", *, dead: bool = True) -> None:
    claim = store.deliveries.claim(delivery_id, "w")
    store.deliveries.record_failure(delivery_id, claim.attempt, error, None if dead else 60.0)


def found(store: Store, owner: str | None = None, **wanted: object) -> list[str]:
    page = store.bulk_redelivery.page(DeliveryFilter(**wanted), owner=owner, limit=99)
    assert len(page) == store.bulk_redelivery.count(DeliveryFilter(**wanted), owner=owner)
    return [row["delivery_id"] for row in page]


def accept(_: str, __: Callback) -> None:
    """Take any target for valid."""


def test_each_filter_selects(store: Store) -> None:
    """By status, host, algorithm, time and error; the latest tasks come first."""
    first = add(store, error="403 AccessDenied: 100%_of")
    second = add(store, url="https://B.example:8443/x", algorithm="b", at=60)
    failing = add(store, dead=False, at=120)
    waiting = add(store, error=None, at=180)
    delivered = add(store, dead=False, at=240)
    done = deliveries.update().where(deliveries.c.delivery_id == delivered).values(status="delivered", last_error=None)
    store.database.write(lambda connection: connection.execute(done))
    assert found(store) == [delivered, waiting, failing, second, first]
    assert found(store, status="dead") == [second, first]
    assert found(store, status="failing") == [failing]
    assert found(store, status="pending") == [waiting, failing]
    assert found(store, status="late") == [waiting, failing]
    assert found(store, status="undelivered") == [waiting, failing, second, first]
    assert found(store, status="delivered") == [delivered]
    assert found(store, status="dead", host="B.example") == [second]
    assert found(store, status="dead", algorithm="a") == [first]
    assert found(store, status="dead", error="accessdenied: 100%_") == [first]
    assert found(store, status="dead", error="100__of") == []
    assert found(store, since=NOON.replace(minute=1), until=NOON.replace(minute=3)) == [failing, second]


def test_tasks_that_have_not_ended_are_not_found(store: Store) -> None:
    """Their deliveries aren't due, and have no time to be ordered by."""
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, targets=parse_callbacks(["https://a.example/hook"]), features=b"[]")])
    assert found(store) == []


def test_a_user_finds_only_own_deliveries(store: Store) -> None:
    """With the name of the owner; without an owner all are found."""
    store.users.add("Anna", user_id="anna")
    mine, other = add(store), add(store, "bert")
    assert found(store, "anna") == [mine]
    assert set(found(store)) == {mine, other}
    (row,) = store.bulk_redelivery.page(DeliveryFilter(), owner="anna", limit=9)
    assert (row["owner"], row["owner_name"], row["algorithm"]) == ("anna", "Anna", "a")
    assert "encrypted_target" not in row


def test_pages_continue_where_the_previous_one_ended(store: Store) -> None:
    """Also between deliveries of tasks that ended at the same time."""
    ids = {add(store) for _ in range(5)}
    seen: list[str] = []
    after = None
    for _ in range(3):
        page = store.bulk_redelivery.page(DeliveryFilter(status="dead"), owner=None, after=after, limit=2)
        seen += [row["delivery_id"] for row in page]
        after = Position(page[-1]["task_finished_at"], page[-1]["delivery_id"])
    assert sorted(seen) == sorted(ids)


def redeliver(store: Store, limit: int = 2, **options: object) -> list[list[str]]:
    """Redeliver all dead deliveries, and return the ids of each page; each is dead again before the next page."""
    pages, after = [], None
    while True:
        page = store.bulk_redelivery.redeliver(
            DeliveryFilter(status="dead"), owner=None, after=after, limit=limit, check=accept, **options
        )
        pages.append([row["delivery_id"] for row in page.due])
        for delivery_id in pages[-1] if not options else ():
            fail(store, delivery_id)
        if page.next is None:
            return pages
        after = page.next


def test_each_delivery_is_redelivered_once_even_if_it_dies_again(store: Store) -> None:
    """The earliest tasks come first, and a receiver that still rejects everything makes no endless redelivery."""
    ids = [add(store, at=number) for number in range(5)]
    assert redeliver(store) == [ids[:2], ids[2:4], ids[4:]]
    assert [row["attempt_count"] for row in store.bulk_redelivery.page(DeliveryFilter(), owner=None, limit=9)] == [
        2
    ] * 5


def test_a_dry_run_changes_nothing(store: Store) -> None:
    """It goes through the same pages."""
    ids = [add(store, at=number) for number in range(3)]
    assert redeliver(store, dry_run=True) == [ids[:2], ids[2:]]
    assert set(found(store, status="dead")) == set(ids)


def test_a_redelivery_restarts_the_backoff(store: Store) -> None:
    """The next attempt is the first one since the redelivery, and due at once."""
    delivery_id = add(store, dead=False)
    store.bulk_redelivery.redeliver(
        DeliveryFilter(status="failing"), owner=None, after=None, limit=9, check=accept
    )  # fmt: skip
    claim = store.deliveries.claim(delivery_id, "w")
    assert claim is not None
    assert claim.since_redelivery == 1


def test_what_no_attempt_can_complete_is_skipped(store: Store) -> None:
    """It stays dead, with the reason."""
    good, expired = add(store), add(store, url="https://b.example/expired", at=1)

    def check(delivery_id: str, callback: Callback) -> None:
        if callback.url.host == "b.example":
            raise TargetExpiredError("It has expired.", url="https://b.example/expired")

    page = store.bulk_redelivery.redeliver(DeliveryFilter(status="dead"), owner=None, after=None, limit=9, check=check)
    assert [row["delivery_id"] for row in page.due] == [good]
    ((row, problem),) = page.skipped
    assert row["delivery_id"] == expired
    assert isinstance(problem, TargetExpiredError)
    assert found(store, status="dead") == [expired]


def test_a_delivery_that_succeeds_meanwhile_is_left_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the query and the update another process may have delivered it."""
    delivery_id = add(store)

    def deliver(_: str, __: Callback) -> None:
        done = deliveries.update().where(deliveries.c.delivery_id == delivery_id).values(status="delivered")
        store.database.write(lambda connection: connection.execute(done))

    page = store.bulk_redelivery.redeliver(
        DeliveryFilter(status="dead"), owner=None, after=None, limit=9, check=deliver
    )
    assert (page.due, page.skipped, page.next) == ([], [], None)
    with store.database.read() as connection:
        assert connection.execute(sa.select(deliveries.c.status)).scalars().all() == ["delivered"]
