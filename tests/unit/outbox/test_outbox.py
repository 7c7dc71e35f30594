"""The outbox in one process: storage, sending and errors."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import shutil
import socket
import sqlite3
import stat
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from callback_sdk import JobResult, Outbox
from callback_sdk.errors import (
    CallbackParamError,
    CallbackSDKError,
    ConfigurationError,
    DeliveryError,
    EncodingError,
    MissingS3FieldsError,
    MultipleDeliveryErrors,
    OutboxError,
    TargetError,
    TargetExpiredError,
)
from callback_sdk.outbox import files
from callback_sdk.outbox import sender as sender
from callback_sdk.outbox import store as store
from callback_sdk.outbox.database import OutboxDatabase
from callback_sdk.outbox.entries import NewDelivery, OutboxClaim, StoredResults
from callback_sdk.outbox.store import OutboxStore
from callback_sdk.receipt import Receipt
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.testing import WebhookReceiver
from callback_sdk.transport import retry
from callback_sdk.writer.attempts import DeliveryAttempts
from tests.asyncoutboxes import OUTBOXES
from tests.rawserver import RawServer, answer, read_request
from tests.signedurls import v4

MARKER = "MARKER9c2e"
TESTS = Path(__file__).parents[2]
RESULT = JobResult(job_id="42", success=True, results={"life": [7.5]})
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
RECEIPT = Receipt(
    target_kind="webhook", url="http://h/", status=200, size=1, sha256="0" * 64, started_at=NOW, finished_at=NOW
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file in a directory that doesn't exist yet."""
    return tmp_path / "worker" / "outbox.sqlite3"


@pytest.fixture(params=OUTBOXES)
def outbox(path: Path, request: pytest.FixtureRequest) -> Iterator[Outbox]:
    """Open a fresh outbox, with each driver."""
    with OUTBOXES[request.param](path) as outbox:
        yield outbox


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once, and give up after three attempts."""
    monkeypatch.setattr(retry, "service_delay", lambda attempts, delays: timedelta(0) if attempts < 3 else None)


def signed_put(base: str, *, seconds: int = 3600) -> str:
    return f"{base}/bucket/key.json?{v4(date=datetime.now(timezone.utc), expires=seconds, key=MARKER)}"


def everything_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.rglob("*") if file.is_file())


def copies(path: Path) -> list[Path]:
    return list(path.parent.glob("*-files/*.json"))


# What write does


def test_result_is_delivered_and_the_receipt_is_kept(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """Without trouble a write is as good as the writer's own, and the outbox has the proof."""
    written = outbox.write(RESULT, webhook.url, {"run": 7})
    (request,) = webhook.requests
    assert request.document == {
        "job_id": "42",
        "status": "Finished",
        "callback_param": {"run": 7},
        "success": True,
        "results": {"life": [7.5]},
    }
    assert written.pending == ()
    (entry,) = outbox.entries()
    assert (entry.receipt,) == written.receipts
    assert (entry.status, entry.attempts, entry.delivery_id) == ("delivered", 1, request.headers["webhook-id"])


