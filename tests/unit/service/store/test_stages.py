"""callback_sdk.service.store.stages: which deliveries wait for others, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.receipt import Receipt
from callback_sdk.service.store import DeliveringWorker, RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.models import NewFile
from callback_sdk.service.store.stages import is_staged, stages
from callback_sdk.targets.callbacks import parse_callbacks

PUT = "https://example.org/put"
PREFIX = {"url": "https://bucket.s3.amazonaws.com/", "param": {"s3_fields": {"key": "p/${filename}"}, "s3_prefix": {}}}
NOW = datetime.now(timezone.utc)
RECEIPT = Receipt(
    target_kind="http-put", url=PUT, status=200, size=1, sha256="0", started_at=NOW, finished_at=NOW
)  # fmt: skip


def submission(targets: Sequence[Any], names: Sequence[str | None]) -> Submission:
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    return Submission(task=task, targets=parse_callbacks(list(targets)), output_names=names, features=b"[]")


@pytest.mark.parametrize(
    ("targets", "names", "expected", "staged"),
    [
        ([], [], [], False),
        ([PUT, PUT], [None, None], [0, 0], False),
        ([PUT, PUT], [], [0, 0], False),
        ([PREFIX], [None], [0], False),
        ([PUT], ["a"], [0], True),
        ([PUT, PUT], [None, "a"], [1, 0], True),
        ([PUT, PREFIX], [None, None], [1, 0], True),
        ([PUT, "results:"], [None, None], [1, 0], True),
        (["results:", "results:b"], [None, None], [0, 0], False),
        ([PUT, PREFIX, PUT, PUT], [None, None, "a", "b"], [2, 1, 0, 0], True),
    ],
)
def test_files_precede_documents(
    targets: Sequence[Any], names: Sequence[str | None], expected: list[int], *, staged: bool
) -> None:
    """And documents beside copies of the files precede the others, which list the copies."""
    given = submission(targets, names)
    assert stages(given) == expected
    assert is_staged(given) is staged


def statuses(store: Store) -> list[tuple[str, bool]]:
    """Return the status of each delivery, and whether it is due."""
    return [(one["status"], one["next_attempt_at"] is not None) for one in store.deliveries.of("1")]


def finish(
    store: Store, files: Sequence[str] = (), *, sender: DeliveringWorker | None = None, success: bool = True
) -> Any:
    attempt = store.tasks.claim("1", "w").attempt
    new = [NewFile(name=name, size=1, sha256="0", media_type="x/y", data=b"x") for name in files]
    store.output_files.insert("1", attempt, new)
    outcome = RunOutcome(success=success, results=b"{}", output_attempt=attempt if files else None)
    return store.tasks.finish("1", attempt, outcome, sender)


def end(store: Store, position: int, *, dead: bool = False) -> None:
    """Claim a delivery, and end it."""
    delivery_id = store.deliveries.of("1")[position]["delivery_id"]
    claim = store.deliveries.claim(delivery_id, "w")
    staged = claim.job_id if claim.staged else None
    if dead:
        store.deliveries.record_failure(delivery_id, claim.attempt, "403", None, staged=staged)
    else:
        store.deliveries.record_receipt(delivery_id, claim.attempt, RECEIPT, staged=staged)


@pytest.mark.parametrize("dead", [False, True])
def test_documents_wait_for_all_files(store: Store, *, dead: bool) -> None:
    """Until each is delivered or dead."""
    store.tasks.submit([submission([PUT, PUT, PUT], [None, "a", "b"])])
    finish(store, ["a", "b"])
    assert statuses(store) == [("pending", False), ("pending", True), ("pending", True)]
    end(store, 1)
    assert statuses(store) == [("pending", False), ("delivered", False), ("pending", True)]
    end(store, 2, dead=dead)
    assert statuses(store)[0] == ("pending", True)
    assert statuses(store)[2] == ("dead" if dead else "delivered", False)


def test_a_retry_keeps_documents_waiting(store: Store) -> None:
    """The file may still arrive."""
    store.tasks.submit([submission([PUT, PUT], [None, "a"])])
    finish(store, ["a"])
    delivery_id = store.deliveries.of("1")[1]["delivery_id"]
    claim = store.deliveries.claim(delivery_id, "w")
    store.deliveries.record_failure(delivery_id, claim.attempt, "503", 60.0, staged="1")
    assert statuses(store) == [("pending", False), ("pending", True)]


@pytest.mark.parametrize("sender", [None, DeliveringWorker(worker="w", free_slots=9)])
@pytest.mark.parametrize(("success", "said"), [(True, "saved no output files"), (False, "ended without results")])
def test_files_that_were_not_made_hold_nothing_back(
    store: Store, sender: DeliveringWorker | None, said: str, *, success: bool
) -> None:
    """Their deliveries are dead when the task ends, with the reason."""
    store.tasks.submit([submission([PUT, PUT, PUT], [None, "a", "b"])])
    finish(store, sender=sender, success=success)
    assert statuses(store) == [("pending", True), ("dead", False), ("dead", False)]
    assert said in store.deliveries.of("1")[1]["last_error"]


def test_the_error_of_a_missing_file_names_those_that_were_saved(store: Store) -> None:
    """Its name may be misspelled. The first five are listed."""
    store.tasks.submit([submission([PUT, PUT], ["model-.bin", "c"])])
    finish(store, [*"abcdefg"])
    missing, saved = store.deliveries.of("1")
    assert "saved no output file of this name, but 'a', 'b', 'c', 'd', 'e' and more." in missing["last_error"]
    assert (missing["status"], saved["status"]) == ("dead", "pending")


@pytest.mark.parametrize("sender", [None, DeliveringWorker(worker="w", free_slots=9)])
def test_without_files_no_document_waits(store: Store, sender: DeliveringWorker | None) -> None:
    """A bucket that fails for hours doesn't hold a webhook back."""
    store.tasks.submit([submission([PUT, "results:"], [None, None])])
    due = finish(store, sender=sender)
    assert len(due.claims) == (0 if sender is None else 2)
    assert [
        due or one["worker"] == "w" for one, (_, due) in zip(store.deliveries.of("1"), statuses(store), strict=True)
    ]


