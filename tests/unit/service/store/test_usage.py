"""callback_sdk.service.store.usage"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from callback_sdk.service.store import IdempotencyKey, Store, Submission
from callback_sdk.service.store.models import RunOutcome, TaskRow
from callback_sdk.service.store.usage import StorageQuotaError, TooLargeForQuotaError

EMPTY = 2
"""Bytes of no parameters."""


def submission(job_id: str, size: int = 100, owner: str = "anna", **task: Any) -> Submission:
    new = TaskRow(job_id=job_id, owner=owner, algorithm="sum", version="1", features_format="json", **task)
    return Submission(task=new, features=bytes(size), size=size)


def test_features_count_until_results_take_their_place(store: Store) -> None:
    """And these until the task is forgotten; parameters count all the time, and a model for ever."""
    store.tasks.submit([submission("1", 100, parameters={"a": 1}), submission("2", 50)])
    parameters = len('{"a": 1}')
    assert store.tasks.bytes_of("anna") == 150 + parameters + EMPTY
    claim = store.tasks.claim("1", "w")
    assert claim is not None
    store.tasks.finish("1", claim.attempt, RunOutcome(success=True, size=7, model_size=1000))
    assert store.tasks.bytes_of("anna") == 50 + parameters + EMPTY + 7 + 1000
    assert store.tasks.cancel("2") == "Canceled"
    assert store.tasks.cancel("2") == "Canceled"
    assert store.tasks.bytes_of("anna") == parameters + EMPTY + 7 + 1000
    store.tasks.delete(["1", "2"])
    store.tasks.delete(["1", "2"])
    assert store.tasks.bytes_of("anna") == 1000
    assert store.tasks.bytes_of("bert") == 0


def test_every_end_of_a_task_releases_its_features(store: Store) -> None:
    """Including tasks of unregistered algorithms, and tasks that crashed too often."""
    for one in (submission("1"), submission("2", owner="bert")):
        store.tasks.submit([one])
    for _ in range(3):
        assert store.tasks.claim("1", "w") is not None
        store.tasks.reclaim(worker="w")
    store.tasks.end_waiting("sum", "gone")
    assert [store.tasks.bytes_of(owner) for owner in ("anna", "bert")] == [EMPTY, EMPTY]


def test_a_run_that_lost_its_claim_counts_nothing(store: Store) -> None:
    """Nor does one that says twice how it ended."""
    store.tasks.submit([submission("1")])
    old = store.tasks.claim("1", "w")
    assert old is not None
    store.tasks.finish("1", old.attempt + 1, RunOutcome(success=True, size=5000))
    assert store.tasks.bytes_of("anna") == 100 + EMPTY
    for _ in range(2):
        store.tasks.finish("1", old.attempt, RunOutcome(success=True, size=5))
    assert store.tasks.bytes_of("anna") == 5 + EMPTY


def test_submissions_above_the_quota_are_rejected(store: Store) -> None:
    """As a whole; a request above the entire quota has another error, and other users aren't affected."""
    most = 3 * (100 + EMPTY)
    store.tasks.submit([submission("1"), submission("2")], max_bytes=most)
    with pytest.raises(StorageQuotaError, match="CALLBACK_SDK_MAX_BYTES") as caught:
        store.tasks.submit([submission("3"), submission("4")], max_bytes=most)
    assert (caught.value.used, caught.value.needed, caught.value.quota) == (204, 204, most)
    assert store.tasks.get("3") is None
    with pytest.raises(TooLargeForQuotaError):
        store.tasks.submit([submission("5", most)], max_bytes=most)
    store.tasks.submit([submission("6", owner="bert"), submission("7", owner="bert")], max_bytes=most)
    store.tasks.submit([submission("8")], max_bytes=most)
    assert store.tasks.bytes_of("anna") == most


def test_a_repeated_request_does_not_count_again(store: Store) -> None:
    """Its tasks already exist, so it succeeds even if the quota is used up."""
    key = IdempotencyKey(key="k", fingerprint="f")
    (first,) = store.tasks.submit([submission("1")], key, max_bytes=102)
    (again,) = store.tasks.submit([submission("2")], key, max_bytes=102)
    assert (first.job_id, again.job_id) == ("1", "1")
    assert store.tasks.bytes_of("anna") == 102


def test_concurrent_submissions_do_not_exceed_the_quota(open_store: Callable[[], Store]) -> None:
    """Threads of two services submit while tasks of the same user end."""
    stores = [open_store(), open_store()]
    most = 10 * (100 + EMPTY)

    def submit(number: int) -> bool:
        store = stores[number % 2]
        try:
            store.tasks.submit([submission(str(number))], max_bytes=most)
        except StorageQuotaError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(submit, range(40))) == 10
        assert stores[0].tasks.bytes_of("anna") == most
        ended = [*pool.map(lambda number: stores[number % 2].tasks.cancel(str(number)), range(40))]
    assert ended.count("Canceled") == 10
    assert stores[0].tasks.bytes_of("anna") == 10 * EMPTY
