"""Threads that hosts share: those that don't respond leave room for the others."""

from __future__ import annotations

import pytest

from callback_sdk.concurrency import host_slots
from callback_sdk.concurrency.host_slots import PER_HOST, HostSlots


class Clock:
    """A clock that a test puts forward."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the time."""
    clock = Clock()
    monkeypatch.setattr(host_slots, "time", clock)
    return clock


def fill(slots: HostSlots, host: str) -> int:
    """Begin as many attempts at a host as it gets."""
    count = 0
    while slots.free and host not in slots.full():
        slots.begin(f"{host}-{len(slots)}", host)
        count += 1
    return count


def test_one_host_gets_its_share(clock: Clock) -> None:
    """Half of the threads, and never more than a fixed number."""
    assert fill(HostSlots(16), "a") == 8
    assert fill(HostSlots(100), "a") == PER_HOST


def test_each_further_host_gets_slots(clock: Clock) -> None:
    """No host takes more slots than it leaves free."""
    slots = HostSlots(16)
    assert [fill(slots, host) for host in "abcde"] == [8, 4, 2, 1, 1]
    assert slots.free == 0


def test_hosts_without_a_response_are_counted_apart(clock: Clock) -> None:
    """After two seconds they hold none of the others' threads, and get no further attempt."""
    slots = HostSlots(16)
    for host in "abcde":
        fill(slots, host)
    clock.now += host_slots.SLOW + 1
    assert slots.free == 16
    assert fill(slots, "good") == 8
    assert fill(slots, "a") == 0


def test_threads_have_an_end_however_many_hosts_are_silent(clock: Clock) -> None:
    """Then everybody waits for a timeout."""
    slots = HostSlots(16)
    for number in range(1000):
        fill(slots, f"host{number}")
        clock.now += host_slots.SLOW + 1
    assert len(slots) == 48
    assert slots.free == 0


def test_host_that_was_silent_gets_one_attempt_at_a_time_until_it_responds(clock: Clock) -> None:
    """So a thousand deliveries to it take one thread, until the host responds again."""
    slots = HostSlots(16)
    slots.begin("1", "a")
    slots.end("1", responded=False)
    assert fill(slots, "a") == 1
    slots.end("a-0", responded=None)
    assert fill(slots, "a") == 1
    slots.end("a-0", responded=True)
    assert fill(slots, "a") == 8


def test_many_silent_hosts_leave_half_of_the_threads_to_the_others(clock: Clock) -> None:
    """Those that are known to be silent share a fixed number."""
    slots = HostSlots(16)
    for number in range(100):
        slots.begin(str(number), f"silent{number}")
        slots.end(str(number), responded=False)
    assert sum(fill(slots, f"silent{number}") for number in range(100)) == 16
    assert fill(slots, "good") == 8


def test_silent_hosts_are_evicted(clock: Clock) -> None:
    """Untrusted users can't fill the memory with host names."""
    slots = HostSlots(16)
    for number in range(2000):
        slots.begin("1", f"host{number}")
        slots.end("1", responded=False)
    for number in range(16):
        slots.begin(str(number), f"host{number + 1900}")
    assert len(slots.full()) == host_slots._REMEMBERED
    assert fill(slots, "host0") > 1


def test_attempt_that_is_unknown_ends_without_harm(clock: Clock) -> None:
    """It may have been given back already."""
    slots = HostSlots(16)
    slots.end("1", responded=True)
    assert (len(slots), "1" in slots, slots.free_any_host) == (0, False, 8)
