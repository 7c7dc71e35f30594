"""callback_sdk.service.store.live"""

from __future__ import annotations

from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.tables import tasks


def test_what_has_changed_last_comes_first(store: Store) -> None:
    """A client that was away for long gets the newest changes and all running tasks; without a limit, everything."""
    for number in range(6):
        task = TaskRow(job_id=str(number), owner="anna", algorithm="a", version="1", features_format="json")
        store.tasks.submit([Submission(task=task, features=b"[]")])
    for job_id in ("0", "1"):
        claim = store.tasks.claim(job_id, "w")
        assert claim is not None
    store.tasks.finish("1", claim.attempt, RunOutcome(success=True, results=b"{}"))

    def set_times(job_id: str, created: float, finished: float | None) -> None:
        change = tasks.update().where(tasks.c.job_id == job_id).values(created_at=created, finished_at=finished)
        store.database.write(lambda connection: connection.execute(change))

    set_times("0", 10.0, None)
    set_times("1", 20.0, 950.0)
    for number in range(2, 6):
        set_times(str(number), 500.0 + 100.0 * number, None)
    assert store.live.changed_since("anna", 100.0, limit=4) == ["0", "5", "1", "4"]
    assert set(store.live.changed_since("anna", 100.0)) == {"0", "1", "2", "3", "4", "5"}
    assert set(store.live.changed_since("anna", 850.0)) == {"0", "1", "4", "5"}
    assert store.live.changed_since("berta", 0.0) == []
