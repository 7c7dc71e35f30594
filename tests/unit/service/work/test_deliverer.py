"""callback_sdk.service.work.deliverer"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from callback_sdk.receipt import Receipt
from callback_sdk.service.blobs.folder import DirectoryStorage
from callback_sdk.service.files import Scratch
from callback_sdk.service.store import RunOutcome, Store, StoreUnavailableError, Submission, TaskRow
from callback_sdk.service.store.cipher import CredentialCipher, new_key
from callback_sdk.service.store.deliveries import DeliveryStore
from callback_sdk.service.work.deliverer import Deliverer
from callback_sdk.service.work.heartbeat import Heartbeat
from callback_sdk.targets.callbacks import parse_callbacks


class NoAttempts:
    """Is never asked."""

    def attempt(self, *_: Any, **options: Any) -> Receipt:
        raise AssertionError("Nothing may be sent.")


def test_a_target_that_no_key_opens_waits_for_the_key(store: Store, tmp_path: Path) -> None:
    """The attempt fails as any other does, with the reason, and the claim is let go."""
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, targets=parse_callbacks(["https://example.org/hook"]), features=b"[]")])
    store.tasks.finish("1", store.tasks.claim("1", "w").attempt, RunOutcome(success=True, results=b"{}"))
    keys = store.deliveries
    store.deliveries = DeliveryStore(store.database, CredentialCipher([new_key()]))
    scratch = Scratch(tmp_path / "scratch")
    deliverer = Deliverer(
        store=store,
        blobs=DirectoryStorage(tmp_path / "blobs"),
        scratch=scratch,
        heartbeat=Heartbeat(store, "w"),
        writer=NoAttempts(),
    )
    ((delivery_id, host),) = store.deliveries.fetch_due(1, redispatch_after=0.0)
    assert deliverer.attempt_now(delivery_id, host)
    (delivery,) = store.deliveries.of("1")
    assert (delivery["status"], delivery["worker"]) == ("pending", None)
    assert "key" in delivery["last_error"]
    assert 0 < store.deliveries.next_due() < 10
    store.deliveries = keys
    assert store.deliveries.redeliver("1", delivery_id)
    claim = store.deliveries.claim(delivery_id, "w")
    assert claim is not None
    assert str(store.deliveries.open(claim).url) == "https://example.org/hook"
    scratch.close()


def test_deliveries_during_an_outage_of_the_database_cause_few_log_lines(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first failure without a traceback, and the end of the outage, for any number of deliveries."""
    scratch = Scratch(tmp_path / "scratch")
    deliverer = Deliverer(
        store=store,
        blobs=DirectoryStorage(tmp_path / "blobs"),
        scratch=scratch,
        heartbeat=Heartbeat(store, "w"),
        writer=NoAttempts(),
    )
    with monkeypatch.context() as patch:
        patch.setattr(store.deliveries, "claim", _raise_unavailable)
        assert all(deliverer.attempt_now(f"{number}", "example.org") for number in range(20))
    assert deliverer.attempt_now("unknown", "example.org")
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "No delivery can be claimed: The database is away.",
        "Deliveries are claimed again",
    ]
    assert not any(record.exc_info for record in caplog.records)
    scratch.close()


def _raise_unavailable(*_: object) -> None:
    raise StoreUnavailableError("The database is away.")
