"""callback_sdk.service.store.changes and .notifications"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from callback_sdk.redaction import Secret
from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow, notifications
from callback_sdk.service.store.notifications import NotificationSender


class Heard:
    """What a listener was told."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.checks = 0
        self._changed = threading.Condition()

    def __call__(self, job_ids: Collection[str] | None) -> None:
        with self._changed:
            if job_ids is None:
                self.checks += 1
            else:
                self.ids += job_ids
            self._changed.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 30)


@contextmanager
def following(store: Store) -> Iterator[Heard]:
    """Follow the changes of other processes, and give what is heard."""
    stopping, heard = threading.Event(), Heard()
    thread = threading.Thread(target=store.database.follow, args=[stopping])
    with store.database.changes.listening(heard):
        thread.start()
        try:
            heard.until(lambda: heard.checks > 0)
            yield heard
        finally:
            stopping.set()
            thread.join()


def submit(store: Store, job_id: str) -> int:
    """Submit and claim a task, and return the number of its run."""
    task = TaskRow(job_id=job_id, owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, features=b"[]")])
    return store.tasks.claim(job_id, "w").attempt


def test_each_change_is_announced(store: Store) -> None:
    """After its commit, to the listeners of the same process."""
    heard = Heard()

    def changed(work: Callable[[], Any]) -> bool:
        heard.ids.clear()
        work()
        return "1" in heard.ids

    with store.database.changes.listening(heard):
        assert changed(lambda: submit(store, "1"))
        assert changed(lambda: store.tasks.heartbeat("w", {"1": {"fraction": 0.5, "message": ""}}))
        assert not changed(lambda: store.tasks.heartbeat("w", {"1": None}))
        assert changed(lambda: store.output.write("1", 1, 0, b"x"))
        assert changed(lambda: store.tasks.release("1", 1))
        assert changed(lambda: store.tasks.claim("1", "w"))
        assert changed(lambda: store.tasks.record_crash("1", 2, "killed"))
        assert changed(lambda: store.tasks.claim("1", "w"))
        assert changed(lambda: store.tasks.reclaim(worker="w"))
        assert changed(lambda: store.tasks.end_waiting("a", "no algorithm"))
        assert changed(lambda: store.tasks.delete(["1"]))
        assert changed(lambda: submit(store, "1"))
        assert changed(lambda: store.tasks.cancel("1"))
        assert changed(lambda: store.output.complete("1", 1))
    assert not changed(lambda: store.tasks.delete(["1"]))


def test_other_processes_are_told(open_store: Callable[[], Store]) -> None:
    """By notifications of PostgreSQL, with the ids; in SQLite they only see that there was a commit."""
    here, there = open_store(), open_store()
    attempt = submit(there, "1")
    with following(here) as heard:
        is_sqlite = here.database.engine.dialect.name == "sqlite"
        if not is_sqlite:
            # The notification to itself has arrived: nothing is checked from now on.
            time.sleep(0.1)
        checks = heard.checks
        there.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}"))
        heard.until(lambda: "1" in heard.ids or (is_sqlite and heard.checks > checks))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_own_notifications_are_told_once(open_store: Callable[[], Store]) -> None:
    """A process hears its own ones as well."""
    here, there = open_store(), open_store()
    with following(here) as heard:
        submit(here, "1")
        submit(there, "2")
        heard.until(lambda: "2" in heard.ids)
        assert heard.ids.count("1") == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_lost_connection_is_replaced(open_store: Callable[[], Store], database_url: Secret[str]) -> None:
    """All tasks are checked then, as notifications of the meantime are lost."""
    here, there = open_store(), open_store()
    with following(here) as heard:
        checks = heard.checks
        with psycopg.connect(database_url.reveal().replace("+psycopg", ""), autocommit=True) as connection:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN callback_sdk_tasks'"
            assert connection.execute(query).fetchall()
        heard.until(lambda: heard.checks > checks + 1)
        checks = heard.checks
        submit(there, "1")
        heard.until(lambda: "1" in heard.ids or heard.checks > checks)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_passes_no_notifications_on_is_polled(
    open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a connection pool in the mode "transaction" does: it runs LISTEN in a session that is another one's soon."""
    monkeypatch.setattr(notifications, "_DEAF", 0.02)
    monkeypatch.setattr(notifications, "_PROBE", 0.2)
    monkeypatch.setattr(notifications, "_TURN", 0.02)
    here = open_store()
    connect = here.database._connect

    class Pooled:
        """A connection whose LISTEN is forgotten."""

        def __init__(self) -> None:
            self.plain = connect()

        def execute(self, statement: str) -> None:
            self.plain.execute("SELECT 1")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.plain, name)

    monkeypatch.setattr(here.database, "_connect", Pooled)
    with following(here) as heard:
        heard.until(lambda: heard.checks > 20)
    assert "must be in the mode session" in caplog.text
    assert "Traceback" not in caplog.text


def test_notifications_are_short_and_few() -> None:
    """Each has less than 8,000 bytes, and what waits to be sent is bounded."""
    sent: list[str] = []
    notifier = NotificationSender(sent.extend)
    for number in range(1000):
        notifier([f"{number:064}"])
        notifier([f"{number:064}"])
    notifier.close()
    assert all(len(payload) < 8000 for payload in sent)
    ids = [job_id for payload in sent for job_id in payload.split(" ")[1].split(",")]
    assert len(set(ids)) == 1000
    sent.clear()
    notifier = NotificationSender(sent.extend)
    notifier([str(number) for number in range(100_000)])
    notifier.close()
    assert [payload.split(" ")[1] for payload in sent] == ["*"]
    notifier(["1"])
    assert len(sent) == 1


def test_the_notifier_survives_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """What could not be sent is dropped, as listeners check all tasks from time to time."""
    sent, failures = Heard(), iter([RuntimeError("no database")])

    def send(payloads: Any) -> None:
        for error in failures:
            raise error
        sent([payload.split(" ")[1] for payload in payloads])

    with ExitStack() as stack:
        notifier = NotificationSender(send)
        stack.callback(notifier.close)
        notifier(["1"])
        deadline = time.monotonic() + 30
        while "no database" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        notifier(["2"])
        sent.until(lambda: "2" in sent.ids)
    assert sent.ids == ["2"]


def test_a_notification_needs_no_thread_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is committed when the limit of threads is reached, and the next call tries again."""
    sent: list[str] = []
    notifier = NotificationSender(sent.extend)

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        notifier(["1"])
    notifier(["2"])
    notifier.close()
    assert {job_id for payload in sent for job_id in payload.split(" ")[1].split(",")} == {"1", "2"}