def test_a_worker_claims_the_deliveries_of_the_first_stage(store: Store) -> None:
    """Those of files; the others follow."""
    store.tasks.submit([submission([PUT, PREFIX, PUT], [None, None, "a"])])
    due = finish(store, ["a", "b"], sender=DeliveringWorker(worker="w", free_slots=9))
    (claim,) = due.claims
    assert (claim.output_name, claim.staged, claim.has_outputs) == ("a", True, True)
    store.deliveries.record_receipt(claim.delivery_id, claim.attempt, RECEIPT, staged="1")
    assert statuses(store) == [("pending", False), ("pending", True), ("delivered", False)]
    end(store, 1)
    assert statuses(store)[0] == ("pending", True)


def test_a_waiting_document_can_not_be_redelivered(store: Store) -> None:
    """It would list files that aren't there. Afterwards it can."""
    store.tasks.submit([submission([PUT, PUT], [None, "a"])])
    finish(store, ["a"])
    document = store.deliveries.of("1")[0]["delivery_id"]
    store.deliveries.redeliver("1", document)
    assert statuses(store)[0] == ("pending", False)
    end(store, 1)
    end(store, 0)
    store.deliveries.redeliver("1", document)
    assert statuses(store) == [("pending", True), ("delivered", False)]


def test_a_redelivery_forgets_what_was_stored(store: Store) -> None:
    """All files are sent again."""
    store.tasks.submit([submission([PREFIX], [None])])
    finish(store, ["a"])
    (delivery,) = store.deliveries.of("1")
    for _ in range(2):
        store.output_files.add_delivered(delivery["delivery_id"], {0: {"entry": {}}})
    assert store.output_files.receipts(delivery["delivery_id"]) == {0: {"entry": {}}}
    end(store, 0)
    store.deliveries.redeliver("1", delivery["delivery_id"])
    assert store.output_files.receipts(delivery["delivery_id"]) == {}


def test_a_canceled_task_delivers_its_document(store: Store) -> None:
    """Its files don't exist."""
    store.tasks.submit([submission([PUT, PUT], [None, "a"])])
    store.tasks.cancel("1")
    assert statuses(store) == [("pending", True), ("dead", False)]
