"""callback_sdk.service.work.random_state"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from callback_sdk.service.work.random_state import RandomState


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    """Restore the generators of the tests' process."""
    python, numpy = random.getstate(), np.random.get_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)


def draw() -> tuple[float, float]:
    return random.random(), float(np.random.rand())


def after_import(module: Callable[[], object]) -> RandomState:
    """Return the state after the import of a module."""
    state = RandomState()
    module()
    state.complete()
    return state


def test_a_seed_of_a_module_applies_to_each_run() -> None:
    """As in a script, which begins with its imports."""

    def module() -> None:
        random.seed(1)
        np.random.seed(2)
        draw()

    state = after_import(module)
    first = draw()
    for seed in (3, None):
        random.seed(seed)
        np.random.seed(seed)
        state.reset()
        assert draw() == first


RUNS = """
import random, sys
from callback_sdk.service.work.random_state import RandomState
state = RandomState()
import numpy as np
drawn = int(sys.argv[1])
for _ in range(drawn):
    random.random()
np.random.rand(drawn)
state.complete()
for seed in (1, 1, None, None):
    state.reset()
    print(random.random(), np.random.rand())
    if seed is not None:
        random.seed(seed)
        np.random.seed(seed)
random.seed(1)
np.random.seed(1)
print(random.random(), np.random.rand())
"""


@pytest.mark.parametrize("drawn", [0, 10, 100_000])
def test_without_one_each_run_draws_other_numbers(drawn: int) -> None:
    """Also if modules have drawn numbers; a seed of one run doesn't reach the next."""
    command = [sys.executable, "-c", RUNS, str(drawn)]
    numbers = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()
    assert len(set(numbers)) == len(numbers) == 10


def test_a_run_that_draws_nothing_keeps_the_state() -> None:
    """A new seed takes longer than all else between two runs."""
    state = after_import(lambda: None)
    state.reset()
    before = random.getstate(), np.random.get_state()[1].tolist()
    state.reset()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
