"""callback_sdk.service.engines.stalls"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest

from callback_sdk.service.dispatcher import _MAX_SLEEP, AGAIN_AFTER
from callback_sdk.service.engines.stalls import STALL_TIMEOUT, MessageCounter, StallDetector, StallWatch
from callback_sdk.service.store import StoreUnavailableError
from tests.topology import wait_until

A, B = "a", "b"


def check(detector: StallDetector, moment: float, **changes: object) -> Sequence[str]:
    seen = {"free": True, "received": (), "dispatched": [A]} | changes
    return detector.check(moment, **seen)


def test_a_free_consumer_that_gets_nothing_has_stalled() -> None:
    """When something was there for it for the whole timeout."""
    detector = StallDetector(10.0)
    assert [check(detector, moment) for moment in (100, 103, 106, 109)] == [[], [], [], []]
    assert check(detector, 110) == [A]


@pytest.mark.parametrize("change", [{"received": {A}}, {"dispatched": []}])
def test_a_message_resets_the_measurement(change: dict[str, object]) -> None:
    """So does an empty queue."""
    detector = StallDetector(4.0)
    assert check(detector, 0) == check(detector, 3) == check(detector, 5, **change) == check(detector, 7) == []
    assert check(detector, 9) == []
    assert check(detector, 11) == [A]


def test_time_in_which_the_process_is_busy_does_not_count() -> None:
    """A busy process consumes nothing; idle times before and after are added up."""
    detector = StallDetector(4.0)
    assert check(detector, 0) == check(detector, 3) == []
    for moment in range(4, 100, 3):
        assert check(detector, moment, free=False, dispatched=[]) == []
    assert check(detector, 100) == [A]


def test_one_queue_that_works_does_not_hide_another() -> None:
    """A broker can cancel one subscription of several."""
    detector = StallDetector(4.0)
    for moment in (0, 3):
        assert check(detector, moment, received={A}, dispatched=[A, B]) == []
    assert check(detector, 6, received={A}, dispatched=[A, B]) == [B]


def test_a_suspended_machine_is_not_a_stall() -> None:
    """No message could arrive during the suspend."""
    detector = StallDetector(30.0)
    assert check(detector, 0) == check(detector, 3600) == []


def test_a_lost_id_is_dispatched_again_before_the_timeout() -> None:
    """So a lost id isn't taken for a stall."""
    assert STALL_TIMEOUT.total_seconds() > AGAIN_AFTER + _MAX_SLEEP


def test_messages_are_counted_by_queue() -> None:
    """Messages since the last check, and whether a slot is free."""
    messages = MessageCounter(2)
    with messages.handle(A), messages.handle(B):
        assert messages.check() == (False, {A, B})
        assert not messages.idle
    assert messages.check() == (True, set())
    assert messages.idle


def test_an_outage_of_the_database_is_not_a_stall() -> None:
    """During the outage the dispatched ids are unknown. The outage itself is reported."""
    away, problems, stalled = threading.Event(), [], threading.Event()
    away.set()

    def dispatched(since: float) -> list[str]:
        assert since == 42.0
        if away.is_set():
            raise StoreUnavailableError("The database is away.")
        return [A]

    watch = StallWatch(
        MessageCounter(1),
        dispatched=dispatched,
        since=42.0,
        timeout=timedelta(seconds=0.05),
        on_stall=lambda queues: stalled.set(),
        on_check=problems.append,
    )
    watch.start()
    wait_until(lambda: len(problems) > 20)
    assert set(problems) == {"The database is away."}
    assert not stalled.is_set()
    away.clear()
    assert stalled.wait(60)
    assert problems[-1] is None
    watch.check()
    watch.close()
