"""callback_sdk.service.store.tasks and deliveries: the contract on both databases."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve

from callback_sdk.errors import ConfigurationError
from callback_sdk.receipt import Receipt
from callback_sdk.service.store import (
    AcceptedTask,
    DeliveringWorker,
    IdempotencyKey,
    RunOutcome,
    Store,
    Submission,
    TaskRow,
    idempotency,
)
from callback_sdk.service.store.deliveries import MAX_INTERRUPTED
from callback_sdk.service.store.idempotency import IdempotencyConflictError
from callback_sdk.service.store.models import ReclaimedTask
from callback_sdk.service.store.search import TaskFilter
from callback_sdk.service.store.stats import AlgorithmLoad
from callback_sdk.service.store.tables import deliveries, tasks
from callback_sdk.targets.callbacks import parse_callbacks

URL = "https://b.s3.eu-west-1.amazonaws.com/k?X-Amz-Signature=topsecret"
HTTP = {"method": "PUT", "headers": {"private-token": "topsecret"}}
PARAM = {"s3_headers": {"x-amz-acl": "topsecret"}, "http": HTTP, "n": 1}
AGAIN = 30.0


def submission(
    job_id: str, *urls: str, owner: str = "anna", priority: int = 5, features: bytes | None = b"[]"
) -> Submission:
    task = TaskRow(
        job_id=job_id, owner=owner, algorithm="a", version="1", features_format="json", priority=priority
    )  # fmt: skip
    return Submission(task=task, targets=parse_callbacks(list(urls), [PARAM] * len(urls)), features=features)


def submit(store: Store, job_id: str = "1", *urls: str, **facts) -> str:
    store.tasks.submit([submission(job_id, *urls, **facts)])
    return job_id


def ids(accepted: Sequence[AcceptedTask]) -> list[str]:
    return [task.job_id for task in accepted]


def ended(store: Store, job_id: str, *urls: str) -> list[str]:
    """Submit and end a task, and return the ids of its deliveries."""
    submit(store, job_id, *urls)
    store.tasks.finish(job_id, store.tasks.claim(job_id, "w").attempt, RunOutcome(success=True, nulls_written=3))
    return [delivery["delivery_id"] for delivery in store.deliveries.of(job_id)]


def due(store: Store, job_id: str) -> list[tuple[str, str]]:
    """Return id and host of the deliveries that anybody may claim now."""
    return [
        (delivery["delivery_id"], delivery["host"])
        for delivery in store.deliveries.of(job_id)
        if delivery["worker"] is None and (delivery["next_attempt_at"] or 9e9) <= store.clock()
    ]


def pass_an_hour(store: Store) -> None:
    """Put every heartbeat back by an hour."""
    for table in (tasks, deliveries):
        earlier = table.update().values(heartbeat_at=table.c.heartbeat_at - 3600)
        store.database.write(lambda connection, earlier=earlier: connection.execute(earlier))


def receipt() -> Receipt:
    now = datetime.now(timezone.utc)
    return Receipt(target_kind="s3-put", url="u", status=200, size=1, sha256="00", started_at=now, finished_at=now)


def test_a_task_is_claimed_once(store: Store) -> None:
    """Of many workers that are brought the same task, one gets it."""
    job_id = submit(store, features=b"[1]")
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda number: store.tasks.claim(job_id, f"w{number}"), range(40))
        claims = [claim for claim in found if claim]
    assert [(claim.attempt, claim.features) for claim in claims] == [(1, b"[1]")]


def test_a_run_that_lost_its_claim_can_not_finish(store: Store) -> None:
    """An older attempt's result never replaces a newer one's."""
    job_id = submit(store)
    old = store.tasks.claim(job_id, "w")
    store.tasks.record_crash(job_id, old.attempt, "it died")
    new = store.tasks.claim(job_id, "w")
    assert (old.attempt, new.attempt) == (1, 2)
    assert not store.tasks.finish(job_id, old.attempt, RunOutcome(success=True))
    assert store.tasks.finish(job_id, new.attempt, RunOutcome(success=False, error="x"))
    assert not store.tasks.finish(job_id, new.attempt, RunOutcome(success=True))
    assert store.tasks.get(job_id)["error"] == "x"


def test_a_commit_with_a_lost_response_is_detected(store: Store) -> None:
    """The connection may be lost after the commit; a repeated call finds the task ended."""
    job_id = submit(store, "1", URL)
    attempt = store.tasks.claim(job_id, "w").attempt
    ending = RunOutcome(success=True, results=b"{}")
    assert store.tasks.finish(job_id, attempt, ending)
    assert store.tasks.finish(job_id, attempt, ending)
    assert not store.tasks.finish(job_id, attempt, RunOutcome(success=False, error="x"))
    assert not store.tasks.finish(job_id, attempt + 1, ending)


def test_a_release_may_delay_the_next_dispatch(store: Store) -> None:
    """If a dependency is unavailable, the dispatcher waits before the next dispatch."""
    job_id = submit(store)
    assert store.tasks.release(job_id, store.tasks.claim(job_id, "w").attempt, later=True)
    assert store.queue.fetch_due(1, redispatch_after=AGAIN) == []
    assert store.queue.fetch_due(1, redispatch_after=0.0) == [job_id]


def test_three_losses_end_a_task(store: Store) -> None:
    """The third dead process makes the task a failed one, and its deliveries due."""
    job_id = submit(store, "1", URL)
    for ended in (False, False, True):
        lost = store.tasks.record_crash(job_id, store.tasks.claim(job_id, "w").attempt, "it was killed")
        assert (lost is not None) is ended
    assert store.tasks.claim(job_id, "w") is None
    assert store.tasks.get(job_id)["status"] == "Finished"
    assert "it was killed" in store.tasks.get(job_id)["error"]
    assert len(store.deliveries.fetch_due(10, redispatch_after=AGAIN)) == 1


def test_losing_another_workers_claim_ends_nothing(store: Store) -> None:
    """Otherwise a stale worker would remove features of a running task."""
    job_id = submit(store)
    old = store.tasks.claim(job_id, "w")
    store.tasks.release(job_id, old.attempt)
    assert store.tasks.claim(job_id, "x").attempt == 2
    assert store.tasks.record_crash(job_id, old.attempt, "it died") is None
    assert store.tasks.get(job_id)["status"] == "In Progress"


def test_hosts_with_many_running_attempts_are_returned(store: Store) -> None:
    """Attempts of all workers count, per host."""
    ids = ended(store, "1", *["https://slow.example.org/"] * 3, "https://fast.example.org/")
    for number, delivery_id in enumerate(ids):
        assert store.deliveries.claim(delivery_id, f"w{number}")
    assert store.deliveries.busy_hosts(3) == ["slow.example.org"]
    assert store.deliveries.busy_hosts(4) == []


def test_a_new_password_revokes_tokens(store: Store) -> None:
    """A new hash of the same password doesn't."""
    anna = store.users.add("anna", password_hash="old")
    store.users.rehash(anna.user_id, "old", "rehashed")
    assert store.users.by_name("anna").token_generation == anna.token_generation
    assert store.users.set_password("anna", "new").token_generation == anna.token_generation + 1


