"""callback_sdk.service.store.subscriptions: which target gets what, and whether an event may be sent now."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from callback_sdk.concurrency.circuit import HostLimits, HostPolicy
from callback_sdk.models import FINISHED, IN_PROGRESS
from callback_sdk.redaction import Secret
from callback_sdk.service.store import DeliveringWorker, RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.service.store.replacements import NewTarget
from callback_sdk.service.store.subscriptions import SubscriptionStore
from callback_sdk.service.store.tables import deliveries, tasks
from callback_sdk.targets import plan
from callback_sdk.targets.callbacks import parse_callbacks
from tests.signedurls import v4
from tests.unit.service.store.hosts_cases import HOST, URL, end_tasks, open_circuit

WORKER = "w"


def submit(store: Store, *events: list[str] | None, job_id: str = "job") -> str:
    """Submit a task with one target for each list of events."""
    task = TaskRow(job_id=job_id, owner="anna", algorithm="sum", version="1", features_format="json")
    targets = parse_callbacks([(f"{URL}{number}", {"events": names}) for number, names in enumerate(events)])
    store.tasks.submit([Submission(task=task, targets=targets)])
    return job_id


def statuses(store: Store, job_id: str = "job") -> list[str]:
    return [row["status"] for row in store.deliveries.of(job_id)]


def may_send(store: Store, attempt: int = 1, *, status: str = IN_PROGRESS, sending: int = 0) -> bool:
    return store.subscriptions.may_send("job", attempt, HOST, status=status, sending=sending)


@pytest.fixture
def running(store: Store) -> Store:
    """Give a store with a task that runs, and whose target subscribes to all events."""
    submit(store, ["started", "progress", "completed"])
    assert store.tasks.claim("job", WORKER) is not None
    return store


def test_targets_of_events_are_those_that_subscribe(store: Store) -> None:
    """In the order of the targets; a task without any has no mark, so that its run asks for none."""
    submit(store, ["completed"], ["started"], None, ["progress", "completed"], ["failed"])
    assert [sorted(each.events) for each in store.subscriptions.of("job")] == [["started"], ["completed", "progress"]]
    submit(store, None, ["completed"], job_id="plain")
    with store.database.read() as connection:
        query = sa.select(tasks.c.options).where(tasks.c.job_id == sa.bindparam("job"))
        assert connection.execute(query, {"job": "job"}).scalar() == {"events": True}
        assert connection.execute(query, {"job": "plain"}).scalar() == {}
        columns = sa.select(deliveries.c.events).where(deliveries.c.job_id == "plain")
        assert set(connection.execute(columns).scalars()) == {None}


def test_targets_of_earlier_versions_keep_what_has_a_meaning_now(store: Store, cipher: CredentialCipher) -> None:
    """Every reader takes a member `events` of them for a part of the document, on the way to a new target, too."""
    job_id = submit(store, None)
    param = {"events": ["started"], "run": 7}
    old = cipher.encrypt(Secret(json.dumps({"url": f"{URL}0", "param": param})))
    store.database.write(lambda one: one.execute(deliveries.update().values(encrypted_target=old)))
    assert store.subscriptions.of(job_id) == []
    task = store.tasks.claim(job_id, WORKER)
    assert task is not None
    store.tasks.finish(job_id, 1, RunOutcome(success=True, results=b"{}"))
    (row,) = store.deliveries.of(job_id)
    assert row["callback_param"] == param
    ((_, target),) = store.deliveries.targets(job_id).values()
    assert target.param == param
    new = NewTarget(target=plan(parse_callbacks(f"{URL}new")[0]))
    assert store.deliveries.redeliver(job_id, row["delivery_id"], new)
    claim = store.deliveries.claim(row["delivery_id"], WORKER)
    assert claim is not None
    opened = store.deliveries.open(claim)
    assert (opened.url.reveal(), opened.param, opened.events) == (f"{URL}new", param, {"completed"})


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize("sends_at_once", [True, False])
def test_result_goes_to_the_targets_that_subscribe_to_its_outcome(
    store: Store, success: bool, sends_at_once: bool
) -> None:
    """The others are skipped, and a redelivery doesn't change that."""
    submit(store, None, ["progress"], ["succeeded"], ["failed"], ["started", "succeeded", "failed"])
    assert statuses(store) == ["pending", "skipped", "pending", "pending", "pending"]
    assert store.tasks.claim("job", WORKER) is not None
    sender = DeliveringWorker(worker=WORKER, free_slots=8) if sends_at_once else None
    ended = store.tasks.finish("job", 1, RunOutcome(success=success, error=None if success else "no"), sender)
    expected = ["pending", "skipped", "pending", "skipped", "pending"]
    if not success:
        expected[2], expected[3] = expected[3], expected[2]
    assert statuses(store) == expected
    assert ended is not None
    assert len(ended.claims) == (3 if sends_at_once else 0)
    for row in store.deliveries.of("job"):
        store.deliveries.redeliver("job", row["delivery_id"])
    assert statuses(store) == expected


