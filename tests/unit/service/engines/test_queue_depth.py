"""callback_sdk.service.engines.queue_depth"""

from __future__ import annotations

import pytest

from callback_sdk.service.engines.queue_depth import MAX_TASKS, MIN_TASKS, REMEMBERED, QueueDepth


@pytest.mark.parametrize(
    ("durations", "tasks"),
    [
        ([], MIN_TASKS),
        ([0.001] * (REMEMBERED - 1), MIN_TASKS),
        ([0.001] * REMEMBERED, MAX_TASKS),
        ([0.0] * REMEMBERED, MAX_TASKS),
        ([0.0625] * REMEMBERED, 8),
        ([0.25] * REMEMBERED, MIN_TASKS),
        ([3600.0] * REMEMBERED, MIN_TASKS),
    ],
)
def test_only_short_runs_make_the_queue_long(durations: list[float], tasks: int) -> None:
    """As many as take half a second together, within the limits, when the duration is known."""
    depth = QueueDepth()
    for seconds in durations:
        depth.record(seconds)
    assert depth.tasks == tasks


def test_a_single_long_run_makes_the_queue_short() -> None:
    """Until it is forgotten, because the next tasks may be as long."""
    depth = QueueDepth()
    for seconds in (*[0.001] * REMEMBERED, 5.0, *[0.001] * (REMEMBERED - 1)):
        depth.record(seconds)
    assert depth.tasks == MIN_TASKS
    depth.record(0.001)
    assert depth.tasks == MAX_TASKS
