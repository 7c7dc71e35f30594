"""callback_sdk.service.work.deliverer"""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from callback_sdk.receipt import Receipt
from callback_sdk.service.blobs.folder import DirectoryStorage
from callback_sdk.service.files import Scratch
from callback_sdk.service.store import DeliveringWorker, RunOutcome, Store, StoreUnavailableError, Submission, TaskRow
from callback_sdk.service.store.cipher import CredentialCipher, new_key
from callback_sdk.service.store.deliveries import DeliveryStore
from callback_sdk.service.store.models import NewBatch
from callback_sdk.service.store.tables import deliveries
from callback_sdk.service.work.deliverer import Deliverer
from callback_sdk.service.work.heartbeat import Heartbeat
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.testing import ObjectStore, WebhookReceiver
from callback_sdk.writer import ResultsWriter
from callback_sdk.writer.writer import attempts_of
from tests.issuers import issuing
from tests.signedurls import v4
from tests.topology import wait_until


class NoAttempts:
    """Is never asked."""

    async def attempt(self, *_: Any, **options: Any) -> Receipt:
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


@pytest.mark.parametrize(("step", "asked"), [("issued", 2), ("stored", 1), ("sent", 1)])
def test_a_crash_during_a_refresh_delivers_to_one_target(
    store: Store, cipher: CredentialCipher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, asked: int
) -> None:
    """Nothing is sent to a target that isn't stored, and nothing of the old target is left in the database."""
    scratch, numbers = Scratch(tmp_path / "scratch"), list[str]()

    def issue(request: dict[str, Any]) -> dict[str, Any]:
        numbers.append(request["delivery_id"])
        query = v4(date="20900101T000000Z", expires=3600)
        return {"url": f"{objects.endpoint_url}/bucket/new-{len(numbers)}.json?{query}"}

    with ObjectStore() as objects, issuing(issue) as issuer, ResultsWriter() as writer:
        deliverer = Deliverer(
            store=store,
            blobs=DirectoryStorage(tmp_path / "blobs"),
            scratch=scratch,
            heartbeat=Heartbeat(store, "w"),
            writer=attempts_of(writer),
        )
        (target,) = parse_callbacks(
            f"{objects.endpoint_url}/bucket/old.json?{v4(expires=60)}", {"run": 7, "refresh": {"url": issuer.url}}
        )
        task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
        store.tasks.submit([Submission(task=task, targets=(target,), features=b"[]")])
        store.tasks.finish("1", store.tasks.claim("1", "w").attempt, RunOutcome(success=True, results=b"{}"))
        ((delivery_id, host),) = store.deliveries.fetch_due(1, redispatch_after=0.0)
        with monkeypatch.context() as patch:
            replace = store.deliveries.replace_target
            if step == "issued":
                patch.setattr(store.deliveries, "replace_target", _die)
            elif step == "stored":
                patch.setattr(store.deliveries, "replace_target", lambda *given: replace(*given) and _die())
            else:
                patch.setattr(store.deliveries, "record_receipt", _die)
            with pytest.raises(SystemExit):
                deliverer.attempt_now(delivery_id, host)
        assert store.deliveries.reclaim(worker="w") == 1
        assert deliverer.attempt_now(delivery_id, host)
        (delivery,) = store.deliveries.of("1")
        first, second = store.deliveries.attempts("1")
        assert list(objects.objects) == [f"bucket/new-{asked}.json"]
        assert objects.objects[f"bucket/new-{asked}.json"].document["callback_param"] == {"run": 7}
        assert delivery["url"].partition("?")[0] == f"{objects.endpoint_url}/bucket/new-{asked}.json"
    assert (delivery["status"], numbers) == ("delivered", [delivery_id] * asked)
    assert (first["finished_at"], second["error"]) == (None, None)
    with store.database.read() as connection:
        (encrypted,) = connection.execute(sa.select(deliveries.c.encrypted_target)).scalars()
    assert "old.json" not in cipher.decrypt(encrypted).reveal()
    scratch.close()


@pytest.mark.parametrize(
    ("status", "in_batch", "slots_wanted", "checked"),
    [(200, False, False, False), (200, False, True, True), (200, True, False, True), (503, False, False, True)],
)
def test_the_dispatcher_checks_only_after_attempts_that_make_something_due(
    store: Store, tmp_path: Path, status: int, in_batch: bool, slots_wanted: bool, checked: bool
) -> None:
    """Its check takes as long as an attempt, and most deliveries are the first and last one of their task."""
    scratch, wakeup, wanted = Scratch(tmp_path / "scratch"), threading.Event(), threading.Event()
    with WebhookReceiver() as webhook, ResultsWriter() as writer:
        webhook.respond(status)
        deliverer = Deliverer(
            store=store,
            blobs=DirectoryStorage(tmp_path / "blobs"),
            scratch=scratch,
            heartbeat=Heartbeat(store, "w"),
            writer=attempts_of(writer),
            wakeup=wakeup,
            slots_wanted=wanted,
        )
        (target,) = parse_callbacks([webhook.url])
        task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
        batch = NewBatch(batch_id="b", target=target, is_last=True) if in_batch else None
        store.tasks.submit([Submission(task=task, targets=(target,), features=b"[]")], batch=batch)
        store.tasks.finish("1", store.tasks.claim("1", "w").attempt, RunOutcome(success=True, results=b"{}"))
        ((delivery_id, host),) = store.deliveries.fetch_due(1, redispatch_after=0.0)
        if slots_wanted:
            wanted.set()
        assert deliverer.attempt_now(delivery_id, host)
    (delivery,) = store.deliveries.of("1")
    assert delivery["status"] == ("delivered" if status == 200 else "pending")
    assert wakeup.is_set() is checked
    scratch.close()


def _die(*_: Any, **__: Any) -> Any:
    raise SystemExit


def test_the_end_of_a_process_waits_for_deliveries_that_wait_for_the_last_event(store: Store, tmp_path: Path) -> None:
    """They are claimed, so nobody else would start them before their lease has expired. A failure delays none."""
    scratch, heartbeat = Scratch(tmp_path / "scratch"), Heartbeat(store, "w")
    may_send, is_closing = threading.Event(), threading.Event()

    def send_last_event() -> None:
        assert may_send.wait(60)
        raise OSError("The event can't be sent.")

    with WebhookReceiver() as receiver, ResultsWriter() as writer:
        task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
        targets = parse_callbacks([receiver.url, f"{receiver.url}/2"])
        store.tasks.submit([Submission(task=task, targets=targets, features=b"[]")])
        claim, sender = store.tasks.claim("1", "w"), DeliveringWorker(worker="w", free_slots=1)
        due = store.tasks.finish("1", claim.attempt, RunOutcome(success=True, results=b"{}"), sender)
        assert (len(due.claims), len(due.due)) == (1, 1)
        deliverer = Deliverer(
            store=store,
            blobs=DirectoryStorage(tmp_path / "blobs"),
            scratch=scratch,
            heartbeat=heartbeat,
            writer=attempts_of(writer),
        )
        deliverer.start_all(due, before=send_last_event)
        assert not receiver.requests
        closing = threading.Thread(target=lambda: is_closing.set() or deliverer.close(timeout=timedelta(seconds=60)))
        closing.start()
        assert is_closing.wait(60)
        wait_until(lambda: not deliverer.free_slots)
        may_send.set()
        closing.join(60)
        assert len(receiver.requests) == 1
    first, second = store.deliveries.of("1")
    assert (first["status"], second["status"]) == ("delivered", "pending")
    assert (second["worker"], second["dispatched_at"]) == (None, None)
    scratch.close()
