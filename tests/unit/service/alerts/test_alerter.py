"""callback_sdk.service.alerts: what a receiver gets, through restarts, outages and with several services."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.service.alerts import alerter as alerter_module
from callback_sdk.service.alerts import observations
from callback_sdk.service.alerts.alerter import Alerter, AlertSettings, Notifier, failed_start
from callback_sdk.service.alerts.books import FileBook
from callback_sdk.service.alerts.sender import AlertSender
from callback_sdk.service.engines.preparation import FAILED, WorkerState
from callback_sdk.service.store import Store, StoreUnavailableError
from callback_sdk.service.store.tables import deliveries, leases
from callback_sdk.testing import WebhookReceiver
from callback_sdk.webhooks import decode_secret
from tests.unit.service.store.hosts_cases import HOST, claim, end_tasks, open_circuit

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    """Run a receiver that verifies signatures."""
    with WebhookReceiver(secret=SECRET) as found:
        yield found


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let problems fire, end and be sent at once."""
    monkeypatch.setattr(alerter_module, "MESSAGE_INTERVAL", 0.0)
    monkeypatch.setattr(observations, "_BRIEF", 0.0)
    monkeypatch.setattr("callback_sdk.service.alerts.decisions.RESOLVE_DELAY", 0.0)
    monkeypatch.setattr("callback_sdk.service.alerts.decisions.FLAP_INTERVAL", 0.0)


def new_alerter(
    store: Store, url: str, data: Path, *, holder: str = "one", workers: Sequence[WorkerState] = ()
) -> Alerter:
    """Return an alerter, as each start of a service does."""
    data.mkdir(exist_ok=True)
    engine: Any = SimpleNamespace(workers=lambda: workers)
    blobs: Any = SimpleNamespace(check=lambda: None)
    settings = AlertSettings(
        sender=AlertSender(SecretURL(url), [decode_secret(Secret(SECRET))]),
        queue_age=timedelta(minutes=15),
        service="https://jobs.example.org",
        holder=holder,
    )
    return Alerter(store=store, blobs=blobs, engine=engine, file=FileBook(data / "alerts.json"), settings=settings)


def told(receiver: WebhookReceiver) -> list[tuple[str, str]]:
    """Return status and name of the alerts that the receiver has accepted, in order."""
    documents = [json.loads(request.body) for request in receiver.accepted]
    return [(one["status"], one["name"]) for document in documents for one in document["data"]["alerts"]]


def kill_delivery(store: Store, count: int = 1, *, first: int = 0) -> None:
    """Make deliveries dead."""
    for delivery_id in end_tasks(store, count, first=first):
        found = claim(store, delivery_id)
        store.deliveries.record_failure(delivery_id, found.attempt, "403", None)


def test_a_receiver_is_told_once_and_when_it_has_ended(store: Store, tmp_path: Path, receiver: WebhookReceiver) -> None:
    """The message is signed, and says what to do; a restart of the service repeats and loses nothing."""
    kill_delivery(store, 2)
    for _ in range(3):
        new_alerter(store, receiver.url, tmp_path / "data").run_round()
    assert told(receiver) == [("firing", "dead-deliveries")]
    (request,) = receiver.accepted
    document = json.loads(request.body)
    assert (document["type"], document["data"]["service"]) == ("alerts", "https://jobs.example.org")
    (alert,) = document["data"]["alerts"]
    assert (alert["summary"], alert["size"]) == ("2 deliveries are dead: no further attempts are made.", 2)
    assert "callback-sdk redeliver" in alert["hint"]
    store.database.write(lambda connection: connection.execute(deliveries.update().values(status="delivered")))
    for _ in range(3):
        new_alerter(store, receiver.url, tmp_path / "data").run_round()
    assert told(receiver) == [("firing", "dead-deliveries"), ("resolved", "dead-deliveries")]


