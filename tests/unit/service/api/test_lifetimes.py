"""callback_sdk.service.api.lifetimes"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from callback_sdk import check_target
from callback_sdk.service.api import lifetimes
from callback_sdk.service.api.lifetimes import QueueEstimate, TaskDuration
from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.stats import Backlog
from callback_sdk.targets import Target
from tests.signedurls import v4

IDLE = QueueEstimate(lambda: Backlog(queued=0, running=0, run_seconds=60))
BUSY = QueueEstimate(lambda: Backlog(queued=30, running=2, run_seconds=60))
TEN = timedelta(minutes=10)


def target(minutes: float, **param: object) -> Target:
    query = v4(date=datetime.now(timezone.utc), expires=round(60 * minutes))
    return check_target(f"https://b.s3.eu-central-1.amazonaws.com/k?{query}", param)


@pytest.mark.parametrize(
    ("minutes", "expires", "queue", "text"),
    [
        (11, None, IDLE, None),
        (9, None, IDLE, "about 0:00:00 in the queue, and up to 0:10:00 of computing"),
        (24, None, BUSY, "about 0:15:00 in the queue"),
        (26, None, BUSY, None),
        (69, timedelta(hours=1), IDLE, "up to 1:00:00 until it starts"),
        (71, timedelta(hours=1), BUSY, None),
    ],
)
def test_a_target_that_may_expire_before_the_end_is_a_warning(
    minutes: float, expires: timedelta | None, queue: QueueEstimate, text: str | None
) -> None:
    """With the waiting time from the queue, or from the task's own limit."""
    found = TaskDuration(expires=expires, timeout=TEN).warnings([target(minutes), target(600)], queue)
    assert len(found) == (text is not None)
    if text is not None:
        assert text in found[0]
        assert "X-Amz" not in found[0]


def test_targets_without_an_end_ask_nothing_of_the_database() -> None:
    """A webhook never expires, and an issuer gives new targets."""

    def unused() -> Backlog:
        raise AssertionError("No estimate is needed.")

    refresh = {"url": "https://issuer.example/"}
    targets = [check_target("https://example.org/hook"), target(1, refresh=refresh)]
    assert TaskDuration(expires=None, timeout=TEN).warnings(targets, QueueEstimate(unused)) == []


def test_an_estimate_is_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch, or many submissions in a row, cause one query."""
    asked: list[None] = []

    def backlog() -> Backlog:
        asked.append(None)
        return Backlog(queued=len(asked), running=1, run_seconds=1)

    clock = 1000.0
    monkeypatch.setattr(lifetimes.time, "monotonic", lambda: clock)
    queue = QueueEstimate(backlog)
    assert [queue.wait().total_seconds() for _ in range(3)] == [1, 1, 1]
    clock += 11
    assert queue.wait().total_seconds() == 2


def test_the_backlog_has_queue_and_runs(store: Store) -> None:
    """Tasks that never started don't count as runs."""
    assert store.stats.backlog() == Backlog(queued=0, running=0, run_seconds=0)
    for number in range(5):
        task = TaskRow(job_id=str(number), owner="anna", algorithm="a", version="1", features_format="json")
        store.tasks.submit([Submission(task=task, targets=(), features=b"[]")])
    store.tasks.finish("0", store.tasks.claim("0", "w").attempt, RunOutcome(success=True, results=b"{}"))
    store.tasks.cancel("1")
    store.tasks.claim("2", "w")
    found = store.stats.backlog()
    assert (found.queued, found.running) == (2, 1)
    assert 0 <= found.run_seconds < 60