def test_skipped_target_has_no_results_for_others(store: Store) -> None:
    """A webhook with a size limit must not be given the URL of an object that never exists."""
    put = f"https://bucket.s3.eu-central-1.amazonaws.com/42.json?{v4()}"
    task = TaskRow(job_id="job", owner="anna", algorithm="sum", version="1", features_format="json")
    targets = parse_callbacks([(put, {"events": ["failed"]}), URL])
    store.tasks.submit([Submission(task=task, targets=targets)])
    assert store.deliveries.results_url("job") is not None
    assert store.tasks.claim("job", WORKER) is not None
    store.tasks.finish("job", 1, RunOutcome(success=True))
    assert store.deliveries.results_url("job") is None


def test_canceled_task_has_failed_for_its_targets(store: Store) -> None:
    """A target for failures is told; a target for results isn't."""
    submit(store, ["succeeded"], ["failed"], ["completed"])
    store.tasks.cancel("job")
    assert statuses(store) == ["skipped", "pending", "pending"]


def test_event_may_be_sent_while_its_run_has_the_task(running: Store) -> None:
    """Not by another run, not before and not after: a canceled task's result may be on its way."""
    assert may_send(running)
    assert not may_send(running, attempt=2)
    assert not may_send(running, status=FINISHED)
    running.tasks.finish("job", 1, RunOutcome(success=True))
    assert not may_send(running)
    assert may_send(running, status=FINISHED)


def test_event_of_a_canceled_task_is_not_sent(running: Store) -> None:
    """Whichever state its run believes the task to be in."""
    running.tasks.cancel("job")
    assert not may_send(running)
    assert not may_send(running, status=FINISHED)


def test_no_event_is_sent_to_a_host_that_takes_none(running: Store) -> None:
    """Paused, or failing: its first request is to be a result."""
    running.hosts.pause(HOST, by="anna")
    assert not may_send(running)
    running.hosts.resume(HOST)
    assert may_send(running)
    open_circuit(running, end_tasks(running, 12))
    assert not may_send(running)


@pytest.mark.parametrize(
    ("limits", "sending", "allowed"),
    [
        (HostLimits(max_concurrency=2), 1, True),
        (HostLimits(max_concurrency=2), 2, False),
        (HostLimits(max_rate=100.0), 0, True),
    ],
)
def test_events_respect_the_limits_of_hosts(running: Store, limits: HostLimits, sending: int, allowed: bool) -> None:
    """Those that are being sent count."""
    limited = subscriptions(running, limits)
    assert limited.may_send("job", 1, HOST, status=IN_PROGRESS, sending=sending) is allowed


def test_events_use_up_the_rate_of_a_host(running: Store) -> None:
    """So that events and results together stay below it."""
    limited = subscriptions(running, HostLimits(max_rate=0.001))
    found = [limited.may_send("job", 1, HOST, status=IN_PROGRESS, sending=0) for _ in range(3)]
    assert found == [True, False, False]


def subscriptions(store: Store, limits: HostLimits) -> Any:
    return SubscriptionStore(store.database, store.deliveries._cipher, HostPolicy(limits=limits))
