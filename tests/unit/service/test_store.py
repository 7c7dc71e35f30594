"""callback_sdk.service.store"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from callback_sdk.callbacks import callbacks
from callback_sdk.errors import ConfigurationError
from callback_sdk.models import Receipt
from callback_sdk.service.records import Ending, NewTask
from callback_sdk.service.store import Store

URL = "https://b.s3.eu-west-1.amazonaws.com/k?X-Amz-Signature=topsecret"
PARAM = {"s3_headers": {"x-amz-acl": "topsecret"}, "n": 1}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give an empty store."""
    with closing(Store(tmp_path / "store.sqlite3")) as store:
        yield store


def submit(store: Store, job_id: str = "1", *urls: str) -> str:
    task = NewTask(job_id=job_id, algorithm="a", version="1", features_format="json")
    store.submit(task, callbacks(list(urls), PARAM))
    return job_id


def test_a_task_is_claimed_once(store: Store) -> None:
    """Of many workers that are brought the same task, one gets it."""
    job_id = submit(store)
    with ThreadPoolExecutor(8) as pool:
        claims = [claim for claim in pool.map(store.claim, [job_id] * 40) if claim]
    assert [claim.attempt for claim in claims] == [1]


def test_a_run_that_lost_its_claim_can_not_finish(store: Store) -> None:
    """An older attempt's result never replaces a newer one's."""
    job_id = submit(store)
    old = store.claim(job_id)
    store.lose(job_id, old.attempt, "it died")
    new = store.claim(job_id)
    assert (old.attempt, new.attempt) == (1, 2)
    assert not store.finish(job_id, old.attempt, Ending(success=True))
    assert store.finish(job_id, new.attempt, Ending(success=False, error="x"))
    assert not store.finish(job_id, new.attempt, Ending(success=True))
    assert store.task(job_id)["error"] == "x"


def test_three_losses_end_a_task(store: Store) -> None:
    """The third dead process makes the task a failed one, and its deliveries due."""
    job_id = submit(store, "1", URL)
    for again in (True, True, False):
        assert store.lose(job_id, store.claim(job_id).attempt, "it was killed") is again
    assert store.claim(job_id) is None
    assert store.task(job_id)["status"] == "Finished"
    assert "it was killed" in store.task(job_id)["error"]
    assert len(store.due(10)) == 1


def test_a_release_is_no_loss(store: Store) -> None:
    """A run that an orderly stop broke off can be repeated without end."""
    job_id = submit(store)
    for _ in range(5):
        assert store.release(job_id, store.claim(job_id).attempt)
    assert store.claim(job_id).attempt == 6


def test_a_cancelled_task_stays_cancelled(store: Store) -> None:
    """The run's own end comes too late, and an ended task can't be cancelled."""
    job_id = submit(store, "1", URL)
    claim = store.claim(job_id)
    assert store.cancel(job_id) == "Canceled"
    assert not store.finish(job_id, claim.attempt, Ending(success=True))
    assert store.task(job_id)["status"] == "Canceled"
    done = submit(store, "2")
    store.finish(done, store.claim(done).attempt, Ending(success=True))
    assert store.cancel(done) == "Finished"
    assert store.cancel("3") is None


def test_deliveries_are_due_when_the_task_has_ended(store: Store) -> None:
    """Not before, not while somebody attempts one, not before the next attempt, never after the end."""
    job_id = submit(store, "1", URL, "https://example.org/hook")
    assert store.due(10) == []
    assert store.next_due() is None
    store.finish(job_id, store.claim(job_id).attempt, Ending(success=True, nulled=3))
    (first, host), (second, _) = store.due(10)
    assert store.due_of(job_id) == store.due(10)
    assert host == "b.s3.eu-west-1.amazonaws.com"
    assert [delivery for delivery, _ in store.due(10, skip_hosts=[host])] == [second]
    claim = store.claim_delivery(first)
    assert claim.callback.plain()["url"] == URL
    assert (claim.attempt, claim.run, claim.nulled, claim.result.success) == (1, 1, 3, True)
    assert store.claim_delivery(first) is None
    store.failed(first, "503", 4e9)
    assert store.next_due() < 4e9
    assert [delivery for delivery, _ in store.due(10)] == [second]
    store.failed(second, "410", None)
    assert store.next_due() == 4e9
    assert store.claim_delivery(second) is None
    assert [delivery["state"] for delivery in store.deliveries(job_id)] == ["pending", "dead"]


def test_a_receipt_is_kept(store: Store) -> None:
    """What the target answered can be read again."""
    job_id = submit(store, "1", URL)
    store.finish(job_id, store.claim(job_id).attempt, Ending(success=True))
    ((delivery, _),) = store.due(1)
    store.claim_delivery(delivery)
    now = datetime.now(timezone.utc)
    receipt = Receipt(kind="s3-put", url="u", status=200, size=1, sha256="00", started_at=now, finished_at=now)
    store.delivered(delivery, receipt)
    assert Receipt.from_dict(store.deliveries(job_id)[0]["receipt"]) == receipt
    assert store.due(1) == []


def test_recovery_takes_back_what_was_held(store: Store, tmp_path: Path) -> None:
    """A new process finds the tasks and deliveries of the one that died."""
    running, ended = submit(store, "1"), submit(store, "2", URL)
    store.claim(running)
    store.finish(ended, store.claim(ended).attempt, Ending(success=True))
    ((delivery, _),) = store.due(1)
    store.claim_delivery(delivery)
    with closing(Store(tmp_path / "store.sqlite3")) as anew:
        assert anew.recover() == [("1", 1)]
        assert anew.claim(running).attempt == 2
        assert anew.claim_delivery(delivery).attempt == 2


def test_waiting_tasks_come_oldest_first(store: Store) -> None:
    """Who came first is run first."""
    for number in range(5):
        submit(store, str(number))
    assert store.pending(3) == ["0", "1", "2"]
    store.claim("0")
    assert store.pending(2) == ["1", "2"]
    assert set(store.unfinished()) == {"0", "1", "2", "3", "4"}


def test_concurrent_submits_are_all_kept(store: Store) -> None:
    """Commits that are grouped lose nothing, and one that fails takes no other with it."""

    def one(number: int) -> bool:
        try:
            submit(store, str(number // 2), URL)
        except sa.exc.IntegrityError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        kept = list(pool.map(one, range(100)))
    assert sum(kept) == 50
    assert len(store.pending(100)) == 50


def test_nothing_shown_holds_a_credential(store: Store) -> None:
    """Neither the rows that are shown nor an error of the database has the signature in it."""
    submit(store, "1", URL)
    assert "topsecret" not in repr(store.deliveries("1"))
    assert store.deliveries("1")[0]["param"] == {"n": 1}
    task = NewTask(job_id="1", algorithm="a", version="1", features_format="json")
    targets = callbacks(URL, PARAM)
    with pytest.raises(sa.exc.IntegrityError) as caught:
        store.submit(task, targets)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    assert "topsecret" not in "".join(shown)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """A write after the end is an error and no endless wait."""
    store = Store(tmp_path / "store.sqlite3")
    store.close()
    store.close()
    with pytest.raises(ConfigurationError, match="closed"):
        submit(store)


def test_the_database_survives_a_power_cut(tmp_path: Path) -> None:
    """WAL and synchronous=FULL are really on, and foreign keys are looked at."""
    with closing(Store(tmp_path / "store.sqlite3")) as store, store._transactions.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
