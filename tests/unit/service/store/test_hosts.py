"""callback_sdk.service.store.hosts, holds and host_gates, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from callback_sdk.concurrency.circuit import RAMP, HostLimits, HostPolicy
from callback_sdk.models import DeliveryFilter
from callback_sdk.redaction import SecretURL
from callback_sdk.service.store import DeliveringWorker, RunOutcome, Store, Submission, TaskRow, repairs
from callback_sdk.service.store.deliveries import DeliveryStore
from callback_sdk.service.store.hosts import HostStore
from callback_sdk.service.store.tables import deliveries, hosts
from callback_sdk.targets.callbacks import parse_callbacks
from tests.databasework import work
from tests.signedurls import v4
from tests.unit.service.store.hosts_cases import (
    HOST,
    URL,
    claim,
    deliver,
    end_tasks,
    fail,
    fetch,
    held,
    open_circuit,
    pass_time,
    reject,
    state,
)


def test_a_host_that_works_leaves_no_trace(store: Store) -> None:
    """Plain deliveries write nothing about their hosts."""
    for delivery_id in end_tasks(store, 3):
        deliver(store, claim(store, delivery_id))
    assert store.hosts.all() == []


def test_deliveries_to_an_open_circuit_are_held_and_keep_their_attempts(store: Store) -> None:
    """They are not due, not dead, and released in the order in which they were due when the host works again."""
    ids = end_tasks(store, 12)
    open_circuit(store, ids)
    assert (state(store).state, state(store).failures, state(store).last_error) == ("open", 5, "It is away.")
    assert fetch(store) == []
    assert held(store) == ids[5:]
    assert (state(store).held, store.hosts.held()[0]) == (7, 7)
    with store.database.read() as connection:
        rows = connection.execute(sa.select(deliveries).where(deliveries.c.held_since.is_not(None))).all()
    assert {(row.status, row.attempt_count) for row in rows} == {("pending", 0)}
    assert all(store.deliveries.claim(delivery_id, "w") is None for delivery_id in ids[5:])

    pass_time(store, 20)
    assert (state(store).state, fetch(store)) == ("half-open", [ids[5]])
    deliver(store, claim(store, ids[5]))
    delivered, most = [ids[5]], 0
    while released := fetch(store):
        claims = [claim(store, delivery_id) for delivery_id in released]
        most = max(most, len(claims))
        for one in claims:
            deliver(store, one)
        delivered += released
    assert delivered == ids[5:]
    assert 1 < most <= 8
    assert store.deliveries.next_due() is not None


def test_one_delivery_at_a_time_tests_a_host(store: Store, open_store: Callable[[], Store]) -> None:
    """Of many workers with two connections to the database, one gets a claim; the others' deliveries are held."""
    ids = end_tasks(store, 45)
    open_circuit(store, ids)
    pass_time(store, 20)
    stores = [store, open_store()]
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda number: stores[number % 2].deliveries.claim(ids[number], f"w{number}"), range(5, 45))
        )
    claims = [one for one in found if one is not None]
    assert len(claims) == 1
    assert (state(store).running, state(store).held) == (1, 39)
    assert fetch(store) == []
    pass_time(store, 30)
    assert fetch(store) == []
    fail(store, claims[0])
    assert (state(store).state, state(store).failures) == ("open", 6)


@pytest.mark.parametrize("end", [fail, reject, deliver])
def test_every_end_of_a_probe_lets_another_delivery_go_on(store: Store, end: Callable[..., None]) -> None:
    """A failure opens the circuit for longer; any other response closes it, a rejected signature too."""
    ids = end_tasks(store, 9)
    open_circuit(store, ids)
    fetch(store)
    pass_time(store, 20)
    (probe,) = fetch(store)
    end(store, claim(store, probe))
    if end is fail:
        assert state(store).state == "open"
        pass_time(store, 20)
        assert fetch(store) == []
        pass_time(store, 20)
    else:
        assert state(store).state == "closed"
    assert fetch(store)[0] == ids[6]


