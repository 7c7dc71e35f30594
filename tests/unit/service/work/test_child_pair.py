"""callback_sdk.service.work.child_pair"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from callback_sdk.service.work.child_pair import ChildPair
from callback_sdk.service.work.outcome import SHUTDOWN, StopSignal
from callback_sdk.service.work.process import ChildProcess, SetupError
from tests.topology import wait_until
from tests.unit.service.work.test_startup import JOBS, folder, loaded, run

__all__ = ["folder"]

Pairs = Callable[..., ChildPair]


@pytest.fixture
def pairs(folder: Path) -> Iterator[Pairs]:
    """Return a function that creates a pair, which is closed at the end."""
    # Servers that other tests share.
    before = psutil.Process().children()
    created = []

    def create(*, has_room: bool = True, **options: Any) -> ChildPair:
        pair = ChildPair(partial(ChildProcess, JOBS, algorithms=["shared"], **options), may_start=lambda _: has_room)
        created.append(pair)
        return pair

    yield create
    for pair in created:
        pair.close()
    new = [child for child in psutil.Process().children() if child not in before]
    assert not [child for child in new if "callback_sdk" in " ".join(child.cmdline())]


def setups(folder: Path) -> int:
    return loaded(folder).count("set up")


def test_a_replacement_is_prepared_during_the_last_run(pairs: Pairs, folder: Path) -> None:
    """Each run waits here for the setup of the process that follows it."""
    pair = pairs(max_runs=1)
    used = [run(pair, folder, "shared", setups=number + 2)[3] for number in range(3)]
    assert len(set(used)) == 3
    wait_until(lambda: pair.is_prepared)
    assert setups(folder) == 4


def test_a_process_without_an_end_has_no_replacement(pairs: Pairs, folder: Path) -> None:
    """Nor does one that has runs left."""
    pair = pairs(max_runs=3)
    run(pair, folder, "shared")
    run(pair, folder, "shared")
    assert pair.is_prepared
    assert setups(folder) == 1


def test_a_replacement_needs_memory(pairs: Pairs, folder: Path) -> None:
    """Without it, the process is replaced after its end."""
    pair = pairs(max_runs=1, has_room=False)
    run(pair, folder, "shared")
    assert not pair.is_prepared
    assert setups(folder) == 1
    assert pair.prepare(StopSignal())
    assert setups(folder) == 2


def test_an_algorithm_that_leaves_something_has_a_replacement_the_next_time(pairs: Pairs, folder: Path) -> None:
    """It is expected to do so again."""
    pair = pairs()
    run(pair, folder, "shared", leave=True)
    assert setups(folder) == 1
    run(pair, folder, "shared", leave=True, setups=3)
    wait_until(lambda: pair.is_prepared)
    assert setups(folder) == 3


def test_a_process_that_has_grown_has_a_replacement(pairs: Pairs, folder: Path) -> None:
    """When it retains more than half of what it may."""
    pair = pairs(max_retained_bytes=200_000_000)
    run(pair, folder, "shared", keep=150_000_000)
    assert pair.is_prepared
    run(pair, folder, "shared", keep=400_000_000, setups=2)
    wait_until(lambda: pair.is_prepared)
    assert setups(folder) == 2
    assert run(pair, folder, "shared")[0] == 3


def test_a_replacement_that_fails_is_prepared_again(pairs: Pairs, folder: Path) -> None:
    """Then the error is raised."""
    pair = pairs(max_runs=1)
    assert pair.prepare(StopSignal())
    (folder / "fail").touch()
    run(pair, folder, "shared", setups=2)
    with pytest.raises(SetupError):
        pair.prepare(StopSignal())
    (folder / "fail").unlink()
    assert pair.prepare(StopSignal())


def test_the_preparation_of_a_replacement_is_stopped(pairs: Pairs, folder: Path) -> None:
    """A shutdown waits for no setup."""
    pair, stop = pairs(max_runs=1), StopSignal()
    assert pair.prepare(stop)
    (folder / "hang").touch()
    run(pair, folder, "shared", setups=2)
    stop.request(SHUTDOWN)
    assert not pair.prepare(stop)