def test_same_result_written_twice_is_one_delivery(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """A worker that runs a job again after a crash gets the first receipt, and nothing is sent."""
    first = outbox.write(RESULT, webhook.url)
    assert outbox.write(RESULT, webhook.url) == first
    assert outbox.write(RESULT, [webhook.url, webhook.url]).receipts == first.receipts * 2
    assert len(webhook.requests) == len(outbox.entries()) == 1


def test_other_documents_and_other_places_are_other_deliveries(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """The id is made of place and document: neither another result nor another parameter is taken for the same."""
    outbox.write(RESULT, [webhook.url, f"{webhook.url}/2"])
    outbox.write(RESULT, webhook.url, {"run": 2})
    outbox.write(JobResult(job_id="42", success=True, results={"life": [8.5]}), webhook.url)
    assert len({request.headers["webhook-id"] for request in webhook.requests}) == len(outbox.entries()) == 4


def test_a_transient_failure_is_not_an_error(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """The delivery is stored and pending."""
    webhook.respond(503)
    written = outbox.write(RESULT, [webhook.url, f"{webhook.url}/2"])
    assert len(written.receipts) == len(written.pending) == 1
    (entry,) = written.pending
    assert (entry.status, entry.attempts, entry.sending) == ("pending", 1, False)
    assert "503" in (entry.error or "")
    delay = (entry.next_attempt_at or NOW) - entry.created_at
    assert timedelta(seconds=5) <= delay < timedelta(seconds=60)


def test_retry_after_is_honoured(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """Retry-After can delay the next attempt beyond the schedule."""
    webhook.respond(429, headers={"Retry-After": "600"})
    (entry,) = outbox.write(RESULT, webhook.url).pending
    assert (entry.next_attempt_at or NOW) - entry.created_at >= timedelta(seconds=600)


def test_everything_is_on_disk_before_anything_is_sent(path: Path) -> None:
    """The server that gets the request finds the delivery in the file, claimed."""
    seen: list[Any] = []

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as reader:
            seen.append(reader.execute("SELECT status, owner IS NOT NULL, data FROM deliveries, results").fetchall())
        reader.close()
        connection.sendall(answer("200 OK"))

    with RawServer(script) as server, Outbox(path) as outbox:
        outbox.write(RESULT, server.url)
    assert seen == [[("pending", 1, b'{"life":[7.5]}')]]


def test_permanent_rejection_is_an_error_and_a_dead_delivery(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """The writer's error has the receipts of other targets; a second write raises the same error and sends nothing."""
    webhook.respond(410)
    with pytest.raises(DeliveryError) as caught:
        outbox.write(RESULT, webhook.url)
    assert caught.value.status == 410
    outbox.write(RESULT, f"{webhook.url}/2")
    (entry,) = outbox.entries(status="dead")
    assert (entry.attempts, entry.next_attempt_at) == (1, None)
    with pytest.raises(DeliveryError, match=entry.delivery_id) as again:
        outbox.write(RESULT, [f"{webhook.url}/2", webhook.url])
    assert len(again.value.receipts) == 1
    assert len(webhook.requests) == 2


def test_target_that_expired_holds_up_no_other(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """The others are kept and sent, then its error is raised; nothing is stored for it."""
    with pytest.raises(TargetExpiredError) as caught:
        outbox.write(RESULT, [signed_put("http://127.0.0.1:9", seconds=0), webhook.url])
    assert len(caught.value.receipts) == len(webhook.requests) == 1
    assert [entry.target_kind for entry in outbox.entries()] == ["webhook"]
    with pytest.raises(MultipleDeliveryErrors):
        outbox.write(RESULT, [signed_put("http://127.0.0.1:9", seconds=0), "https://s3.amazonaws.com/b", webhook.url])


@pytest.mark.parametrize(
    ("result", "url", "param", "error"),
    [
        (RESULT, "https://bucket.s3.amazonaws.com/k", None, MissingS3FieldsError),
        (RESULT, signed_put("http://127.0.0.1:9", seconds=0), None, TargetExpiredError),
        (RESULT, ["http://127.0.0.1:9/"], [{}, {}], CallbackParamError),
        (JobResult(job_id="1", success=True, results={"x": object()}), "http://127.0.0.1:9/", None, EncodingError),
        (RESULT, "http://127.0.0.1:9/", {"x": object()}, EncodingError),
        (RESULT, "http://127.0.0.1:9/", {"x": float("nan")}, EncodingError),
    ],
)
def test_invalid_results_and_targets_store_nothing(
    outbox: Outbox, path: Path, result: JobResult, url: Any, param: Any, error: type[Exception]
) -> None:
    """An error before the commit leaves neither a row nor a file."""
    with pytest.raises(error):
        outbox.write(result, url, param)
    assert outbox.entries() == []
    assert copies(path) == []


@pytest.mark.parametrize("url", [None, [], (), "", {}])
def test_write_without_a_target_is_an_error(outbox: Outbox, url: Any) -> None:
    """A worker without its callback URL gets an error, and nothing is stored."""
    with pytest.raises(TargetError):
        outbox.write(RESULT, url)
    assert outbox.entries() == []


def test_target_that_expired_after_its_delivery_is_not_an_error(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that runs again later gets the receipt."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Later:
            return cls(2090, 1, 1, tzinfo=tz)

    with RawServer(lambda connection, _: read_request(connection) and connection.sendall(answer("200 OK"))) as server:
        url = signed_put(server.url)
        receipts = outbox.write(RESULT, url).receipts
        monkeypatch.setattr("callback_sdk.outbox.new_deliveries.datetime", Later)
        assert outbox.write(RESULT, url).receipts == receipts
        with pytest.raises(TargetExpiredError):
            outbox.write(JobResult(job_id="43", success=True), url)


def test_threads_that_write_the_same_make_one_delivery(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """Eight at once send one request, and each learns of it."""
    webhook.respond(200, delay=timedelta(seconds=0.3))
    threads = [threading.Thread(target=outbox.write, args=(RESULT, webhook.url)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(webhook.requests) == len(outbox.entries(status="delivered")) == 1


# What run does


def test_run_sends_the_same_bytes_with_the_same_id(outbox: Outbox, webhook: WebhookReceiver, no_pauses: None) -> None:
    """The document of a retry equals the first one, for all parameters."""
    odd = {
        "f": 1e16,
        "big": 2**70,
        "s": "\udcff",
        "np": np.arange(3),
        "d": Decimal("1.10"),
        5: -0.0,
    }
    webhook.respond(503, times=2)
    assert outbox.write(JobResult(job_id="\udcff", success=True, results={"a": float("inf")}), webhook.url, odd).pending
    outbox.run(until_empty=True)
    assert len(webhook.requests) == 3
    assert len({request.body for request in webhook.requests}) == 1
    assert len({request.headers["webhook-id"] for request in webhook.requests}) == 1
    (entry,) = outbox.entries()
    assert entry.receipt is not None
    assert (entry.receipt.attempts, entry.receipt.nulls_written, entry.attempts) == (3, 1, 3)


def test_failed_job_is_delivered_as_such(outbox: Outbox, webhook: WebhookReceiver, no_pauses: None) -> None:
    """Its error survives the way through the file."""
    webhook.respond(503)
    outbox.write(JobResult(job_id="1", success=False, error="no convergence", status="Canceled"), webhook.url)
    outbox.run(until_empty=True)
    document = webhook.requests[-1].document
    assert (document["success"], document["error"], document["status"]) == (False, "no convergence", "Canceled")


def test_delivery_is_dead_at_the_end_of_the_schedule(outbox: Outbox, webhook: WebhookReceiver, no_pauses: None) -> None:
    """until_empty doesn't wait for it."""
    webhook.respond(503, times=3)
    outbox.write(RESULT, webhook.url)
    outbox.run(until_empty=True)
    (entry,) = outbox.entries(status="dead")
    assert (entry.attempts, entry.next_attempt_at) == (3, None)
    assert entry.finished_at is not None


def test_dead_delivery_begins_anew_when_it_is_asked_for(
    outbox: Outbox, webhook: WebhookReceiver, no_pauses: None
) -> None:
    """It has its whole schedule again; and once it is delivered there is nothing to retry."""
    webhook.respond(410).respond(503, times=2)
    with pytest.raises(DeliveryError):
        outbox.write(RESULT, webhook.url)
    (entry,) = outbox.entries()
    assert outbox.redeliver(entry.delivery_id) == 1
    outbox.run(until_empty=True)
    assert outbox.entries()[0].status == "delivered"
    assert outbox.redeliver() == 0
    with pytest.raises(OutboxError, match="already delivered"):
        outbox.redeliver(entry.delivery_id)
    with pytest.raises(OutboxError, match="no delivery msg_0"):
        outbox.redeliver("msg_0")


def test_pending_delivery_can_be_redelivered_at_once(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """After fixing the receiver, without waiting for the schedule."""
    webhook.respond(503)
    outbox.write(RESULT, webhook.url)
    assert outbox.redeliver() == 1
    outbox.run(until_empty=True)
    assert outbox.entries()[0].status == "delivered"


def test_run_ends_when_its_event_is_set(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """It continues without pending deliveries, sends new ones, and returns after the event."""
    stop = threading.Event()
    thread = threading.Thread(target=outbox.run, kwargs={"stop": stop})
    thread.start()
    with Outbox(outbox.path) as other:
        webhook.respond(503)
        other.write(RESULT, webhook.url)
        other.redeliver()
        webhook.wait_for(2)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert outbox.entries()[0].status == "delivered"


def test_slow_host_does_not_block_others(
    outbox: Outbox, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One host gets at most eight concurrent attempts, so a ninth thread is free for others."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        server.wait(30)

    with RawServer(script) as server:
        new_deliveries = [_new_delivery(f"{server.url}/{number}", number) for number in range(20)]
        outbox._process_state().store.add(
            RESULT, new_deliveries, StoredResults(data=b"1"), nulls_written=0, object_url=None
        )
        outbox._process_state().store.add(
            RESULT, [_new_delivery(webhook.url, 20)], StoredResults(data=b"1"), nulls_written=0, object_url=None
        )
        with sqlite3.connect(outbox.path) as hand:
            hand.execute("UPDATE deliveries SET owner = NULL")
        hand.close()
        monkeypatch.setattr("callback_sdk.outbox.base.SHUTDOWN_TIMEOUT", timedelta(0))
        stop = threading.Event()
        thread = threading.Thread(target=outbox.run, kwargs={"stop": stop})
        thread.start()
        webhook.wait_for(1)
        assert server.connections <= 8
        stop.set()
        thread.join()
    assert outbox._process_state().sender._attempts.wait_without_claims(30)


# Large results


def test_file_of_results_is_copied(outbox: Outbox, path: Path, tmp_path: Path, webhook: WebhookReceiver) -> None:
    """Later changes of the original have no effect; the copy is private, and deleted after the delivery."""
    original = tmp_path / "results.json"
    original.write_text(json.dumps(list(range(20_000))))
    webhook.respond(503, times=2)
    outbox.write(JobResult(job_id="1", success=True, results=original), [webhook.url, f"{webhook.url}/2"])
    original.unlink()
    (copy,) = copies(path)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    outbox.redeliver()
    outbox.run(until_empty=True)
    assert [request.document["results"][-1] for request in webhook.requests] == [19_999] * 4
    assert copies(path) == []


def test_same_large_result_is_kept_once(outbox: Outbox, path: Path, webhook: WebhookReceiver) -> None:
    """A second write of it leaves no second copy."""
    webhook.respond(503, times=2)
    result = JobResult(job_id="1", success=True, results="x" * (files.INLINE + 1))
    outbox.write(result, webhook.url)
    outbox.write(result, webhook.url)
    assert len(copies(path)) == 1


def test_result_that_does_not_fit_on_the_disk_is_an_error(outbox: Outbox, path: Path, webhook: WebhookReceiver) -> None:
    """Nothing is stored or sent, no partial file is left, and existing deliveries are unchanged."""
    outbox.write(RESULT, webhook.url)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, limits[1]))
    try:
        with pytest.raises(OutboxError, match=r"can't be stored in .*: File too large.*Nothing was stored.*ulimit -f"):
            outbox.write(JobResult(job_id="2", success=True, results="x" * 2 * 1024 * 1024), webhook.url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert copies(path) == []
    assert len(webhook.requests) == len(outbox.entries()) == 1


def test_orphaned_files_are_removed_after_a_while(
    outbox: Outbox, path: Path, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of a process that was killed before its commit are removed; files in use are kept."""
    webhook.respond(503)
    outbox.write(JobResult(job_id="1", success=True, results="x" * (files.INLINE + 1)), webhook.url)
    (wanted,) = copies(path)
    left = wanted.with_name("left.json")
    left.write_bytes(b"1")
    outbox.purge(older_than=timedelta(days=1))
    assert left.exists()
    monkeypatch.setattr(files, "ORPHAN_AGE", timedelta(seconds=-1))
    outbox.purge(older_than=timedelta(days=1))
    assert copies(path) == [wanted]


# Credentials


def test_files_are_readable_by_their_owner_only(outbox: Outbox, path: Path, webhook: WebhookReceiver) -> None:
    """Modes of directory and files don't depend on the umask."""
    webhook.respond(503)
    outbox.write(JobResult(job_id="1", success=True, results="x" * (files.INLINE + 1)), webhook.url)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) == (0o700 if file.is_dir() else 0o600), file


def test_credentials_are_deleted_after_the_delivery(path: Path) -> None:
    """While the delivery is pending the file contains them; afterwards no file does."""
    answers = iter([answer("503 Slow Down"), answer("200 OK")])

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            connection.sendall(next(answers))

    with RawServer(script) as server:
        with Outbox(path) as outbox:
            result = JobResult(job_id="1", success=True, results={"patient": "Ada Lovelace"})
            assert outbox.write(result, signed_put(server.url)).pending
        assert MARKER.encode() in everything_on_disk(path)
        with Outbox(path) as outbox:
            outbox.redeliver()
            outbox.run(until_empty=True)
            assert outbox.entries()[0].status == "delivered"
    assert MARKER.encode() not in everything_on_disk(path)
    assert b"Lovelace" not in everything_on_disk(path)


def test_nothing_that_is_shown_has_a_credential(
    outbox: Outbox, webhook: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Entries, their wire form, errors and logs have the URL without its query."""
    caplog.set_level(logging.DEBUG)
    webhook.respond(503).respond(410)
    url = f"{webhook.url}?token={MARKER}"
    written = outbox.write(RESULT, url)
    with pytest.raises(DeliveryError) as caught:
        outbox.write(RESULT, f"{url}2")
    shown = [written, outbox.entries(), [entry.to_dict() for entry in outbox.entries()], caught.value, outbox]
    assert MARKER not in repr(shown) + str(caught.value) + caplog.text
    assert outbox.entries()[0].url == f"{webhook.url}?***"


def test_no_frame_of_an_error_shows_a_credential(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """Tracebacks are printed with the locals of each frame; the test's own are left out."""
    url, errors = f"{webhook.url}?token={MARKER}", []
    webhook.respond(410)
    for results in ("refused", "no space" * 7000):
        with pytest.raises((DeliveryError, OutboxError)) as caught:
            outbox.write(JobResult(job_id="1", success=True, results=results), url)
        errors.append(caught.value)
        outbox._process_state().database._connection.execute("PRAGMA max_page_count = 1")
    for error in errors:
        below = error.__traceback__
        while below is not None and Path(below.tb_frame.f_code.co_filename).is_relative_to(TESTS):
            below = below.tb_next
        assert below is not None
        frames = traceback.TracebackException(type(error), error, below, capture_locals=True)
        assert MARKER not in "".join(frames.format())
    assert [type(error) for error in errors] == [DeliveryError, OutboxError]


def test_text_of_a_foreign_error_is_not_kept(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might hold anything; its type says enough, and the delivery is tried again."""

    def broken(self: DeliveryAttempts, *args: Any, **kwargs: Any) -> Receipt:
        raise ValueError(MARKER)

    monkeypatch.setattr(DeliveryAttempts, "attempt", broken)
    with Outbox(path) as outbox:
        (entry,) = outbox.write(RESULT, "http://127.0.0.1:9/").pending
    assert "ValueError" in (entry.error or "")
    assert MARKER not in (entry.error or "") + caplog.text
    assert "ValueError" in caplog.text


# Claims


def _new_delivery(url: str, number: int) -> NewDelivery:
    return NewDelivery(delivery_id=f"msg_{number}", target_kind="webhook", callback=parse_callbacks(url)[0])


def claimed(store: OutboxStore) -> list[OutboxClaim]:
    """Claim all that is due."""
    claims: list[OutboxClaim] = []
    store.claim_due(list, claims.append)
    return claims


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[OutboxStore, OutboxStore]]:
    """Open one outbox as two owners, with one delivery that the first has claimed."""
    made = [OutboxDatabase(tmp_path / "box", tmp_path / "box-files", create=True) for _ in range(2)]
    first, second = OutboxStore(made[0], "one"), OutboxStore(made[1], "two")
    yield first, second
    for database in made:
        database.close()


def test_claim_that_was_lost_changes_nothing(stores: tuple[OutboxStore, OutboxStore]) -> None:
    """A process with an expired lease can't overwrite the newer state."""
    first, second = stores
    _, (old,) = first.add(
        RESULT, [_new_delivery("http://h/", 1)], StoredResults(data=b"1"), nulls_written=0, object_url=None
    )
    assert claimed(second) == []
    assert second.reclaim(lambda owner: True, ()) == ["one"]
    (new,) = claimed(second)
    assert new.number > old.number
    assert first.pending_send(old) is None
    first.renew([old])
    first.release(old)
    assert not first.record_failure(old, "late", None)
    assert first.record_receipt(old, RECEIPT) == (False, [])
    (entry,) = second.entries()
    assert (entry.status, entry.sending, entry.attempts) == ("pending", True, 2)
    assert second.record_receipt(new, RECEIPT) == (True, [])
    assert first.entries()[0].status == "delivered"


def test_claim_of_a_living_owner_is_left_alone(stores: tuple[OutboxStore, OutboxStore]) -> None:
    """Neither a lock that is held nor a lease that still runs lets another process in."""
    first, second = stores
    first.add(RESULT, [_new_delivery("http://h/", 1)], StoredResults(data=b"1"), nulls_written=0, object_url=None)
    assert second.reclaim(lambda owner: False, ()) == []
    assert second.reclaim(lambda owner: None, ()) == []
    assert claimed(second) == []


def test_lease_decides_where_the_lock_cannot_be_seen(
    stores: tuple[OutboxStore, OutboxStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim without a heartbeat expires; one with a heartbeat doesn't."""
    first, second = stores
    monkeypatch.setattr(store, "LEASE_DURATION", -1.0)
    _, claims = first.add(
        RESULT,
        [_new_delivery("http://h/", n) for n in (1, 2)],
        StoredResults(data=b"1"),
        nulls_written=0,
        object_url=None,
    )
    monkeypatch.undo()
    first.renew([claim for claim in claims if claim.delivery_id == "msg_2"])
    second.reclaim(lambda owner: None, ())
    assert [claim.delivery_id for claim in claimed(second)] == ["msg_1"]


def test_leases_are_renewed_during_an_attempt(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats renew them as long as the server takes to respond."""
    renewed = threading.Event()
    monkeypatch.setattr(sender, "HEARTBEAT_INTERVAL", 0.01)
    monkeypatch.setattr(OutboxStore, "renew", lambda self, claims: renewed.set())

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("200 OK" if renewed.wait(60) else "500 Not renewed"))

    with RawServer(script) as server:
        assert outbox.write(RESULT, server.url).receipts


def test_outcome_that_can_not_be_stored_is_stored_later(
    outbox: Outbox, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk after the response doesn't cause a second delivery."""

    def full(*args: Any) -> Any:
        raise OutboxError("full")

    with monkeypatch.context() as patch:
        patch.setattr(OutboxStore, "record_receipt", full)
        written = outbox.write(RESULT, webhook.url)
        assert (len(written.receipts), written.pending) == (1, ())
        assert outbox.entries()[0].sending
    outbox.run(until_empty=True)
    assert outbox.entries()[0].status == "delivered"
    assert len(webhook.requests) == 1


def test_run_survives_a_database_that_fails_for_a_while(
    outbox: Outbox, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits and retries, because the disk may have space again."""
    monkeypatch.setattr("callback_sdk.outbox.base._OUTAGE_PAUSE", 0.01)
    webhook.respond(503)
    outbox.write(RESULT, webhook.url)
    outbox.redeliver()
    whole, failures = OutboxStore.claim_due, iter([OutboxError("full")])

    def once(self: OutboxStore, *args: Any) -> Any:
        for error in failures:
            raise error
        return whole(self, *args)

    monkeypatch.setattr(OutboxStore, "claim_due", once)
    outbox.run(until_empty=True)
    assert outbox.entries()[0].status == "delivered"


# What is forgotten


def test_old_receipts_are_deleted(path: Path, webhook: WebhookReceiver) -> None:
    """`run` deletes them; pending and dead deliveries are kept."""
    with Outbox(path, receipt_retention=timedelta(milliseconds=1)) as outbox:
        outbox.write(RESULT, webhook.url)
        webhook.respond(410)
        with pytest.raises(DeliveryError):
            outbox.write(RESULT, f"{webhook.url}/2")
        assert outbox.purge(older_than=timedelta(days=1)) == 0
        time.sleep(0.01)
        outbox.run(until_empty=True)
        assert [entry.status for entry in outbox.entries()] == ["dead"]
        assert outbox.write(RESULT, webhook.url).receipts
        time.sleep(0.01)
        assert outbox.purge(older_than=timedelta(milliseconds=1)) == 1


@pytest.mark.parametrize("value", [timedelta(0), timedelta(days=-1), "30"])
def test_invalid_duration_is_an_error(path: Path, value: Any) -> None:
    """Text, and durations that aren't positive, are rejected with a hint."""
    with pytest.raises(ConfigurationError, match="receipt_retention"):
        Outbox(path, receipt_retention=value)
    assert not path.exists()


# The file


def test_closed_outbox_opens_itself_again(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """Like the writer it can be used after close()."""
    outbox.close()
    outbox.close()
    assert outbox.write(RESULT, webhook.url).receipts


def _make_foreign(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE mine (a)")
    database.close()


def _make_newer(path: Path) -> None:
    Outbox(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"no database at all, but long enough to look at" * 100), "is not a database"),
        (_make_foreign, "not an outbox"),
        (_make_newer, "newer callback-sdk"),
        (lambda path: path.mkdir(), "is not a file"),
    ],
    ids=["text", "foreign", "newer", "folder"],
)
def test_file_that_is_not_an_outbox_is_not_changed(tmp_path: Path, make: Any, said: str) -> None:
    """The error names the problem, and no byte of the file changes."""
    path = tmp_path / "file"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ConfigurationError, match=said):
        Outbox(path)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_outbox_that_should_be_there_is_not_made(path: Path) -> None:
    """With create=False a typo in the path is an error, and leaves nothing behind."""
    with pytest.raises(ConfigurationError, match="does not exist"):
        Outbox(path, create=False)
    assert not path.parent.exists()


def test_only_the_last_directory_of_a_path_is_created(tmp_path: Path) -> None:
    """A typo further up is an error, not a second outbox."""
    with pytest.raises(ConfigurationError, match="Only the last directory"):
        Outbox(tmp_path / "typo" / "folder" / "outbox")
    assert not (tmp_path / "typo").exists()
    with Outbox(tmp_path / "folder" / "outbox") as outbox:
        assert outbox.path.exists()


@pytest.mark.parametrize("place", ["/proc/callback-sdk/outbox", "/dev/null/outbox"])
def test_unwritable_directory_is_a_clear_error(place: str) -> None:
    """The error names the file and has a hint."""
    with pytest.raises(ConfigurationError, match="directory that this process may write to"):
        Outbox(place)


@pytest.mark.parametrize("how", ["deleted", "replaced", "folder deleted"])
def test_file_that_disappears_while_it_is_open_is_an_error_once(
    outbox: Outbox, path: Path, webhook: WebhookReceiver, how: str
) -> None:
    """SQLite would continue to write to the deleted file. After the error a new file is created."""
    outbox.write(RESULT, webhook.url)
    if how == "folder deleted":
        shutil.rmtree(path.parent)
        path.parent.mkdir()
    else:
        path.unlink()
    if how == "replaced":
        path.touch()
    with pytest.raises(OutboxError, match="was deleted or replaced"):
        outbox.write(JobResult(job_id="2", success=True), webhook.url)
    assert [receipt.status for receipt in outbox.write(JobResult(job_id="3", success=True), webhook.url).receipts] == [
        200
    ]
    assert [entry.job_id for entry in outbox.entries()] == ["3"]


def test_file_that_disappears_during_a_commit_is_an_error(outbox: Outbox, path: Path, webhook: WebhookReceiver) -> None:
    """A commit to a deleted file isn't reported as stored."""

    def commit() -> None:
        with outbox._process_state().database.transaction() as connection:
            connection.execute("DELETE FROM deliveries")
            path.unlink()

    with pytest.raises(OutboxError, match="was deleted or replaced"):
        commit()


def test_run_ends_when_its_file_disappears(outbox: Outbox, path: Path, webhook: WebhookReceiver) -> None:
    """Waiting would not bring it back."""
    webhook.respond(503)
    outbox.write(RESULT, webhook.url)
    path.unlink()
    with pytest.raises(OutboxError, match="was deleted or replaced"):
        outbox.run()


@pytest.mark.parametrize("size", [0, 100, 4096])
def test_file_that_is_truncated_while_it_is_open_is_a_typed_error(
    outbox: Outbox, path: Path, webhook: WebhookReceiver, size: int
) -> None:
    """Nothing is said to be stored that isn't."""
    outbox.write(RESULT, webhook.url)
    outbox._process_state().database.checkpoint()
    os.truncate(path, size)
    with contextlib.suppress(CallbackSDKError):
        outbox.write(JobResult(job_id="2", success=True), webhook.url)
        assert "2" in {entry.job_id for entry in outbox.entries()}
    with contextlib.suppress(CallbackSDKError):
        outbox.close()


def test_copy_of_results_that_was_damaged_is_not_sent(
    outbox: Outbox, path: Path, webhook: WebhookReceiver, no_pauses: None
) -> None:
    """Its digest is in its name."""
    webhook.respond(503)
    outbox.write(JobResult(job_id="1", success=True, results="x" * 100_000), webhook.url)
    (copy,) = copies(path)
    copy.write_bytes(b'"' + b"y" * 100_000 + b'"')
    outbox.redeliver()
    outbox.run(until_empty=True)
    (entry,) = outbox.entries()
    assert (entry.status, len(webhook.requests)) == ("dead", 1)
    assert "have changed since they were stored" in (entry.error or "")


@pytest.mark.parametrize(
    ("jump", "is_due"), [(timedelta(days=-400), True), (timedelta(hours=-10), False), (timedelta(days=400), True)]
)
def test_clock_that_jumps_does_not_make_a_delivery_wait_for_long(
    outbox: Outbox, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, jump: timedelta, *, is_due: bool
) -> None:
    """A next attempt that is later than the longest pause was computed by a clock that was wrong."""
    webhook.respond(503)
    outbox.write(RESULT, webhook.url)
    (entry,) = outbox.entries()
    assert entry.next_attempt_at is not None
    monkeypatch.setattr(store, "time", _Clock((entry.next_attempt_at + jump).timestamp()))
    assert len(claimed(outbox._process_state().store)) == is_due


class _Clock:
    def __init__(self, now: float) -> None:
        self.time = lambda: now


def test_claim_that_was_made_before_the_clock_was_set_back_runs_out(
    stores: tuple[OutboxStore, OutboxStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease lies in the far future; one that lies a minute ahead belongs to a clock that differs a little."""
    first, second = stores
    first.add(RESULT, [_new_delivery("http://h/", 1)], StoredResults(data=b"1"), nulls_written=0, object_url=None)
    for back, count in ((30, 0), (86400, 1)):
        monkeypatch.setattr(store, "time", _Clock(time.time() - back))
        second.reclaim(lambda owner: None, ())
        assert len(claimed(second)) == count


def test_missing_directory_of_files_is_a_clear_error(outbox: Outbox, path: Path, webhook: WebhookReceiver) -> None:
    """Without a directory for its lock and for large results, a write stores and sends nothing."""
    path.with_name(f"{path.name}-files").rmdir()
    for results in (1, "x" * (files.INLINE + 1)):
        with pytest.raises(OutboxError, match=r"Nothing was stored or sent"):
            outbox.write(JobResult(job_id="1", success=True, results=results), webhook.url)
    assert (outbox.entries(), webhook.requests) == ([], ())


def test_full_database_is_an_error_and_loses_nothing(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """Results that can't be stored aren't sent; stored ones are delivered later."""
    webhook.respond(503)
    outbox.write(RESULT, webhook.url)
    connection = outbox._process_state().database._connection
    connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(OutboxError, match="no space left"):
        outbox.write(JobResult(job_id="2", success=True, results="x" * 60_000), webhook.url)
    assert len(webhook.requests) == 1
    connection.execute("PRAGMA max_page_count = 1000000")
    outbox.redeliver()
    outbox.run(until_empty=True)
    assert [entry.status for entry in outbox.entries()] == ["delivered"]


def test_file_that_can_only_be_read_is_a_clear_error(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """A file system that was remounted stores nothing, and nothing is sent."""
    outbox._process_state().database.read("PRAGMA query_only = ON")
    with pytest.raises(ConfigurationError, match="can't be written"):
        outbox.write(RESULT, webhook.url)
    assert not webhook.requests
    outbox._process_state().database.read("PRAGMA query_only = OFF")
    assert outbox.write(RESULT, webhook.url).receipts


def test_locked_file_is_a_clear_error(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """The error names another program with an open transaction as the cause."""
    outbox._process_state().database._connection.execute("PRAGMA busy_timeout = 1")
    holder = sqlite3.connect(outbox.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(OutboxError, match="locked by another process"):
        outbox.write(RESULT, webhook.url)
    holder.close()
    assert outbox.write(RESULT, webhook.url).receipts


def test_damaged_file_is_a_clear_error(path: Path, webhook: WebhookReceiver) -> None:
    """The error tells how to recover the content."""
    with Outbox(path) as outbox:
        outbox.write(RESULT, webhook.url)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(CallbackSDKError, match="damaged"), Outbox(path) as outbox:
        outbox.entries()