def test_a_new_password_is_not_overwritten_by_a_new_hash_of_the_old_one(store: Store) -> None:
    """The password may change between the verification of the old one and its rehash."""
    anna = store.users.add("anna", password_hash="old")
    store.users.set_password("anna", "new")
    store.users.rehash(anna.user_id, "old", "rehashed")
    assert store.users.by_name("anna").password_hash == "new"


def test_a_revoked_token_never_counts_again(store: Store) -> None:
    """Not even when a file that still has it is read at the next start."""
    anna = store.users.add("anna")
    assert store.users.add_token(anna.user_id, "digest", label="serve", only=True)
    assert store.users.revoke_tokens(anna.user_id) == 1
    assert store.users.revoke_tokens(anna.user_id) == 0
    assert not store.users.add_token(anna.user_id, "digest", label="serve", only=True)
    assert store.users.of_token("digest") is None
    assert store.users.add_token(anna.user_id, "another", label="serve", only=True)
    assert store.users.of_token("another") == store.users.by_name("anna")


def test_a_release_is_not_a_crash(store: Store) -> None:
    """Runs interrupted by an orderly shutdown may be repeated without limit."""
    job_id = submit(store)
    for _ in range(5):
        assert store.tasks.release(job_id, store.tasks.claim(job_id, "w").attempt)
    assert store.tasks.claim(job_id, "w").attempt == 6


