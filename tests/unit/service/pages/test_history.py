"""callback_sdk.service.pages.history"""

from __future__ import annotations

import math
import random

import pytest

from callback_sdk.service.pages.history import History, history
from callback_sdk.service.store.stats import TaskAges
from tests.growth import assert_linear


def drawn(*found: TaskAges, known_from: float = math.inf) -> History:
    return history(found, bucket_seconds=60.0, count=4, known_from=known_from)


def test_a_waiting_task_ages() -> None:
    """At the end of each minute since it was accepted; before that the queue was empty."""
    assert drawn(TaskAges(130.0, None, None)) == History([0, 10.0, 70.0, 130.0], [0, 0, 0, 0])


def test_a_task_waits_until_it_starts_and_is_busy_until_it_ends() -> None:
    """A span that begins and ends within one minute is at no minute's end."""
    assert drawn(TaskAges(200.0, 100.0, 30.0)) == History([20.0, 80.0, 0, 0], [0, 0, 1, 0])
    assert drawn(TaskAges(50.0, 40.0, 10.0)) == History([0, 0, 0, 0], [0, 0, 0, 0])
    assert drawn(TaskAges(50.0, 40.0, None)) == History([0, 0, 0, 0], [0, 0, 0, 1])


def test_the_oldest_task_counts() -> None:
    """Whatever the order."""
    tasks = [TaskAges(70.0, None, None), TaskAges(190.0, 110.0, 90.0), TaskAges(100.0, 30.0, None)]
    for order in (tasks, tasks[::-1]):
        assert drawn(*order) == History([10.0, 70.0, 40.0, 70.0], [0, 0, 0, 1])


def test_a_clock_that_was_set_back_does_no_harm() -> None:
    """Times in the future are now."""
    assert drawn(TaskAges(-5.0, -4.0, -3.0)) == History([0, 0, 0, 0], [0, 0, 0, 0])
    assert drawn(TaskAges(10.0, -4.0, None)) == History([0, 0, 0, 10.0], [0, 0, 0, 0])


def test_what_was_not_read_is_unknown() -> None:
    """Not an empty queue."""
    assert drawn(TaskAges(50.0, None, None), known_from=130.0) == History([None, 0, 0, 50.0], [None, 0, 0, 0])


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_what_the_definition_says(seed: int) -> None:
    """For random tasks."""
    generator = random.Random(seed)
    tasks = []
    for _ in range(50):
        created = generator.uniform(0, 4000)
        started = generator.choice([None, generator.uniform(0, created)])
        finished = None if started is None else generator.choice([None, generator.uniform(0, started)])
        tasks.append(TaskAges(created, started, finished))
    found = history(tasks, bucket_seconds=60.0, count=60, known_from=math.inf)
    for number, (oldest, busy) in enumerate(zip(reversed(found.oldest), reversed(found.busy), strict=True)):
        at = number * 60.0
        waiting = [one.created - at for one in tasks if one.created >= at and (one.started is None or one.started < at)]
        running = [one for one in tasks if one.started is not None and one.started >= at]
        assert oldest == pytest.approx(max(waiting, default=0))
        assert busy == sum(one.finished is None or one.finished < at for one in running)


def test_the_time_is_linear() -> None:
    """In the number of tasks."""
    small, large = ([TaskAges(3600.0 * n / size, None, None) for n in range(size)] for size in (200, 3200))
    assert_linear(
        lambda tasks: history(tasks, bucket_seconds=60.0, count=60, known_from=math.inf), small, large, ratio=16
    )
