"""callback_sdk.service.dispatcher"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import pytest

from callback_sdk.service import dispatcher as module
from callback_sdk.service.dispatcher import Dispatcher, Watch
from callback_sdk.service.engines import Capacity, EngineError
from callback_sdk.service.engines.preparation import WorkerState
from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.tables import tasks
from callback_sdk.service.supervision.threads import ThreadError
from callback_sdk.targets.callbacks import parse_callbacks
from tests.topology import wait_until


class RecordingEngine:
    """Records dispatched ids up to its capacity."""

    needs_polling = False

    def __init__(self) -> None:
        self.capacity = 100
        self.away = False
        self.fault: BaseException | None = None
        self.checks = 0
        self.tasks: list[str] = []
        self.deliveries: list[str] = []
        self.refused: set[str] = set()
        self.slots = 100
        self.full_hosts: Sequence[str] = ()

    def capacities(self) -> Sequence[Capacity]:
        self.checks += 1
        if self.fault is not None:
            raise self.fault
        if self.away:
            raise EngineError("The broker is away.")
        return [Capacity(limit=self.capacity)]

    def workers(self) -> Sequence[WorkerState]:
        return ()

    def send(self, capacity: Capacity, job_ids: Sequence[str]) -> None:
        self.tasks += job_ids

    def delivery_capacity(self) -> tuple[int, Sequence[str]]:
        return self.slots, self.full_hosts

    def send_deliveries(self, deliveries: Sequence[tuple[str, str]]) -> Sequence[str]:
        ids = [delivery_id for delivery_id, _ in deliveries]
        self.deliveries += [delivery_id for delivery_id in ids if delivery_id not in self.refused]
        return [delivery_id for delivery_id in ids if delivery_id in self.refused]


def submit(store: Store, *job_ids: str) -> None:
    for job_id in job_ids:
        task = TaskRow(job_id=job_id, owner="anna", algorithm="a", version="1", features_format="json")
        store.tasks.submit(
            [Submission(task=task, targets=parse_callbacks(["https://example.org/hook"]), features=b"[]")]
        )


@contextmanager
def running(store: Store, engine: RecordingEngine) -> Iterator[threading.Event]:
    wakeup = threading.Event()
    dispatcher = Dispatcher(store=store, engine=engine, wakeup=wakeup)
    dispatcher.start()
    try:
        yield wakeup
    finally:
        dispatcher.close()


def test_due_ids_are_dispatched_once(store: Store) -> None:
    """Queued tasks and due deliveries are dispatched, and not again while they may be in transit."""
    engine = RecordingEngine()
    submit(store, "1", "2")
    store.tasks.cancel("2")
    with running(store, engine) as wakeup:
        wait_until(lambda: engine.tasks and engine.deliveries)
        submit(store, "3")
        wakeup.set()
        wait_until(lambda: "3" in engine.tasks)
    assert engine.tasks == ["1", "3"]
    assert len(engine.deliveries) == 1


def test_expired_tasks_are_ended(store: Store) -> None:
    """And their failure is delivered, without another cause to check the store."""
    engine = RecordingEngine()
    engine.capacity = 0
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    targets = parse_callbacks(["https://example.org/hook"])
    store.tasks.submit([Submission(task=task, targets=targets, features=b"[]", expires=0.001)])
    with running(store, engine):
        wait_until(lambda: engine.deliveries)
    assert store.tasks.get("1")["error_code"] == "expired"


def test_lost_ids_are_dispatched_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that wasn't claimed in time is dispatched again."""
    monkeypatch.setattr(module, "AGAIN_AFTER", 0.2)
    monkeypatch.setattr(module, "_MAX_SLEEP", 0.05)
    engine = RecordingEngine()
    submit(store, "1")
    with running(store, engine):
        wait_until(lambda: engine.tasks.count("1") >= 2)
        store.tasks.claim("1", "w")
    assert set(engine.tasks) == {"1"}