def test_a_canceled_task_stays_canceled(store: Store) -> None:
    """A later outcome of its run is ignored, and an ended task can't be canceled."""
    job_id = submit(store, "1", URL)
    claim = store.tasks.claim(job_id, "w")
    assert store.tasks.cancel(job_id) == "Canceled"
    assert store.tasks.claims_of("w") == {}
    assert not store.tasks.finish(job_id, claim.attempt, RunOutcome(success=True))
    assert store.tasks.get(job_id)["status"] == "Canceled"
    done = submit(store, "2")
    store.tasks.finish(done, store.tasks.claim(done, "w").attempt, RunOutcome(success=True))
    assert store.tasks.cancel(done) == "Finished"
    assert store.tasks.cancel("3") is None


def test_deliveries_are_due_when_the_task_has_ended(store: Store) -> None:
    """Not before, not during an attempt, not before the next attempt, and never after the end."""
    job_id = submit(store, "1", URL, "https://example.org/hook")
    assert due(store, job_id) == []
    assert store.deliveries.next_due() is None
    store.tasks.finish(job_id, store.tasks.claim(job_id, "w").attempt, RunOutcome(success=True, nulls_written=3))
    (first, host), (second, _) = sorted(due(store, job_id), key=lambda found: found[1])
    assert host == "b.s3.eu-west-1.amazonaws.com"
    claim = store.deliveries.claim(first, "w")
    assert store.deliveries.open(claim).plain()["url"] == URL
    assert (claim.attempt, claim.run, claim.nulls_written, claim.result.success) == (1, 1, 3, True)
    assert store.deliveries.claim(first, "w") is None
    store.deliveries.record_failure(first, 1, "503", 4e9)
    assert store.deliveries.next_due() == 0
    assert [delivery for delivery, _ in due(store, job_id)] == [second]
    store.deliveries.claim(second, "w")
    store.deliveries.record_failure(second, 1, "410", None)
    assert store.deliveries.next_due() > 3e9
    assert store.deliveries.claim(second, "w") is None
    assert [delivery["status"] for delivery in store.deliveries.of(job_id)] == ["pending", "dead"]


def test_a_worker_tries_the_deliveries_of_its_task_first(store: Store) -> None:
    """The dispatcher leaves them alone for a while, unless the worker gave them back."""
    job_id = submit(store, "1", URL)
    end = store.tasks.finish(
        job_id,
        store.tasks.claim(job_id, "w").attempt,
        RunOutcome(success=True),
        DeliveringWorker(worker="w", free_slots=0),
    )
    ((delivery, host),) = end.due
    assert (host, end.claims) == ("b.s3.eu-west-1.amazonaws.com", [])
    assert store.deliveries.fetch_due(10, redispatch_after=AGAIN) == []
    store.deliveries.unmark_dispatched(delivery)
    assert store.deliveries.fetch_due(10, skip_hosts=["b.s3.eu-west-1.amazonaws.com"], redispatch_after=AGAIN) == []
    assert [taken for taken, _ in store.deliveries.fetch_due(10, redispatch_after=AGAIN)] == [delivery]
    assert store.deliveries.fetch_due(10, redispatch_after=AGAIN) == []
    assert [taken for taken, _ in store.deliveries.fetch_due(10, redispatch_after=0.0)] == [delivery]


