"""How the time of a computation grows with its input: no clock time is asserted, only a ratio of two sizes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SHORTEST = 0.003
"""Seconds that are measured at least: a shorter computation is repeated."""

FACTOR = 4
"""How much faster than its input the time may grow; quadratic work is further off at the sizes of the tests."""


def assert_linear(work: Callable[[Any], object], small: Any, large: Any, *, ratio: float) -> None:
    """Make sure that time grows no faster than the input, by the CPU time of this thread.

    Args:
        work: What is measured.
        small: Its smaller input.
        large: The larger one.
        ratio: How many times larger it is, 16 at least.
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