def test_a_message_is_sent_until_the_receiver_has_it(store: Store, tmp_path: Path, receiver: WebhookReceiver) -> None:
    """With the same id, also by another process, whatever happens meanwhile."""
    kill_delivery(store)
    receiver.respond(503, times=3)
    for _ in range(5):
        new_alerter(store, receiver.url, tmp_path / "data").run_round()
    assert [request.accepted for request in receiver.requests] == [False, False, False, True]
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_a_crash_after_sending_repeats_the_message_with_its_id(
    store: Store, tmp_path: Path, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died before it could store that the receiver has it."""
    kill_delivery(store)
    alerter = new_alerter(store, receiver.url, tmp_path / "data")
    with monkeypatch.context() as patch:
        patch.setattr(Notifier, "_send", _send_and_die(Notifier._send))
        with pytest.raises(SystemExit):
            alerter.run_round()
    new_alerter(store, receiver.url, tmp_path / "data").run_round()
    first, second = receiver.accepted
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def _send_and_die(send: Callable[..., bool]) -> Callable[..., bool]:
    def run(*given: Any) -> bool:
        send(*given)
        raise SystemExit

    return run


def test_one_of_several_services_sends(store: Store, tmp_path: Path, receiver: WebhookReceiver) -> None:
    """When it dies, another one goes on where it was."""
    kill_delivery(store)
    services = [new_alerter(store, receiver.url, tmp_path / name, holder=name) for name in ("one", "two", "three")]
    for _ in range(3):
        for service in services:
            service.run_round()
    assert told(receiver) == [("firing", "dead-deliveries")]
    store.database.write(lambda connection: connection.execute(leases.update().values(expires_at=0)))
    store.database.write(lambda connection: connection.execute(deliveries.update().values(status="delivered")))
    services[2].run_round()
    services[0].run_round()
    services[2].run_round()
    assert told(receiver)[1:] == [("resolved", "dead-deliveries")]
    with store.database.read() as connection:
        assert connection.execute(sa.select(leases.c.holder)).scalar() == "three"


def test_failed_starts_alert_that_the_database_is_unavailable(
    store: Store, receiver: WebhookReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for all attempts that a supervisor makes, after a while. The service that starts in the end resolves it."""
    error = StoreUnavailableError("The database can't be reached.")
    alerter = new_alerter(store, receiver.url, tmp_path / "data")
    monkeypatch.setattr(observations, "_BRIEF", 60.0)
    moment = [time.time()]
    monkeypatch.setattr(alerter_module, "time", SimpleNamespace(time=lambda: moment[0]))
    sent = []
    for _ in range(4):
        failed_start(alerter._settings, FileBook(tmp_path / "data" / "alerts.json"), error)
        sent.append(told(receiver))
        moment[0] += 31.0
    assert sent == [[], [], [("firing", "database")], [("firing", "database")]]
    alerter.run_round()
    assert told(receiver)[1:] == [("resolved", "database")]


def test_the_alert_about_the_database_needs_no_database(
    store: Store, tmp_path: Path, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It survives a restart, and is resolved when the database is back."""
    data = tmp_path / "data"
    alerter = new_alerter(store, receiver.url, data)
    with monkeypatch.context() as patch:
        patch.setattr(store.database, "read", _raise_unavailable)
        patch.setattr(store.database, "write", _raise_unavailable)
        for _ in range(3):
            alerter.run_round()
        new_alerter(store, receiver.url, data).run_round()
        assert told(receiver) == [("firing", "database")]
    new_alerter(store, receiver.url, data).run_round()
    time.sleep(0.01)
    new_alerter(store, receiver.url, data).run_round()
    assert told(receiver) == [("firing", "database"), ("resolved", "database")]


def _raise_unavailable(*_: object) -> None:
    raise StoreUnavailableError("The database is unavailable: it is away.", hint="Start it.")


def test_a_full_disk_is_told_although_nothing_can_be_written(
    store: Store, tmp_path: Path, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file with the alerts is on that disk."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("callback_sdk.service.alerts.books.write_whole", full)
    monkeypatch.setattr(observations.shutil, "disk_usage", lambda _: SimpleNamespace(total=10**12, free=10**6))
    alerter = new_alerter(store, receiver.url, tmp_path / "data")
    for _ in range(3):
        alerter.run_round()
    assert told(receiver) == [("firing", "disk")]


def test_open_circuits_failing_setups_and_old_queues_are_told(
    store: Store, tmp_path: Path, receiver: WebhookReceiver
) -> None:
    """Each by itself, in one message."""
    open_circuit(store, end_tasks(store, 6))
    states = [WorkerState(name="worker-0", status=FAILED, problem="No module named 'x'."), WorkerState(name="worker-1")]
    new_alerter(store, receiver.url, tmp_path / "data", workers=states).run_round()
    assert told(receiver) == [("firing", f"circuit-open {HOST}"), ("firing", "setup")]
    found = observations._queues({"a": 60.0, "b": 3600.0}, 7200.0, 900.0)
    assert [one.name for one in found] == ["queue-age b", "delivery-age"]
    summaries = [one["summary"] for one in json.loads(receiver.accepted[0].body)["data"]["alerts"]]
    assert "It is away." in summaries[0]
    assert summaries[1] == "1 of 2 workers can't take tasks: No module named 'x'."


def test_the_receiver_may_be_private(store: Store, tmp_path: Path, receiver: WebhookReceiver) -> None:
    """Callbacks of users may not reach loopback; the operator's own setting may."""
    assert "127.0.0.1" in receiver.url
    kill_delivery(store)
    new_alerter(store, f"{receiver.url}?token=topsecret", tmp_path / "data").run_round()
    (request,) = receiver.accepted
    assert request.path.endswith("?token=topsecret")
    assert b"topsecret" not in request.body