def test_ending_a_task_claims_deliveries_for_free_slots(store: Store) -> None:
    """As many as there are free slots, in the order of the targets, with all data of a claim."""
    hosts = ["one.example.org", "two.example.org", "three.example.org"]
    submit(store, "other", "https://example.org/other", features=b'{"not": "mine"}')
    job_id = submit(store, "1", *(f"https://{host}/hook" for host in hosts), features=b"[7]")
    claim = store.tasks.claim(job_id, "w")
    assert claim.features == b"[7]"
    ending = RunOutcome(success=True, results=b'{"n": 1}', nulls_written=3)
    end = store.tasks.finish(job_id, claim.attempt, ending, DeliveringWorker(worker="w", free_slots=2))
    assert [found.host for found in end.claims] == hosts[:2]
    assert [host for _, host in end.due] == hosts[2:]
    assert [store.deliveries.open(found).url.host for found in end.claims] == hosts[:2]
    assert [taken for taken, _ in store.deliveries.fetch_due(10, redispatch_after=0.0)] == [end.due[0][0]]
    for found in end.claims:
        assert store.deliveries.claim(found.delivery_id, "v") is None
    assert [item["number"] for item in store.deliveries.attempts(job_id)] == [1, 1]
    # A claim by name says the same, but for its number.
    first = end.claims[0]
    assert store.deliveries.reclaim(worker="w") == 2
    again = store.deliveries.claim(first.delivery_id, "w")
    assert again == evolve(first, attempt=2)
    assert (again.results, again.run, again.result.success) == (b'{"n": 1}', 1, True)
    assert store.tasks.results(job_id) == b'{"n": 1}'
    assert store.tasks.claim("other", "w").features == b'{"not": "mine"}'


def test_large_features_and_small_results_can_be_combined(store: Store) -> None:
    """Results replace features in the database, or get a new row if the features are a blob."""
    large = submit(store, "1", URL, features=None)
    claim = store.tasks.claim(large, "w")
    assert claim.features is None
    store.tasks.finish(large, claim.attempt, RunOutcome(success=True, results=b"[1]"))
    assert store.tasks.results(large) == b"[1]"


def test_a_task_that_was_lost_too_often_is_delivered_at_once(store: Store) -> None:
    """The worker that loses it for the last time has the claims, with the error."""
    job_id = submit(store, "1", URL)
    sender = DeliveringWorker(worker="w", free_slots=8)
    for _ in range(2):
        assert store.tasks.record_crash(job_id, store.tasks.claim(job_id, "w").attempt, "it was killed", sender) is None
    end = store.tasks.record_crash(job_id, store.tasks.claim(job_id, "w").attempt, "it was killed", sender)
    (claim,) = end.claims
    assert (claim.run, claim.result.success, "3 times" in claim.result.error) == (3, False, True)


def test_a_receipt_is_stored(store: Store) -> None:
    """It can be read again, with all attempts."""
    (delivery,) = ended(store, "1", URL)
    store.deliveries.claim(delivery, "w")
    store.deliveries.record_failure(delivery, 1, "503", 0.0)
    store.deliveries.claim(delivery, "w")
    sent = receipt()
    store.deliveries.record_receipt(delivery, 2, sent)
    (stored,) = store.deliveries.of("1")
    assert Receipt.from_dict(stored["receipt"]) == sent
    attempts = store.deliveries.attempts("1")
    assert [(item["number"], item["error"]) for item in attempts] == [(1, "503"), (2, None)]
    assert all(item["finished_at"] >= item["started_at"] for item in attempts)
    assert store.deliveries.fetch_due(1, redispatch_after=0.0) == []


def test_an_attempt_that_lost_its_claim_changes_nothing(store: Store) -> None:
    """An outcome of a worker with an expired lease is ignored, because a newer attempt has the claim."""
    (delivery,) = ended(store, "1", URL)
    store.deliveries.claim(delivery, "old")
    assert store.deliveries.reclaim(worker="old") == 1
    store.deliveries.claim(delivery, "new")
    store.deliveries.record_failure(delivery, 1, "too late", None)
    (kept,) = store.deliveries.of("1")
    assert (kept["status"], kept["worker"], kept["attempt_count"]) == ("pending", "new", 2)


def test_interrupted_attempts_use_up_no_retries(store: Store) -> None:
    """Delays depend on failures, not on restarts of the service; repeatedly interrupted attempts are delayed."""
    (delivery,) = ended(store, "1", URL)
    for number in range(1, MAX_INTERRUPTED + 1):
        claim = store.deliveries.claim(delivery, "w")
        assert (claim.attempt, claim.since_redelivery) == (number, 1)
        store.deliveries.reclaim(worker="w")
    store.deliveries.record_failure(delivery, store.deliveries.claim(delivery, "w").attempt, "503", 0.0)
    claim = store.deliveries.claim(delivery, "w")
    assert (claim.attempt, claim.since_redelivery) == (MAX_INTERRUPTED + 2, 2)
    store.deliveries.reclaim(worker="w")
    assert 50 < store.deliveries.next_due() <= 60
    assert store.deliveries.claim(delivery, "w") is None