def test_a_probe_that_shows_nothing_of_its_host_is_followed_by_another(store: Store) -> None:
    """Such as one whose target has expired, to which no request was sent."""
    from callback_sdk.service.store.models import HostOutcome

    ids = end_tasks(store, 8)
    open_circuit(store, ids)
    fetch(store)
    pass_time(store, 20)
    (probe,) = fetch(store)
    found = claim(store, probe)
    nothing = HostOutcome(origin=HOST, is_available=None)
    store.deliveries.record_failure(probe, found.attempt, "The target has expired.", None, host=nothing)
    assert (state(store).state, fetch(store)) == ("half-open", [ids[6]])


def test_the_probe_of_a_dead_process_does_not_keep_a_circuit_half_open(store: Store) -> None:
    """Its claim expires with its lease, and it is the first to be tried again."""
    ids = end_tasks(store, 8)
    open_circuit(store, ids)
    fetch(store)
    pass_time(store, 20)
    (probe,) = fetch(store)
    claim(store, probe, "killed")
    pass_time(store, 30)
    assert fetch(store) == []
    assert store.deliveries.reclaim(silent_for=20.0) == 1
    claims = []
    for _ in range(2):
        again = fetch(store)
        assert set(again) <= {probe, ids[6]}
        claims += [found for found in (store.deliveries.claim(each, "w") for each in again) if found is not None]
    assert len(claims) == 1
    deliver(store, claims[0])
    assert state(store).state == "closed"


def test_a_crash_between_release_and_claim_loses_nothing(store: Store) -> None:
    """The released delivery is due, and if its id is lost, another one is released."""
    ids = end_tasks(store, 8)
    open_circuit(store, ids)
    fetch(store)
    pass_time(store, 20)
    assert fetch(store) == [ids[5]]
    pass_time(store, 30)
    assert fetch(store) == [ids[5], ids[6]]
    assert store.deliveries.claim(ids[6], "w") is not None
    assert store.deliveries.claim(ids[5], "w") is None


def test_a_rejected_delivery_opens_no_circuit(store: Store) -> None:
    """Any number of expired URLs at one host."""
    for delivery_id in end_tasks(store, 20):
        reject(store, claim(store, delivery_id))
    assert store.hosts.all() == []


def test_a_response_ends_a_run_of_failures(store: Store) -> None:
    """The circuit opens after five in a row."""
    ids = end_tasks(store, 9)
    for delivery_id in ids[:4]:
        fail(store, claim(store, delivery_id))
    deliver(store, claim(store, ids[4]))
    assert store.hosts.all() == []
    for delivery_id in ids[5:]:
        fail(store, claim(store, delivery_id))
    assert state(store).state == "closed"


def test_other_hosts_ports_and_schemes_have_their_own_circuits(store: Store) -> None:
    """Spellings of one host share theirs."""
    ids = end_tasks(store, 3) + end_tasks(store, 2, "https://EXAMPLE.org:443/other", first=10)
    open_circuit(store, ids)
    assert [(one.host, one.state) for one in store.hosts.all()] == [(HOST, "open")]
    (other,) = end_tasks(store, 1, "https://example.org:8443/hook", first=20)
    (plain,) = end_tasks(store, 1, "http://example.org/hook", first=30)
    (same,) = end_tasks(store, 1, "https://example.org./hook", first=40)
    assert set(fetch(store)) == {other, plain}
    assert held(store) == [same]
    assert store.hosts.known_as("example.org") == ["http://example.org", HOST, "https://example.org:8443"]


def test_first_attempts_respect_the_circuit(store: Store) -> None:
    """The worker that ends a task claims its deliveries at once, but not those to an open circuit."""
    open_circuit(store, end_tasks(store, 5))
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    targets = parse_callbacks([URL, "https://fine.example.org/hook"])
    store.tasks.submit([Submission(task=task, targets=targets, features=b"[]")])
    run = store.tasks.claim("1", "w")
    assert run is not None
    sender = DeliveringWorker(worker="w", free_slots=8)
    due = store.tasks.finish("1", run.attempt, RunOutcome(success=True, results=b"{}"), sender)
    assert due is not None
    assert [one.host for one in due.claims] == ["fine.example.org"]
    ((delivery_id, host),) = due.due
    assert host == "example.org"
    assert store.deliveries.claim(delivery_id, "w") is None
    assert held(store) == [delivery_id]


