"""callback_sdk.service.alerts.decisions"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest
from attrs import evolve

from callback_sdk.service.alerts.decisions import (
    FIRING,
    FLAP_INTERVAL,
    GROWTH_INTERVAL,
    REPEAT_INTERVAL,
    RESOLVE_DELAY,
    RESOLVED,
    Alert,
    Problem,
    decide,
    observe,
)

DEAD = Problem(name="dead-deliveries", kind="dead-deliveries", summary="3 deliveries are dead.", hint="Look.", size=3)
DISK = Problem(name="disk", kind="disk", summary="The disk is full.", hint="Free space.", delay=60.0)


class Log:
    """Observes and decides as the service does, and keeps what was sent."""

    def __init__(self) -> None:
        self.alerts: dict[str, Alert] = {}
        self.sent: list[tuple[float, str, str]] = []

    def at(self, now: float, *problems: Problem, unknown: Sequence[str] = ()) -> list[tuple[str, str]]:
        # As a restart between any two observations would.
        stored = orjson.loads(orjson.dumps([alert.to_dict() for alert in self.alerts.values()]))
        before = {one["problem"]["name"]: Alert.from_dict(one) for one in stored}
        self.alerts = observe(before, problems, now, unknown=unknown)
        changes = decide(self.alerts, now)
        self.alerts |= {change.alert.problem.name: change.alert for change in changes}
        found = [(change.status, change.alert.problem.name) for change in changes]
        self.sent += [(now, *one) for one in found]
        return found


def test_an_alert_fires_once_and_is_resolved_once() -> None:
    """However often it is observed, and across restarts: Alertmanager's issues 844, 964 and 1125 are the opposite."""
    log = Log()
    for tick in range(1000, 2000, 10):
        log.at(tick, DEAD)
    for tick in range(2000, 4000, 10):
        log.at(tick)
    assert log.sent == [(1000, FIRING, "dead-deliveries"), (1990 + RESOLVE_DELAY, RESOLVED, "dead-deliveries")]
    assert log.alerts == {}


def test_a_brief_problem_is_nothing_to_wake_anybody_for() -> None:
    """It has a delay, after which it must still exist; what wasn't sent is not resolved either."""
    log = Log()
    for tick in range(1000, 1050, 10):
        log.at(tick, DISK)
    for tick in range(1050, 2000, 10):
        log.at(tick)
    assert log.sent == []
    for tick in range(2000, 2070, 10):
        log.at(tick, DISK)
    assert log.sent == [(2060, FIRING, "disk")]


def test_a_problem_that_comes_and_goes_sends_few_messages() -> None:
    """Short gaps are no end. One that ended doesn't fire again at once."""
    log = Log()
    for tick in range(1000, 5000, 10):
        log.at(tick, *([DEAD] if tick % 50 else []))
    assert log.sent == [(1010, FIRING, "dead-deliveries")]
    log = Log()
    for tick in range(0, 86400, 10):
        # Two minutes there, two minutes gone, for a day.
        log.at(tick, *([DEAD] if tick // 120 % 2 else []))
    assert len(log.sent) <= 2 * 86400 / FLAP_INTERVAL
    assert log.sent[0][1] == FIRING


def test_an_alert_is_repeated_after_hours_and_when_it_doubles() -> None:
    """A larger number of dead deliveries is news, after a while."""
    log = Log()
    log.at(0, DEAD)
    assert log.at(REPEAT_INTERVAL - 10, DEAD) == []
    assert log.at(REPEAT_INTERVAL, DEAD) == [(FIRING, "dead-deliveries")]
    more = evolve(DEAD, size=500)
    assert log.at(REPEAT_INTERVAL + 10, more) == []
    assert log.at(REPEAT_INTERVAL + GROWTH_INTERVAL, more) == [(FIRING, "dead-deliveries")]
    assert log.at(REPEAT_INTERVAL + 2 * GROWTH_INTERVAL, evolve(DEAD, size=900)) == []


def test_what_can_not_be_observed_is_not_resolved() -> None:
    """While the database is away nobody knows how many deliveries are dead."""
    log = Log()
    log.at(0, DEAD)
    for tick in range(10, 1000, 10):
        assert log.at(tick, unknown=["dead-deliveries"]) == []
    assert log.at(1000, DEAD) == []


@pytest.mark.parametrize("count", [1, 40])
def test_each_problem_has_its_own_alert(count: int) -> None:
    """In the order in which they began."""
    log = Log()
    problems = [evolve(DEAD, name=f"circuit-open h{number}", kind="circuit-open") for number in range(count)]
    for number in range(count):
        log.at(number, *problems[: number + 1])
    assert [name for _, _, name in log.sent] == [problem.name for problem in problems]