def test_a_redelivery_begins_the_schedule_anew(store: Store) -> None:
    """Dead or delivered, it is due at once; not before the task has ended, and not while it is being sent."""
    submit(store, "0", URL)
    (early,) = store.deliveries.of("0")
    assert not store.deliveries.redeliver("0", early["delivery_id"])
    (delivery,) = ended(store, "1", URL)
    store.deliveries.claim(delivery, "w")
    assert store.deliveries.redeliver("1", delivery)
    assert store.deliveries.claim(delivery, "w") is None
    # Had nobody asked during the try, it would be dead now.
    store.deliveries.record_failure(delivery, 1, "410", None)
    claim = store.deliveries.claim(delivery, "w")
    assert (claim.attempt, claim.since_redelivery) == (2, 1)
    store.deliveries.record_failure(delivery, 2, "410", None)
    assert store.deliveries.of("1")[0]["status"] == "dead"
    assert store.deliveries.redeliver("1", delivery)
    claim = store.deliveries.claim(delivery, "w")
    assert (claim.attempt, claim.since_redelivery) == (3, 1)
    store.deliveries.redeliver("1", delivery)
    store.deliveries.reclaim(worker="w")
    assert store.deliveries.claim(delivery, "w").since_redelivery == 1


def test_claims_of_a_dead_worker_are_reclaimed(store: Store, open_store: Callable[[], Store]) -> None:
    """A new process reclaims the tasks and deliveries of its predecessor only."""
    running, others = submit(store, "1"), submit(store, "2")
    store.tasks.claim(running, "dead")
    store.tasks.claim(others, "alive")
    (delivery,) = ended(store, "3", URL)
    store.deliveries.claim(delivery, "dead")
    anew = open_store()
    assert anew.tasks.reclaim(worker="dead") == [ReclaimedTask("1", 1)]
    assert anew.deliveries.reclaim(worker="dead") == 1
    assert anew.tasks.claim(running, "w").attempt == 2
    assert anew.deliveries.claim(delivery, "w").attempt == 2


def test_who_is_silent_loses_its_claims(store: Store) -> None:
    """A sign of life keeps them, by the database's own clock."""
    job_id = submit(store)
    store.tasks.claim(job_id, "w")
    (delivery,) = ended(store, "2", URL)
    store.deliveries.claim(delivery, "w")
    pass_an_hour(store)
    store.tasks.heartbeat("w", {job_id: {"fraction": 0.5, "message": "half"}})
    store.deliveries.heartbeat("w", [delivery])
    assert store.tasks.reclaim(silent_for=1800) == []
    assert store.deliveries.reclaim(silent_for=1800) == 0
    assert store.tasks.get(job_id)["progress"] == {"fraction": 0.5, "message": "half"}
    pass_an_hour(store)
    assert store.tasks.reclaim(silent_for=1800) == [ReclaimedTask(job_id, 1)]
    assert store.deliveries.reclaim(silent_for=1800) == 1


def test_urgent_tasks_come_first_and_then_the_oldest(store: Store) -> None:
    """By priority, and among equals in the order of submission, also within one batch."""
    store.tasks.submit([submission(str(number)) for number in range(3)])
    submit(store, "urgent", priority=9)
    submit(store, "whenever", priority=0)
    assert store.queue.fetch_due(3, redispatch_after=AGAIN) == ["urgent", "0", "1"]
    assert store.queue.fetch_due(9, redispatch_after=AGAIN) == ["2", "whenever"]
    assert store.queue.fetch_due(9, redispatch_after=AGAIN) == []
    assert store.queue.fetch_due(1, redispatch_after=0.0) == ["urgent"]
    assert store.queue.fetch_due(9, algorithms=("b",), redispatch_after=0.0) == []
    assert set(store.tasks.unfinished_ids()) == {"0", "1", "2", "urgent", "whenever"}
    assert store.tasks.unknown_algorithms(["b"]) == ["a"]


