"""Completion of return values: coroutines are run, and the rows of generators are collected."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

from callback_sdk.errors import AlgorithmError
from callback_sdk.models import Progress
from callback_sdk.service.algorithms import event_loop

Report = Callable[[Progress], None]


def complete(value: Any, report: Report) -> Any:
    """Return the value of a function that may be asynchronous or a generator.

    A generator's value is the list of what it yields, without its progress; if it yields nothing else, the value that
    it returns, unless that is None.

    Args:
        value: What the function returned: a value, an awaitable, a generator or an asynchronous generator.
        report: Called with each `Progress` that a generator yields.

    Raises:
        AlgorithmError: A generator yields rows and returns a value too.
    """
    if inspect.isgenerator(value):
        return _collect(value, report)
    if isinstance(value, AsyncIterator):
        return event_loop.run(_collect_async(value, report))
    if inspect.isawaitable(value):
        return event_loop.run(_await_value(value, report))
    return value


async def _await_value(value: Awaitable[Any], report: Report) -> Any:
    found = await value
    if isinstance(found, AsyncIterator):
        return await _collect_async(found, report)
    return _collect(found, report) if inspect.isgenerator(found) else found


def _collect(generator: Generator[Any, Any, Any], report: Report) -> Any:
    rows: list[Any] = []
    while True:
        try:
            item = next(generator)
        except StopIteration as end:
            return _value(rows, end.value)
        _take(item, rows, report)


async def _collect_async(items: AsyncIterator[Any], report: Report) -> list[Any]:
    rows: list[Any] = []
    async for item in items:
        _take(item, rows, report)
    return rows


def _take(item: Any, rows: list[Any], report: Report) -> None:
    if isinstance(item, Progress):
        report(item)
    else:
        rows.append(item)


def _value(rows: list[Any], returned: Any) -> Any:
    if returned is None:
        return rows
    if rows:
        raise AlgorithmError(
            "The algorithm yields rows and returns a value too, so one of them would be lost.",
            hint="Yield all of the results, or return them and yield nothing but Progress.",
        )
    return returned
