"""callback_sdk.client.wait_plan"""

from __future__ import annotations

import pytest

from callback_sdk.client.wait_plan import Poll, ReadEvents, Streams, WaitPlan
from callback_sdk.errors import ServiceConnectionError, ServiceError

HOUR = 3600.0


def test_a_service_that_waits_is_asked_twice_a_minute() -> None:
    """The next request follows at once, so that no time is left in which the end would go unnoticed."""
    plan, now, requests = WaitPlan(HOUR), 0.0, 0
    step = plan.begin(now)
    while isinstance(step, Poll) and now < 600:
        assert (step.pause, step.wait) == (0.0, 30.0)
        now, requests = now + step.wait, requests + 1
        step = plan.after_response(now)
    assert requests == 20


def test_an_old_service_is_polled() -> None:
    """It answers at once, so the pauses grow up to the maximum."""
    plan, now = WaitPlan(HOUR, max_interval=2.0), 0.0
    step, pauses = plan.begin(now), []
    for _ in range(20):
        now += step.pause + 0.01
        step = plan.after_response(now)
        pauses.append(step.pause)
    assert pauses[:3] == pytest.approx([0.1, 0.15, 0.225])
    assert pauses[-1] == 2.0


def test_a_service_that_waits_again_ends_the_polling() -> None:
    """For example because others have stopped to wait."""
    plan = WaitPlan(HOUR)
    step = plan.begin(0.0)
    for _ in range(10):
        step = plan.after_response(10.0)
    assert step.pause == 2.0
    step = plan.after_response(10.0 + step.pause + step.wait)
    assert (step.pause, step.wait) == (0.0, 30.0)


@pytest.mark.parametrize(
    "error", [ServiceConnectionError("reset"), ServiceError("timeout", status=504), ServiceError("cut", status=524)]
)
def test_a_proxy_that_cuts_long_responses_gets_shorter_ones(error: ServiceError) -> None:
    """Of half the time after which it has cut the last one."""
    plan = WaitPlan(HOUR)
    plan.begin(0.0)
    step = plan.after_error(10.0, error)
    assert step.wait == 5.0
    assert step.pause <= 0.1


def test_an_outage_does_not_shorten_the_waits() -> None:
    """A connection that is refused at once says nothing about proxies."""
    plan = WaitPlan(HOUR)
    plan.begin(0.0)
    step = plan.after_error(0.1, ServiceConnectionError("refused"))
    assert step.wait == 30.0
    busy = plan.after_error(20.0, ServiceError("busy", status=503, retry_after=7.0))
    assert (busy.wait, busy.pause) == (30.0, 7.0)


def test_a_stream_follows_the_first_long_poll() -> None:
    """Tasks that end soon take one request, and those that take long one in ten minutes."""
    plan = WaitPlan(HOUR, streams=Streams.LATER)
    first = plan.begin(0.0)
    assert isinstance(first, Poll)
    second = plan.after_response(30.0)
    assert isinstance(second, ReadEvents)
    third = plan.after_events(600.0, heard=True, ended=False)
    assert isinstance(third, ReadEvents)
    fetch = plan.after_events(700.0, heard=True, ended=True)
    assert isinstance(fetch, Poll)
    assert (fetch.wait, fetch.pause) == (0.0, 0.0)
    # An event was wrong: no other one is trusted.
    assert isinstance(plan.after_response(700.1), Poll)


def test_streams_that_fail_are_given_up() -> None:
    """A proxy may hold events back, or cut each stream: the task is polled."""
    plan, now = WaitPlan(HOUR, streams=Streams.AT_ONCE), 0.0
    step, streams = plan.begin(now), 0
    for number in range(40):
        if isinstance(step, ReadEvents):
            streams, now = streams + 1, now + 1.0
            step = plan.after_events(now, heard=number % 2 == 0, ended=False)
            assert isinstance(step, Poll)
        else:
            now += step.wait
            step = plan.after_response(now)
    assert streams == 3


@pytest.mark.parametrize("streams", Streams)
def test_a_wait_ends_on_time(streams: Streams) -> None:
    """Every request ends by the deadline, and the last one is a poll with time for its answer."""
    plan, now = WaitPlan(100.0, streams=streams), 0.0
    step, steps = plan.begin(now), []
    while step is not None:
        steps.append((now, step))
        assert step.deadline <= 100.0
        assert now + step.pause < 100.0
        if isinstance(step, Poll):
            assert not step.wait or now + step.pause + step.wait <= 99.5
            now += step.pause + step.wait + 0.01
            step = plan.after_response(now)
        else:
            now = step.deadline
            step = plan.after_events(now, heard=True, ended=False)
    assert isinstance(steps[-1][1], Poll)
    assert steps[-1][0] > 99.0
    assert len(steps) < 12


def test_a_short_wait_asks_for_an_answer_at_once() -> None:
    """Its first request has the time to be answered."""
    step = WaitPlan(0.001, streams=Streams.AT_ONCE).begin(0.0)
    assert isinstance(step, Poll)
    assert (step.wait, step.deadline) == (0.0, 0.5)