def test_dispatched_unclaimed_tasks_are_found(store: Store) -> None:
    """By algorithm, since a time: an idle worker that received none of them has a broken connection to its engine."""
    start = store.clock()
    submit(store, "1")
    submit(store, "2")
    assert store.queue.find_dispatched(["a", "b"], since=start) == []
    assert store.queue.fetch_due(9, redispatch_after=AGAIN) == ["1", "2"]
    assert store.queue.find_dispatched(["b", "a"], since=start) == ["a"]
    assert store.queue.find_dispatched(["b"], since=start) == store.queue.find_dispatched([], since=start) == []
    assert store.queue.find_dispatched(["a"], since=store.clock() + 1) == []
    store.tasks.claim("1", "w")
    assert store.queue.find_dispatched(["a"], since=start) == ["a"]
    load = store.stats.loads()["a"]
    assert (load.queued, load.running) == (1, 1)
    assert 0 <= load.oldest < 60
    store.tasks.claim("2", "w")
    assert store.queue.find_dispatched(["a"], since=start) == []
    assert store.stats.loads() == {"a": AlgorithmLoad(running=2)}


def test_dispatched_unclaimed_deliveries_are_found(store: Store) -> None:
    """Deliveries that are not due, or have a running attempt, don't count."""
    start = store.clock()
    (delivery,) = ended(store, "1", URL)
    assert not store.deliveries.has_dispatched(since=start)
    assert len(store.deliveries.fetch_due(9, redispatch_after=AGAIN)) == 1
    assert store.deliveries.has_dispatched(since=start)
    assert not store.deliveries.has_dispatched(since=store.clock() + 1)
    store.deliveries.claim(delivery, "w")
    assert not store.deliveries.has_dispatched(since=start)


def test_two_dispatchers_take_no_task_twice(store: Store, open_store: Callable[[], Store]) -> None:
    """Each waiting task goes to one of them."""
    store.tasks.submit([submission(str(number)) for number in range(200)])
    other = open_store()
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda n: (store, other)[n % 2].queue.fetch_due(10, redispatch_after=AGAIN), range(40))
        taken = [job_id for batch in found for job_id in batch]
    # One that looks while the other has locked the last tasks finds none, and leaves them for its next look.
    while more := store.queue.fetch_due(10, redispatch_after=AGAIN):
        taken += more
    assert sorted(taken, key=int) == [str(number) for number in range(200)]


def test_concurrent_submissions_are_all_stored(store: Store) -> None:
    """Group commits lose nothing, and a failing one affects no other."""

    def one(number: int) -> bool:
        try:
            submit(store, str(number // 2), URL)
        except sa.exc.IntegrityError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        kept = list(pool.map(one, range(100)))
    assert sum(kept) == 50
    assert len(store.queue.fetch_due(100, redispatch_after=AGAIN)) == 50


def test_tasks_are_accepted_in_order(store: Store) -> None:
    """For concurrent submissions, each returned time equals the stored one."""
    submissions = [submission(str(number), URL) for number in range(2500)]
    accepted = store.tasks.submit(submissions)
    assert ids(accepted) == [item.task.job_id for item in submissions]
    assert [store.tasks.get(task.job_id)["created_at"] for task in accepted[::100]] == [
        task.created_at for task in accepted[::100]
    ]
    moments = [task.created_at for task in accepted]
    assert sorted(set(moments)) == moments


def test_an_idempotency_key_creates_one_task(store: Store) -> None:
    """For any number of concurrent equal requests; a different request is rejected."""
    key = IdempotencyKey(key="k", fingerprint="f")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: store.tasks.submit([submission(str(number), URL)], key), range(16)))
    assert len({tuple(ids(accepted)) for accepted in found}) == 1
    assert sum(accepted[0].created_at is not None for accepted in found) == 1
    assert len(store.tasks.unfinished_ids()) == 1
    with pytest.raises(IdempotencyConflictError, match="a different request"):
        store.tasks.submit([submission("x")], IdempotencyKey(key="k", fingerprint="other"))
    assert ids(store.tasks.submit([submission("y", owner="bert")], key)) == ["y"]
    assert idempotency.delete(store.database, older_than=0.0) == 2
    assert ids(store.tasks.submit([submission("z")], key)) == ["z"]


def found_ids(store: Store, **wanted: Any) -> list[str]:
    """Return the ids of the tasks that a filter selects."""
    return [task["job_id"] for task in store.search.page(TaskFilter(**wanted), limit=9).tasks]


