"""Checks the growth of the CPU time of a computation with its input, by the ratio of the times of two sizes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SHORTEST = 0.003
"""Minimum measured seconds; a shorter computation is repeated."""

FACTOR = 4
"""Maximum growth of the time relative to that of the input. Quadratic work exceeds it at the sizes of the tests."""


def assert_linear(work: Callable[[Any], object], small: Any, large: Any, *, ratio: float) -> None:
    """Assert that the CPU time of this thread grows linearly with the input.

    Args:
        work: The function to measure.
        small: The smaller input.
        large: The larger input.
        ratio: Ratio of the sizes, at least 16.
    """
    assert ratio >= 16
    grown = _seconds(work, large) / _seconds(work, small)
    assert grown < FACTOR * ratio, f"{grown:.0f} times the time for {ratio:.0f} times the input"


def _seconds(work: Callable[[Any], object], value: Any) -> float:
    work(value)
    return min(_repeated(work, value) for _ in range(3))


def _repeated(work: Callable[[Any], object], value: Any) -> float:
    started, count = time.thread_time(), 0
    while (spent := time.thread_time() - started) < SHORTEST:
        work(value)
        count += 1
    return spent / count
