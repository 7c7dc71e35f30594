"""Hosts and their deliveries in a store, and a clock that moves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

import sqlalchemy as sa

from callback_sdk.receipt import Receipt
from callback_sdk.service.store import DeliveryClaim, RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.hosts import HostState
from callback_sdk.service.store.models import HostOutcome
from callback_sdk.service.store.tables import deliveries, hosts
from callback_sdk.targets.callbacks import parse_callbacks

HOST = "https://example.org"
URL = f"{HOST}/hook"

_TIMES = (
    *(hosts.c[name] for name in ("open_since", "retry_at", "paused_at", "failed_at", "next_slot_at", "wake_at")),
    *(deliveries.c[name] for name in ("next_attempt_at", "held_since", "held_until", "heartbeat_at", "dispatched_at")),
)


def end_tasks(store: Store, count: int, url: str = URL, *, first: int = 0) -> list[str]:
    """Submit and end tasks with one target each, and return the ids of the deliveries in the order of their ends."""
    found = []
    for number in range(first, first + count):
        task = TaskRow(job_id=f"{url}-{number}"[-60:], owner="anna", algorithm="a", version="1", features_format="json")
        store.tasks.submit([Submission(task=task, targets=parse_callbacks([url]), features=b"[]")])
        claim = store.tasks.claim(task.job_id, "w")
        assert claim is not None
        store.tasks.finish(task.job_id, claim.attempt, RunOutcome(success=True, results=b"{}"))
        found.append(store.deliveries.of(task.job_id)[0]["delivery_id"])
    return found


def fetch(store: Store, limit: int = 100) -> list[str]:
    """Return the ids of due deliveries, as the dispatcher does."""
    store.hosts.release_due()
    return [delivery_id for delivery_id, _ in store.deliveries.fetch_due(limit, redispatch_after=0.0)]


def claim(store: Store, delivery_id: str, worker: str = "w") -> DeliveryClaim:
    """Claim a delivery that may be claimed."""
    found = store.deliveries.claim(delivery_id, worker)
    assert found is not None
    return found


def fail(store: Store, found: DeliveryClaim, *, retry_in: float | None = 5.0, retry_after: float = 0.0) -> None:
    """End an attempt with a transient failure."""
    outcome = HostOutcome(origin=found.origin, is_available=False, retry_after=retry_after, error="It is away.")
    store.deliveries.record_failure(found.delivery_id, found.attempt, "It is away.", retry_in, host=outcome)


def reject(store: Store, found: DeliveryClaim) -> None:
    """End an attempt with a response such as 403, which is about the delivery alone."""
    outcome = HostOutcome(origin=found.origin, is_available=True) if found.host_is_known else None
    store.deliveries.record_failure(found.delivery_id, found.attempt, "It is forbidden.", None, host=outcome)


def deliver(store: Store, found: DeliveryClaim) -> None:
    """End an attempt with success."""
    at = datetime.now(timezone.utc)
    receipt = Receipt(target_kind="webhook", url="u", status=200, size=1, sha256="00", started_at=at, finished_at=at)
    outcome = HostOutcome(origin=found.origin, is_available=True) if found.host_is_known else None
    store.deliveries.record_receipt(found.delivery_id, found.attempt, receipt, host=outcome)


def open_circuit(store: Store, ids: Sequence[str]) -> None:
    """Fail the first attempts of five deliveries."""
    for delivery_id in ids[:5]:
        fail(store, claim(store, delivery_id), retry_in=86400.0)


def state(store: Store, host: str = HOST) -> HostState:
    """Return the state of a host; closed if nothing is known of it."""
    return next((one for one in store.hosts.all() if one.host == host), HostState(host=host, state="closed"))


def held(store: Store) -> list[str]:
    """Return the ids of held deliveries, those that are due longest first."""
    query = sa.select(deliveries.c.delivery_id).where(deliveries.c.held_since.is_not(None))
    with store.database.read() as connection:
        return list(connection.execute(query.order_by(deliveries.c.next_attempt_at)).scalars())


def pass_time(store: Store, seconds: float) -> None:
    """Put all times of hosts and deliveries back."""

    def move(connection: sa.Connection) -> None:
        for column in _TIMES:
            connection.execute(column.table.update().values({column.name: column - seconds}))

    store.database.write(move)