def test_users_see_only_their_own_tasks(store: Store) -> None:
    """In lists, by id, and in counts."""
    submit(store, "1")
    submit(store, "2", owner="bert")
    assert store.tasks.get("1", owner="anna")["owner"] == "anna"
    assert store.tasks.get("1", owner="bert") is None
    assert found_ids(store, owner="bert") == ["2"]
    assert store.tasks.open_count("anna", at_most=10) == 1


def test_pages_show_each_task_once(store: Store) -> None:
    """Newest first; each page starts at the end of the previous one."""
    store.tasks.submit([submission(str(number)) for number in range(5)])
    store.tasks.cancel("3")
    first = store.search.page(TaskFilter(owner="anna"), limit=3)
    second = store.search.page(TaskFilter(owner="anna"), limit=3, after=first.position)
    assert [task["job_id"] for task in first.tasks + second.tasks] == ["4", "3", "2", "1", "0"]
    assert found_ids(store, owner="anna", status="Canceled") == ["3"]
    assert found_ids(store, owner="anna", algorithm="b") == []
    assert store.tasks.open_count("anna", at_most=3) == 3
    assert store.tasks.counts() == {"Pending": 4, "In Progress": 0}


def test_tasks_are_selected_by_the_beginning_of_their_id(store: Store) -> None:
    """Those of one user only; a hyphen is a character like any other."""
    ids = [f"{start}-5c1e-4d3a-9b1f-0a2b3c4d5e6f" for start in ("3f2a9c10", "3f2a9c11", "3f2b0000", "ffffffff")]
    store.tasks.submit([submission(job_id) for job_id in ids])
    store.tasks.submit([submission("3f2a0000-5c1e-4d3a-9b1f-0a2b3c4d5e6f", owner="bert")])
    for prefix, found in {"3f2a": ids[:2], "3f2a9c10-": ids[:1], "f": ids[3:], "3f2a9c1": ids[:2], "4": []}.items():
        assert sorted(found_ids(store, owner="anna", id_prefix=prefix)) == found


def test_tasks_are_filtered_by_outcome(store: Store) -> None:
    """`failed` and `succeeded` select finished tasks; a canceled one is neither."""
    store.tasks.submit([submission(str(number)) for number in range(4)])
    store.tasks.cancel("3")
    for job_id, success in (("1", True), ("2", False)):
        attempt = store.tasks.claim(job_id, "w").attempt
        store.tasks.finish(job_id, attempt, RunOutcome(success=success))
    assert found_ids(store, owner="anna", status="succeeded") == ["1"]
    assert found_ids(store, owner="anna", status="failed") == ["2"]
    assert found_ids(store, owner="anna", status="expired") == []


def test_small_results_are_in_the_database(store: Store) -> None:
    """They are part of a delivery claim; features are deleted when the task has ended."""
    submit(store, "1", URL, features=b"[1]")
    store.tasks.finish("1", store.tasks.claim("1", "w").attempt, RunOutcome(success=True, results=b"{}"))
    (delivery,) = store.deliveries.of("1")
    assert store.deliveries.claim(delivery["delivery_id"], "w").results == b"{}"
    assert store.tasks.results("1") == b"{}"
    with store.database.read() as connection:
        assert connection.exec_driver_sql("SELECT name FROM task_payloads").scalars().all() == ["results"]


def test_nothing_holds_a_credential_in_plain(store: Store) -> None:
    """Neither the database, nor the rows that are shown, nor an error has the signature in it."""
    submit(store, "1", URL)
    with store.database.read() as connection:
        stored = connection.execute(sa.select(deliveries)).mappings().all()
    assert "topsecret" not in repr(stored)
    assert "topsecret" not in repr(store.deliveries.of("1"))
    assert store.deliveries.of("1")[0]["callback_param"] == {"n": 1}
    with pytest.raises(sa.exc.IntegrityError) as caught:
        submit(store, "1", URL)
    frames = list(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    own = [frame for frame in frames if "test_tasks.py" not in frame]
    assert "topsecret" not in "".join(own)


def test_a_closed_store_says_so(store: Store) -> None:
    """A write after the end is an error and no endless wait."""
    store.close()
    store.close()
    with pytest.raises(ConfigurationError, match="closed"):
        submit(store)
