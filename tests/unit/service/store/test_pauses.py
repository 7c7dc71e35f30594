"""callback_sdk.service.store.pauses"""

from __future__ import annotations

import pytest

from callback_sdk.service.store import Store, Submission, TaskRow
from callback_sdk.service.store.pauses import AlgorithmPausedError

AGAIN = 30.0


def submit(store: Store, job_id: str, algorithm: str) -> None:
    task = TaskRow(job_id=job_id, owner="anna", algorithm=algorithm, version="1", features_format="json")
    store.tasks.submit([Submission(task=task, targets=(), features=b"[]")])


def test_tasks_of_a_paused_algorithm_stay_queued(store: Store) -> None:
    """They are neither dispatched nor claimed, also those that a broker has already, until the algorithm is resumed."""
    for job_id, algorithm in (("a1", "a"), ("b1", "b"), ("a2", "a")):
        submit(store, job_id, algorithm)
    assert store.queue.fetch_due(1, redispatch_after=AGAIN) == ["a1"]
    store.pauses.pause("a", is_accepted=True, reason="", paused_by="olga")
    assert store.tasks.claim("a1", "w") is None
    assert store.queue.fetch_due(9, redispatch_after=AGAIN) == ["b1"]
    assert store.queue.fetch_due(9, algorithms=("a",), redispatch_after=AGAIN) == []
    assert store.tasks.counts()["Pending"] == 3
    assert store.pauses.resume("a")
    assert not store.pauses.resume("a")
    assert store.queue.fetch_due(9, redispatch_after=AGAIN) == ["a1", "a2"]
    assert store.tasks.claim("a1", "w") is not None


def test_new_tasks_of_a_paused_algorithm_are_accepted_or_refused(store: Store) -> None:
    """As the operator chose, who may change that; the error has the reason."""
    store.pauses.check(["a"])
    store.pauses.pause("a", is_accepted=False, reason="The model is wrong.", paused_by="olga")
    store.pauses.check(["b"])
    with pytest.raises(AlgorithmPausedError, match=r"'a' is paused and accepts no tasks: The model is wrong\."):
        store.pauses.check(["b", "a"])
    store.pauses.pause("a", is_accepted=True, reason="", paused_by="omar")
    store.pauses.check(["a"])
    (pause,) = store.pauses.all()
    # Without a new reason, the earlier one is kept.
    assert (pause.algorithm, pause.is_accepted, pause.reason) == ("a", True, "The model is wrong.")
    assert pause.paused_by == "omar"
    assert abs(pause.paused_at - store.clock()) < 60
