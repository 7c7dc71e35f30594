"""callback_sdk.service.algorithms.completion and event_loop"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from callback_sdk.errors import AlgorithmError
from callback_sdk.service import Progress
from callback_sdk.service.algorithms import event_loop
from callback_sdk.service.algorithms.completion import complete


def completed(value: Any) -> tuple[Any, list[Progress]]:
    """Return the completed value, and the reported progress."""
    reports: list[Progress] = []
    return complete(value, reports.append), reports


def test_plain_values_are_complete() -> None:
    """Also lists, iterators and classes of other libraries."""
    for value in ([1], iter([1]), None, "text"):
        assert complete(value, lambda _: None) is value


def test_coroutines_are_awaited() -> None:
    """And what they return is completed too."""

    async def rows() -> AsyncIterator[Any]:
        yield Progress(0.5)
        await asyncio.sleep(0)
        yield 1

    async def nested() -> Any:
        await asyncio.sleep(0)
        return rows()

    async def plain() -> int:
        return 7

    assert completed(plain()) == (7, [])
    assert completed(rows()) == completed(nested()) == ([1], [Progress(0.5)])


def test_generators() -> None:
    """Rows, or the returned value; both would lose one of them."""

    def rows(values: list[Any], end: Any = None) -> Iterator[Any]:
        yield from values
        return end

    assert completed(rows([1, Progress(1.0, "done"), 2])) == ([1, 2], [Progress(1.0, "done")])
    assert completed(rows([Progress(0.5)], {"a": 1})) == ({"a": 1}, [Progress(0.5)])
    assert completed(rows([])) == ([], [])
    with pytest.raises(AlgorithmError, match="yields rows and returns a value"):
        complete(rows([1], 2), lambda _: None)


def test_all_runs_share_one_loop() -> None:
    """So a client that a setup has created still works in the runs."""

    async def make() -> asyncio.Queue[int]:
        queue: asyncio.Queue[int] = asyncio.Queue()
        asyncio.get_running_loop().call_soon(queue.put_nowait, 3)
        return queue

    queue = complete(make(), lambda _: None)
    assert complete(queue.get(), lambda _: None) == 3


def test_tasks_of_a_run_end_with_it() -> None:
    """They are canceled, and don't go on in the next run."""
    steps: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            steps.append("canceled")

    async def main() -> str:
        steps.append("started")
        kept.append(asyncio.create_task(background()))
        await asyncio.sleep(0)
        return "value"

    kept: list[Any] = []
    assert complete(main(), lambda _: None) == "value"
    assert steps == ["started", "canceled"]
    assert event_loop.take_unfinished() == []


def test_tasks_that_refuse_to_end_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their process is replaced."""
    monkeypatch.setattr(event_loop, "_GRACE", 0.0)
    ended = asyncio.Event()

    async def stubborn() -> None:
        while not ended.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await ended.wait()

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(stubborn(), name="stubborn")
        await asyncio.sleep(0)
        return task

    task = complete(main(), lambda _: None)
    assert event_loop.take_unfinished() == ["stubborn"]
    assert event_loop.take_unfinished() == []
    ended.set()

    async def wait() -> None:
        await task

    complete(wait(), lambda _: None)


class StopError(BaseException):
    """The exception of a signal handler."""


@pytest.fixture
def stop_signal() -> Iterator[None]:
    """Handle SIGUSR1 as a worker handles the end of a run."""

    def stop(*_: Any) -> None:
        error = StopError()
        if not event_loop.interrupt(error):
            raise error

    before = signal.signal(signal.SIGUSR1, stop)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("place", ["main", "callback", "another task", "another thread"])
def test_a_signal_ends_the_coroutine(place: str, stop_signal: None) -> None:
    """Wherever the loop is at that moment; the coroutine's `finally` blocks run."""
    steps: list[str] = []

    async def other() -> None:
        signal.raise_signal(signal.SIGUSR1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        try:
            steps.append("started")
            if place == "main":
                signal.raise_signal(signal.SIGUSR1)
            elif place == "callback":
                loop.call_soon(signal.raise_signal, signal.SIGUSR1)
            elif place == "another task":
                steps.append(asyncio.create_task(other()).get_name())
            else:
                threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
            await asyncio.sleep(3600)
        finally:
            steps.append("cleaned up")

    with pytest.raises(StopError):
        complete(main(), lambda _: None)
    assert (steps[0], steps[-1]) == ("started", "cleaned up")
    assert complete(asyncio.sleep(0, "next"), lambda _: None) == "next"
