"""The event loop in which a worker process runs the coroutines of all its tasks, one task after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

from attrs import define, field

R = TypeVar("R")

_GRACE = 5.0
"""Seconds that asyncio tasks have to end after they were canceled."""


@define
class _State:
    """The state of this process.

    Attributes:
        loop: The event loop, which is created for the first coroutine.
        main: The running coroutine.
        error: The error by which it is interrupted.
        unfinished: Names of asyncio tasks that did not end.
    """

    loop: asyncio.AbstractEventLoop | None = None
    main: asyncio.Task[Any] | None = None
    error: BaseException | None = None
    unfinished: list[str] = field(factory=list)


_state = _State()


def run(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine, and then end the asyncio tasks that it has left behind.

    Unlike `asyncio.run`, all calls share one loop: clients and connection pools that a setup has created belong to the
    loop in which they were created.

    Args:
        coroutine: The coroutine.

    Returns:
        Its result.

    Raises:
        BaseException: The exception of the coroutine, or that of `interrupt`.
    """
    loop = _state.loop = _state.loop or asyncio.new_event_loop()
    before = asyncio.all_tasks(loop)
    main: asyncio.Task[R] = loop.create_task(coroutine)
    _state.main = main
    try:
        return loop.run_until_complete(main)
    except asyncio.CancelledError:
        if _state.error is not None:
            raise _state.error from None
        raise
    finally:
        _state.main = _state.error = None
        # An exception in the loop itself leaves the coroutine unfinished; it still gets to its `finally` blocks.
        _end([task for task in asyncio.all_tasks(loop) if task not in before], loop)


def interrupt(error: BaseException) -> bool:
    """Cancel the running coroutine, whose `run` then raises an error. Called by a signal handler.

    asyncio would catch an exception that a signal handler raises in a callback or in another task than the main one.

    Args:
        error: The error.

    Returns:
        False if the handler must raise the error itself: no coroutine runs, or the main one has the processor.
    """
    loop, main = _state.loop, _state.main
    if loop is None or main is None or asyncio.current_task(loop) is main:
        return False
    _state.error = error
    loop.call_soon_threadsafe(main.cancel)
    return True


def take_unfinished() -> list[str]:
    """Return the names of asyncio tasks that did not end when they were canceled, once."""
    names, _state.unfinished = _state.unfinished, []
    return names


def _end(tasks: Collection[asyncio.Task[Any]], loop: asyncio.AbstractEventLoop) -> None:
    if not tasks:
        return
    for task in tasks:
        task.cancel()
    ended, left = loop.run_until_complete(asyncio.wait(tasks, timeout=_GRACE))
    for task in ended:
        # Retrieved, or asyncio would log the exception during a later run.
        if not task.cancelled():
            task.exception()
    _state.unfinished += [task.get_name() for task in left]
