"""callback_sdk.service.store.output"""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.output import MAX_OUTPUT, StoredOutput
from callback_sdk.service.store.tables import task_output, tasks
from callback_sdk.service.store.workers import WorkerFacts


@pytest.fixture
def attempt(store: Store) -> int:
    """Claim a task, and return the number of its run."""
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, features=b"[]")])
    return store.tasks.claim("1", "w").attempt


def row_count(store: Store) -> int:
    with store.database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(task_output)).scalar_one()


def test_pieces_are_joined(store: Store, attempt: int) -> None:
    """In their order."""
    assert store.output.read("1") == StoredOutput()
    store.output.write("1", attempt, 0, b"one\n")
    store.output.write("1", attempt, 4, b"two\n")
    assert store.output.read("1") == StoredOutput(attempt=1, start=0, data=b"one\ntwo\n")
    assert store.output.read("1").end == 8


def test_a_repeated_piece_replaces_the_first(store: Store, attempt: int) -> None:
    """The first may have been committed although its writer saw an error."""
    store.output.write("1", attempt, 0, b"one\n")
    store.output.write("1", attempt, 0, b"one\ntwo\n")
    assert store.output.read("1").data == b"one\ntwo\n"


def test_the_last_part_is_kept(store: Store, attempt: int) -> None:
    """From the start of a line; what is before it is deleted."""
    line = b"x" * 1023 + b"\n"
    for number in range(100):
        store.output.write("1", attempt, number * 1024, line)
    output = store.output.read("1")
    assert (output.start, output.end) == (100 * 1024 - MAX_OUTPUT + 1024, 100 * 1024)
    assert output.data == line * (MAX_OUTPUT // 1024 - 1)
    assert row_count(store) <= MAX_OUTPUT // 1024


def test_what_precedes_a_gap_is_not_shown(store: Store, attempt: int) -> None:
    """It would look as if nothing were missing."""
    store.output.write("1", attempt, 0, b"first\n")
    store.output.write("1", attempt, 1000, b"rest of a line\nlast\n")
    assert store.output.read("1") == StoredOutput(attempt=1, start=1015, data=b"last\n")


def test_output_is_deleted_with_its_task(store: Store, attempt: int) -> None:
    """When the retention of the task has expired."""
    store.output.write("1", attempt, 0, b"one\n")
    store.tasks.delete(["1"])
    assert row_count(store) == 0


def test_output_is_complete_at_the_end_of_the_task(store: Store, attempt: int) -> None:
    """The run has ended before."""
    assert not store.output.is_complete("1")
    store.output.complete("1", attempt)
    assert not store.output.is_complete("1")
    store.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}"))
    assert store.output.is_complete("1")


def test_output_of_a_canceled_task_is_complete_at_the_end_of_its_run(store: Store, attempt: int) -> None:
    """It prints on until then, unless its worker has died."""
    store.tasks.cancel("1")
    assert not store.output.is_complete("1")
    store.output.complete("1", attempt + 1)
    assert not store.output.is_complete("1")
    store.output.complete("1", attempt)
    assert store.output.is_complete("1")


def test_output_of_a_canceled_task_does_not_wait_for_a_dead_worker(store: Store, attempt: int) -> None:
    """Nor is that shown as one that runs a task."""
    store.tasks.cancel("1")
    earlier = tasks.update().values(finished_at=tasks.c.finished_at - 120)
    store.database.write(lambda connection: connection.execute(earlier))
    assert store.output.is_complete("1")
    store.workers.report(WorkerFacts(name="w", host="h", pid=1, package_version="1", algorithms=["a"], slots=1))
    assert store.workers.all()[0].running == 0