def test_dispatching_respects_the_engines_capacity(store: Store) -> None:
    """Other tasks stay in the store, and a delivery that the engine rejects can be dispatched again at once."""
    engine = RecordingEngine()
    engine.capacity = 1
    submit(store, "1", "2", "3")
    store.tasks.cancel("3")
    engine.refused = {delivery["delivery_id"] for delivery in store.deliveries.of("3")}
    with running(store, engine) as wakeup:
        wait_until(lambda: engine.tasks == ["1"])
        engine.refused = set()
        wakeup.set()
        wait_until(lambda: engine.deliveries)
    assert "2" in [*engine.tasks, *store.queue.fetch_due(9, redispatch_after=30.0)]


@pytest.mark.parametrize("reason", ["slots", "host", "refused"])
def test_slots_are_wanted_while_deliveries_may_wait_for_one(store: Store, reason: str) -> None:
    """Only then has the end of an attempt to wake the dispatcher up."""
    engine, wakeup, wanted = RecordingEngine(), threading.Event(), threading.Event()
    submit(store, "1")
    store.tasks.cancel("1")
    if reason == "slots":
        engine.slots = 0
    elif reason == "host":
        engine.full_hosts = ["example.org"]
    else:
        engine.refused = {delivery["delivery_id"] for delivery in store.deliveries.of("1")}
    dispatcher = Dispatcher(store=store, engine=engine, wakeup=wakeup, slots_wanted=wanted)
    dispatcher._run_round()
    assert wanted.is_set()
    assert engine.deliveries == []
    engine.slots, engine.full_hosts, engine.refused = 100, (), set()
    dispatcher._run_round()
    assert not wanted.is_set()
    assert len(engine.deliveries) == 1


def test_an_engine_that_is_away_costs_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything waits in the store until it is back."""
    monkeypatch.setattr(module, "_MAX_PAUSE", 0.05)
    engine = RecordingEngine()
    engine.away = True
    submit(store, "1")
    with running(store, engine):
        wait_until(lambda: engine.checks)
        assert engine.tasks == []
        engine.away = False
        wait_until(lambda: engine.tasks == ["1"])


def test_submissions_during_an_outage_of_the_engine_cause_few_log_lines(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One without a traceback at the start and one at the end, for any number of wakeups."""
    monkeypatch.setattr(module, "_MAX_PAUSE", 0.01)
    engine = RecordingEngine()
    engine.away = True
    with running(store, engine) as wakeup:
        for number in range(20):
            submit(store, f"{number}")
            wakeup.set()
        wait_until(lambda: engine.checks > 20)
        engine.away = False
        wait_until(lambda: len(engine.tasks) == 20)
        wait_until(lambda: "again" in caplog.text)
    lines = [record for record in caplog.records if record.name == module.__name__]
    assert [record.getMessage().partition(",")[0] for record in lines] == [
        "Dispatch failed: The broker is away.",
        "Tasks are dispatched again",
    ]
    assert not any(record.exc_info for record in lines)


