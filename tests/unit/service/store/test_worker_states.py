"""callback_sdk.service.store.worker_states"""

from __future__ import annotations

import sqlalchemy as sa

from callback_sdk.service.store import Store
from callback_sdk.service.store.tables import worker_states
from callback_sdk.service.store.worker_states import ReportedState


def state(name: str, status: str = "ready", problem: str | None = None) -> ReportedState:
    return ReportedState(name=name, status=status, problem=problem)


def age(store: Store, seconds: float) -> None:
    earlier = worker_states.update().values(reported_at=worker_states.c.reported_at - seconds)
    store.database.write(lambda connection: connection.execute(earlier))


def test_the_last_report_counts(store: Store) -> None:
    """What isn't ready comes first."""
    store.worker_states.report([state("a"), state("b", "loading")])
    store.worker_states.report([state("c")])
    assert store.worker_states.current() == [state("b", "loading"), state("a"), state("c")]
    store.worker_states.report([state("a", "failed", "no model"), state("b")])
    assert store.worker_states.current() == [state("a", "failed", "no model"), state("b"), state("c")]


def test_workers_that_have_ended_are_not_shown(store: Store) -> None:
    """Whether they have said so, or report nothing any more."""
    store.worker_states.report([state("a"), state("b")])
    store.worker_states.remove(["a"])
    assert store.worker_states.current() == [state("b")]
    age(store, 60)
    assert store.worker_states.current() == []
    store.worker_states.report([state("c")])
    with store.database.read() as connection:
        assert connection.execute(sa.select(worker_states.c.name)).scalars().all() == ["c"]
