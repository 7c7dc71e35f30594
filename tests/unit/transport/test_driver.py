"""callback_sdk.transport.driver"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callback_sdk.transport.asyncio_driver import ASYNCIO
from callback_sdk.transport.driver import BLOCKING, run
from callback_sdk.transport.multiplexing import MULTIPLEXING, multiplexed
from tests.eventloops import execute


def drivers() -> list[Any]:
    return [
        pytest.param((BLOCKING, run), id="blocking"),
        pytest.param((MULTIPLEXING, multiplexed), id="multiplexing"),
        pytest.param((ASYNCIO, execute), id="asyncio"),
    ]


@pytest.mark.parametrize("driver", drivers())
def test_rounds_have_the_order_of_the_items(driver: Any) -> None:
    """With each driver, for any number of items."""
    made, go = driver

    async def double(number: int) -> int:
        await made.sleep(0.001 * (number % 3))
        return 2 * number

    for size in (0, 1, 7):
        assert go(made.rounds(3).map(double, range(size))) == [2 * number for number in range(size)]


@pytest.mark.parametrize("driver", drivers())
def test_all_calls_of_a_round_are_made_before_an_error_is_raised(driver: Any) -> None:
    """The first error, in the order of the items."""
    made, go = driver
    called = []

    async def call(number: int) -> None:
        called.append(number)
        await made.sleep(0)
        if number in (1, 2):
            raise ValueError(number)

    with pytest.raises(ValueError, match="1"):
        go(made.rounds(2).map(call, range(5)))
    assert sorted(called) == list(range(5))


@pytest.mark.parametrize("driver", drivers())
def test_one_call_holds_a_lock(driver: Any) -> None:
    """The others wait for it."""
    made, go = driver
    lock, inside, most = made.lock(), [0], [0]

    async def work() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        await made.sleep(0.001)
        inside[0] -= 1

    async def call(number: int) -> None:
        await made.exclusively(lock, work)

    go(made.rounds(4).map(call, range(8)))
    assert most == [1]


@pytest.mark.parametrize("go", [run, multiplexed])
def test_a_coroutine_of_asyncio_is_not_run_without_a_loop(go: Any) -> None:
    """The mistake is named."""
    with pytest.raises(RuntimeError, match="event loop"):
        go(asyncio.sleep(0))