def test_a_service_that_can_dispatch_nothing_is_not_ready(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that accepts connections may reject every task; readiness has the result of the last check."""
    monkeypatch.setattr(module, "_MAX_PAUSE", 0.05)
    engine = RecordingEngine()
    engine.away = True
    dispatcher = Dispatcher(store=store, engine=engine, wakeup=threading.Event())
    dispatcher.check()
    dispatcher.start()
    try:
        wait_until(lambda: _problem(dispatcher) == "The broker is away.")
        engine.away = False
        wait_until(lambda: _problem(dispatcher) is None)
    finally:
        dispatcher.close()


def test_an_ended_dispatcher_thread_is_reported_and_restarted(store: Store) -> None:
    """SystemExit of an engine ends the thread; the check fails until a later round succeeds."""
    engine = RecordingEngine()
    engine.fault = SystemExit()
    dispatcher = Dispatcher(store=store, engine=engine, wakeup=threading.Event())
    dispatcher.start()
    try:
        wait_until(lambda: _problem(dispatcher) is not None)
        assert "dispatcher ended: SystemExit" in _problem(dispatcher)
        submit(store, "1")
        engine.fault = None
        wait_until(lambda: engine.tasks == ["1"])
        wait_until(lambda: _problem(dispatcher) is None)
    finally:
        dispatcher.close()


def test_leases_restart_after_an_outage_of_the_database(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats could not be written during the outage, so no claim expires."""
    monkeypatch.setattr(module, "_LEASE_CHECK_INTERVAL", 0.0)
    submit(store, "1", "2")
    store.tasks.claim("1", "w")
    dispatcher = Dispatcher(
        store=store, engine=RecordingEngine(), wakeup=threading.Event(), lease=timedelta(seconds=0.4)
    )
    wait_until(lambda: store.tasks.reclaim(silent_for=1000) == [] and _silent(store, 0.5))
    dispatcher._check_leases_and_expiry()
    assert store.tasks.claims_of("w") == {"1": 1}
    wait_until(lambda: dispatcher._check_leases_and_expiry() or store.tasks.claims_of("w") == {})
    store.tasks.finish("1", store.tasks.claim("1", "w").attempt, RunOutcome(success=True))


def test_the_log_says_whether_a_lost_task_is_requeued_or_failed(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Three lost runs are two that are repeated, and the end of the task."""
    monkeypatch.setattr(module, "_LEASE_CHECK_INTERVAL", 0.0)
    submit(store, "1")
    dispatcher = Dispatcher(
        store=store, engine=RecordingEngine(), wakeup=threading.Event(), lease=timedelta(seconds=0.1)
    )
    for _ in range(3):
        store.tasks.claim("1", "w")
        wait_until(lambda: dispatcher._check_leases_and_expiry() or store.tasks.claims_of("w") == {})
    assert [record.getMessage() for record in caplog.records if record.name == module.__name__] == [
        "Task 1: lease expired, requeueing.",
        "Task 1: lease expired, requeueing.",
        "Task 1: lease expired, failing it after its last run.",
    ]
    assert store.tasks.get("1")["status"] == "Finished"


def test_silence_counts_while_everybody_could_be_heard_alone() -> None:
    """The time since the database was away, this machine slept or the clock was put forward, whichever was last."""
    watch = Watch()
    assert watch.update(100.0, 5000.0) == 0
    assert watch.update(104.0, 5004.0) == 4
    assert watch.update(108.0, 5009.0) == 8
    watch.interrupt()
    assert [watch.update(110.0, 5011.0), watch.update(115.0, 5016.0)] == [0, 5]
    # It was stopped for a minute.
    assert [watch.update(175.0, 5076.0), watch.update(177.0, 5078.0)] == [0, 2]
    # It slept for an hour, which the one clock didn't count; then the other one was put back.
    assert [watch.update(179.0, 8680.0), watch.update(181.0, 8682.0), watch.update(183.0, 8000.0)] == [0, 2, 0]


def _silent(store: Store, seconds: float) -> bool:
    task = store.tasks.get("1")
    with store.database.read() as connection:
        import sqlalchemy as sa

        from callback_sdk.service.store.clock import now

        return connection.execute(sa.select(now())).scalar_one() - task["heartbeat_at"] > seconds


def _problem(dispatcher: Dispatcher) -> str | None:
    try:
        dispatcher.check()
    except (EngineError, ThreadError) as error:
        return str(error)
    return None


def test_tasks_of_the_future_are_dispatched_when_the_clock_was_put_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits until the clock has caught up."""
    monkeypatch.setattr(module, "_LEASE_CHECK_INTERVAL", 0.0)
    submit(store, "1")
    assert store.queue.fetch_due(9, redispatch_after=0.0) == ["1"]
    ahead = {"dispatched_at": tasks.c.dispatched_at + 3600}
    store.database.write(lambda connection: connection.execute(tasks.update().values(ahead)))
    real = store.clock
    engine = RecordingEngine()
    with running(store, engine) as awake:
        wait_until(lambda: engine.checks >= 1)
        monkeypatch.setattr(store, "clock", lambda: real() - 3600)
        awake.set()
        wait_until(lambda: engine.tasks == ["1"])