def test_a_paused_host_gets_nothing_until_it_is_resumed(store: Store) -> None:
    """For any time, whatever its circuit; what is held then goes in order."""
    ids = end_tasks(store, 3)
    store.hosts.pause(HOST, by="olga")
    assert fetch(store) == []
    assert (state(store).state, state(store).paused_by, state(store).held) == ("paused", "olga", 3)
    pass_time(store, 30 * 86400)
    assert store.hosts.end_expired() == 0
    assert (fetch(store), store.hosts.release_due()) == ([], None)
    assert store.hosts.resume(HOST)
    assert fetch(store) == ids
    for delivery_id in ids:
        deliver(store, claim(store, delivery_id))
    assert not store.hosts.resume(HOST)
    assert store.hosts.counts() == {"open": 0, "half-open": 0, "paused": 0}


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("http://127.1:8080/h", "127.0.0.1"),
        ("http://0x7f000001:8080/h", "127.0.0.1"),
        ("https://Localhost./h", "localhost"),
        ("https://[0:0::1]/h", "::1"),
    ],
)
def test_all_spellings_of_a_host_are_one_host(store: Store, given: str, host: str) -> None:
    """For its pause, the filter of deliveries, and the deliveries at a time."""
    (delivery_id,) = end_tasks(store, 1, given)
    (known,) = store.hosts.known_as(host)
    assert store.hosts.known_as(SecretURL(given).host) == [known]
    store.hosts.pause(known, by=None)
    assert fetch(store) == []
    assert held(store) == [delivery_id]
    for name in (host, SecretURL(given).host):
        (row,) = store.bulk_redelivery.page(DeliveryFilter(host=name), owner=None, limit=9)
        assert (row["delivery_id"], row["host"]) == (delivery_id, host)


def test_resuming_an_open_host_tests_it_at_once(store: Store) -> None:
    """With one delivery."""
    ids = end_tasks(store, 8)
    open_circuit(store, ids)
    fetch(store)
    assert store.hosts.counts() == {"open": 1, "half-open": 0, "paused": 0}
    assert store.hosts.resume(HOST)
    assert fetch(store) == [ids[5]]
    assert store.hosts.counts() == {"open": 0, "half-open": 1, "paused": 0}


def test_retry_after_is_waited_for(store: Store) -> None:
    """Of the failure that opens the circuit, or a later one."""
    ids = end_tasks(store, 7)
    for delivery_id in ids[:4]:
        fail(store, claim(store, delivery_id), retry_in=86400.0)
    fail(store, claim(store, ids[4]), retry_in=86400.0, retry_after=600.0)
    fetch(store)
    pass_time(store, 590)
    assert fetch(store) == []
    pass_time(store, 11)
    assert fetch(store) == [ids[5]]


def test_concurrency_of_a_host_is_limited_over_all_workers(store: Store) -> None:
    """The end of an attempt lets the next one start."""
    ids = end_tasks(store, 6)
    store.hosts.limit(HOST, HostLimits(max_concurrency=2))
    first, second = claim(store, ids[0], "a"), claim(store, ids[1], "b")
    assert [store.deliveries.claim(delivery_id, "c") for delivery_id in ids[2:]] == [None] * 4
    assert (state(store).running, state(store).held) == (2, 4)
    deliver(store, first)
    assert [each for each, _ in store.hosts.release_next(HOST)] == [ids[2]]
    deliver(store, claim(store, ids[2]))
    deliver(store, second)
    assert [each for each, _ in store.hosts.release_next(HOST)] == [ids[3], ids[4]]
    store.hosts.limit(HOST, HostLimits())


def test_the_rate_of_a_host_is_limited(store: Store) -> None:
    """Two per minute: the third waits for half a minute."""
    ids = end_tasks(store, 3)
    store.hosts.limit(HOST, HostLimits(max_rate=2 / 60))
    deliver(store, claim(store, ids[0]))
    assert [store.deliveries.claim(delivery_id, "w") for delivery_id in ids[1:]] == [None, None]
    wait = store.hosts.release_due()
    assert wait is not None
    assert 25 < wait <= 30
    pass_time(store, 30)
    assert fetch(store) == [ids[1]]
    deliver(store, claim(store, ids[1]))
    assert store.deliveries.claim(ids[2], "w") is None


