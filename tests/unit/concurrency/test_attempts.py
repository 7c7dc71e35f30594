"""callback_sdk.concurrency.attempts"""

from __future__ import annotations

import threading

from callback_sdk.concurrency.attempts import RunningAttempts
from callback_sdk.concurrency.host_slots import PER_HOST


def test_attempt_begins_unless_it_runs_or_its_host_is_full() -> None:
    """And again once one has ended."""
    attempts: RunningAttempts[str] = RunningAttempts(16)
    assert attempts.try_begin("0", "a")
    assert not attempts.try_begin("0", "b")
    begun = [number for number in range(1, 16) if attempts.try_begin(str(number), "a")]
    assert len(begun) == PER_HOST - 1
    assert attempts.full_hosts() == ["a"]
    assert (attempts.free_slots_any_host, attempts.free_slots) == (0, 8)
    attempts.end("0", responded=True)
    assert attempts.try_begin("0", "a")
    assert len(attempts) == PER_HOST


def test_closed_lets_no_attempt_begin() -> None:
    """Not even to hosts that are free."""
    attempts: RunningAttempts[str] = RunningAttempts(4)
    attempts.close(0.0)
    assert not attempts.try_begin("1", "a")
    assert (attempts.free_slots_any_host, attempts.free_slots) == (0, 0)


def test_claim_is_held_until_its_attempt_ends() -> None:
    """The end of an attempt under a lost claim doesn't release the new claim."""
    attempts: RunningAttempts[str] = RunningAttempts(4)
    attempts.begin("1", "a", "second")
    attempts.end("1", "first")
    assert attempts.claims() == {"1": "second"}
    assert (len(attempts), attempts.ended) == (1, 1)
    assert not attempts.wait_without_claims(0.0)
    attempts.end("1", "second")
    assert attempts.claims() == {}
    assert (len(attempts), attempts.ended) == (0, 2)
    assert attempts.wait_without_claims(0.0)


def test_the_end_of_an_attempt_notifies_waiting_threads() -> None:
    """The end of the last attempt also notifies threads that wait for all attempts."""
    attempts: RunningAttempts[str] = RunningAttempts(4)
    attempts.begin("1", "a", "claim")
    thread = threading.Timer(0.05, attempts.end, ("1", "claim"))
    thread.start()
    assert attempts.wait_for(lambda: attempts.ended > 0, 30.0)
    assert attempts.wait_without_claims(30.0)
    thread.join()
