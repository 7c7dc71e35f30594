"""callback_sdk.service.store.output_files"""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.models import NewFile, TaskFile
from callback_sdk.service.store.tables import outputs

SMALL = NewFile(name="a.txt", size=1, sha256="0" * 64, media_type="text/plain", data=b"x")
LARGE = NewFile(name="d/model.bin", size=10**10, sha256="1" * 64, media_type="application/octet-stream")


@pytest.fixture
def attempt(store: Store) -> int:
    """Claim a task, and return the number of its run."""
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, features=b"[]")])
    return store.tasks.claim("1", "w").attempt


def end(store: Store, attempt: int, *, success: bool = True) -> None:
    outcome = RunOutcome(success=success, results=b"{}", output_attempt=attempt, output_size=10**10 + 1)
    assert store.tasks.finish("1", attempt, outcome) is not None


def row_count(store: Store) -> int:
    with store.database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(outputs)).scalar_one()


@pytest.mark.parametrize("success", [True, False])
def test_files_belong_to_a_task_once_it_has_ended(store: Store, attempt: int, *, success: bool) -> None:
    """In their order; also those of a task that has failed. Their bytes count towards the quota."""
    store.output_files.insert("1", attempt, [SMALL])
    store.output_files.insert("1", attempt, [LARGE], first=1)
    assert store.output_files.of("1") == []
    assert store.output_files.get("1", "a.txt") is None
    before = store.tasks.bytes_of("anna")
    end(store, attempt, success=success)
    small, large = store.output_files.of("1")
    assert small == TaskFile(
        job_id="1", attempt=1, position=0, name="a.txt", size=1, sha256="0" * 64, media_type="text/plain", is_blob=False
    )
    assert (large.name, large.size, large.is_blob) == ("d/model.bin", 10**10, True)
    assert store.output_files.get("1", "d/model.bin") == large
    assert store.output_files.data(small) == b"x"
    assert store.output_files.data(large) is None
    assert store.tasks.bytes_of("anna") == before + 10**10 + 1
    assert store.output_files.blobs(["1"]) == [large]


def test_an_insertion_may_be_repeated(store: Store, attempt: int) -> None:
    """The first one may have been committed although its response was lost."""
    for _ in range(2):
        store.output_files.insert("1", attempt, [SMALL, LARGE])
    end(store, attempt)
    assert [file.name for file in store.output_files.of("1")] == ["a.txt", "d/model.bin"]


def test_files_of_a_run_whose_process_died_are_lost(store: Store, attempt: int) -> None:
    """They are found for removal once the next run has started, and never shown."""
    store.output_files.insert("1", attempt, [LARGE])
    assert store.output_files.lost(older_than=-1.0, limit=9) == []
    store.tasks.record_crash("1", attempt, "it was killed")
    again = store.tasks.claim("1", "w").attempt
    assert store.output_files.lost(older_than=-1.0, limit=9) == [("1", attempt)]
    assert store.output_files.lost(older_than=3600.0, limit=9) == []
    store.output_files.insert("1", again, [SMALL])
    end(store, again)
    assert [file.name for file in store.output_files.of("1")] == ["a.txt"]
    assert store.output_files.lost(older_than=-1.0, limit=9) == [("1", attempt)]
    store.output_files.delete("1", attempt)
    assert store.output_files.lost(older_than=-1.0, limit=9) == []
    assert row_count(store) == 1


def test_files_of_a_canceled_task_are_lost(store: Store, attempt: int) -> None:
    """It was canceled while they were uploaded."""
    store.output_files.insert("1", attempt, [LARGE])
    store.tasks.cancel("1")
    outcome = RunOutcome(success=True, results=b"{}", output_attempt=attempt, output_size=1)
    assert store.tasks.finish("1", attempt, outcome) is None
    assert store.output_files.of("1") == []
    assert store.output_files.lost(older_than=-1.0, limit=9) == [("1", attempt)]


def test_files_are_deleted_with_their_task(store: Store, attempt: int) -> None:
    """When its retention has expired; the quota is free again."""
    store.output_files.insert("1", attempt, [SMALL, LARGE])
    end(store, attempt)
    store.tasks.delete(["1"])
    assert row_count(store) == 0
    assert store.tasks.bytes_of("anna") == 0