def test_limits_of_the_settings_apply_to_every_host(store: Store) -> None:
    """Limits of a host replace them."""
    policy = HostPolicy(limits=HostLimits(max_concurrency=1))
    _use(store, policy)
    ids = end_tasks(store, 3)
    first = claim(store, ids[0])
    assert store.deliveries.claim(ids[1], "w") is None
    deliver(store, first)
    assert [each for each, _ in store.hosts.release_next(HOST)] == [ids[1]]
    store.hosts.limit(HOST, HostLimits(max_concurrency=5))
    claim(store, ids[1])
    claim(store, ids[2])


@pytest.mark.parametrize("rate", [None, 10.0])
def test_a_rate_of_the_settings_ends_with_them(store: Store, rate: float | None) -> None:
    """After a restart without it, or with a higher one, neither held nor new deliveries wait for its next slot."""
    _use(store, HostPolicy(limits=HostLimits(max_rate=1 / 3600)))
    ids = end_tasks(store, 3)
    deliver(store, claim(store, ids[0]))
    assert store.deliveries.claim(ids[1], "w") is None
    _use(store, HostPolicy(limits=HostLimits(max_rate=rate)))
    pass_time(store, 61)
    fetched = {*fetch(store), *fetch(store)}
    assert fetched == set(ids[1:])
    for delivery_id in fetched:
        deliver(store, claim(store, delivery_id))


def _use(store: Store, policy: HostPolicy) -> None:
    store.deliveries = DeliveryStore(store.database, store.deliveries._cipher, policy)
    store.hosts = HostStore(store.database, policy)


def test_a_held_delivery_dies_with_its_target(store: Store) -> None:
    """A presigned URL expires whether its host is up or not; the error says so, before the host is back."""
    at = (datetime.now(timezone.utc) - timedelta(minutes=50)).strftime("%Y%m%dT%H%M%SZ")
    url = f"{HOST}/bucket/key.json?{v4(date=at, expires=3600)}"
    open_circuit(store, end_tasks(store, 5))
    (delivery_id,) = end_tasks(store, 1, url, first=10)
    assert fetch(store) == []
    assert store.hosts.end_expired() == 0
    pass_time(store, 700)
    assert store.hosts.end_expired() == 1
    (row,) = (one for one in _rows(store) if one.delivery_id == delivery_id)
    assert (row.status, row.attempt_count, row.held_since) == ("dead", 0, None)
    assert "expired while its host was unavailable" in row.last_error


def test_deliveries_to_a_host_that_is_gone_are_dead_in_the_end(store: Store) -> None:
    """After a week, and only those that waited that long."""
    ids = end_tasks(store, 7)
    open_circuit(store, ids)
    fetch(store)
    pass_time(store, 6.9 * 86400)
    (late,) = end_tasks(store, 1, first=10)
    assert store.deliveries.claim(late, "w") is None
    assert store.hosts.end_expired() == 0
    pass_time(store, 0.2 * 86400)
    assert store.hosts.end_expired() == 2
    assert {row.delivery_id for row in _rows(store) if row.status == "dead"} == {ids[5], ids[6]}
    assert held(store) == [late]


def test_a_redelivery_to_an_open_circuit_is_held_too(store: Store) -> None:
    """Otherwise the redelivery of many would be the herd that the circuit keeps away."""
    ids = end_tasks(store, 6)
    open_circuit(store, ids)
    job_id = next(row.job_id for row in _rows(store) if row.delivery_id == ids[0])
    assert store.deliveries.redeliver(job_id, ids[0])
    # At once, so that the answer to the redelivery says so.
    assert held(store) == [ids[0]]
    assert fetch(store) == []
    assert set(held(store)) == {ids[0], ids[5]}


