"""Event loops for tests: those of the standard library and of uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def execute(main: Coroutine[Any, Any, T], loop: str = "asyncio") -> T:
    """Run a coroutine in a new loop, as `asyncio.run` does, whose argument for the loop is newer than Python 3.10."""
    made = LOOPS[loop]()
    errors: list[dict[str, Any]] = []
    made.set_exception_handler(lambda _, context: errors.append(context))
    try:
        result = made.run_until_complete(main)
        assert [task for task in asyncio.all_tasks(made) if not task.done()] == []
        made.run_until_complete(made.shutdown_default_executor())
    finally:
        made.close()
    assert errors == []
    return result


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test's own timeout ends a wait in vain."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("The condition never held.")