def test_a_webhook_that_is_gone_is_disabled_alone(store: Store) -> None:
    """Not its host, and not another webhook whose URL differs in its query."""
    gone = SecretURL("https://example.org/hook?key=one")
    store.hosts.disable_webhook(gone)
    store.hosts.disable_webhook(gone)
    assert store.hosts.is_disabled(gone)
    assert not store.hosts.is_disabled(SecretURL("https://example.org/hook?key=two"))
    ids = end_tasks(store, 1, "https://example.org/hook?key=two") + end_tasks(store, 1, first=5)
    assert [claim(store, delivery_id).may_be_disabled for delivery_id in ids] == [True, False]
    (one,) = store.hosts.disabled_webhooks()
    assert (one.url, one.host) == (str(gone), HOST)
    assert store.hosts.enable_webhooks(str(gone)) == 1
    assert not store.hosts.is_disabled(gone)


def test_a_webhook_that_is_gone_is_enabled_without_its_query(store: Store) -> None:
    """The query is hidden where the webhook is listed; a wildcard of LIKE is a character as any other."""
    for path in ("ho_k?key=one", "ho_k?key=two", "hook?key=one", "ho_k/below?key=one"):
        store.hosts.disable_webhook(SecretURL(f"https://example.org/{path}"))
    assert store.hosts.enable_webhooks("https://example.org/ho_k") == 2
    assert {one.url for one in store.hosts.disabled_webhooks()} == {
        str(SecretURL(f"https://example.org/{path}?key=one")) for path in ("hook", "ho_k/below")
    }


def test_times_of_a_wrong_clock_are_repaired(store: Store) -> None:
    """Otherwise a circuit that opened while the clock was ahead would stay open until that time."""
    ids = end_tasks(store, 7)
    open_circuit(store, ids)
    fetch(store)
    pass_time(store, -86400.0)
    assert repairs.repair_times(store.database, lease=20.0, max_delay=100_000.0) > 0
    assert ids[5] in fetch(store)


def test_recovered_hosts_are_forgotten(store: Store) -> None:
    """The table doesn't grow by every host that ever failed."""
    ids = end_tasks(store, 6)
    open_circuit(store, ids)
    fetch(store)
    pass_time(store, 20)
    for delivery_id in [*fetch(store), *end_tasks(store, RAMP, first=100)]:
        fetch(store)
        deliver(store, claim(store, delivery_id))
    assert store.hosts.all() == []


def test_claiming_does_not_slow_down_with_held_deliveries(store: Store) -> None:
    """With 100,000 deliveries held for 1,000 hosts it is about as much work as with 1,000 for 10."""
    ids = end_tasks(store, 90, "https://fine.example.org/hook", first=100)

    def deliver_some() -> None:
        found = fetch(store, 10)
        assert len(found) == 10
        for delivery_id in found:
            deliver(store, claim(store, delivery_id))

    _hold_many(store, ids[0], range(1000), count_of_hosts=10)
    few = work(store.database.engine, deliver_some)
    _hold_many(store, ids[0], range(1000, 100_000), count_of_hosts=1000)
    assert (store.hosts.held()[0], len(store.hosts.all())) == (100_000, 1000)
    assert work(store.database.engine, deliver_some) < 4 * few


def _hold_many(store: Store, like: str, numbers: range, *, count_of_hosts: int) -> None:
    """Insert held deliveries of open hosts."""
    row = next(one for one in _rows(store) if one.delivery_id == like)._asdict()
    at = store.clock()
    row |= {"status": "pending", "next_attempt_at": at - 60, "held_since": at, "receipt": None, "worker": None}
    names = [f"https://h{number}.example.org" for number in range(count_of_hosts)]

    def insert(connection: sa.Connection) -> None:
        connection.execute(hosts.delete())
        connection.execute(
            hosts.insert(),
            [{"host": name, "open_since": at, "retry_at": at + 300, "wake_at": at + 300} for name in names],
        )
        for start in range(numbers.start, numbers.stop, 5000):
            rows = [
                {**row, "delivery_id": f"held-{number}", "origin": names[number % count_of_hosts]}
                for number in range(start, min(start + 5000, numbers.stop))
            ]
            connection.execute(deliveries.insert(), rows)

    store.database.write(insert)


def _rows(store: Store) -> list[sa.Row]:
    with store.database.read() as connection:
        return list(connection.execute(sa.select(deliveries)).all())
