"""callback_sdk.transport.asyncio_driver"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from callback_sdk.transport import asyncio_driver
from callback_sdk.transport.asyncio_driver import ASYNCIO, AsyncioDriver
from callback_sdk.transport.call_threads import SMALL
from callback_sdk.transport.polling import READ, WRITE
from tests.eventloops import LOOPS, execute, until

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Run:
    """Run coroutines in each kind of loop."""
    return lambda main: execute(main, request.param)


def test_a_socket_is_ready_when_data_came_or_can_be_sent(loop: Run) -> None:
    """The events are those that were asked for."""

    async def main() -> None:
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            assert await ASYNCIO.ready([one], READ | WRITE, 60) == {one: WRITE}
            assert await ASYNCIO.ready([one], READ, 0.01) == {}
            other.sendall(b"x")
            assert await ASYNCIO.ready([one], READ, 60) == {one: READ}
            other.close()
            assert await ASYNCIO.ready([one], READ, 60) == {one: READ}

    loop(main())


def test_several_sockets_are_waited_for(loop: Run) -> None:
    """The first one ends the wait."""

    async def main() -> None:
        pairs = [socket.socketpair() for _ in range(3)]
        ends = [one for one, _ in pairs]
        waiting = asyncio.ensure_future(ASYNCIO.ready(ends, READ, 60))
        await asyncio.sleep(0)
        pairs[1][1].sendall(b"x")
        assert await waiting == {ends[1]: READ}
        for pair in pairs:
            for end in pair:
                end.close()

    loop(main())


def test_a_canceled_wait_leaves_no_watcher(loop: Run) -> None:
    """The descriptor of a closed socket is soon that of another one, for which the loop would wake the wrong task."""

    async def main() -> None:
        for _ in range(50):
            one, other = socket.socketpair()
            waiting = asyncio.ensure_future(ASYNCIO.ready([one], READ | WRITE, 60))
            reading = asyncio.ensure_future(ASYNCIO.ready([other], READ, 60))
            await asyncio.sleep(0)
            waiting.cancel()
            reading.cancel()
            await asyncio.wait([waiting, reading])
            assert waiting.cancelled() or waiting.result() == {one: WRITE}
            assert reading.cancelled()
            one.close()
            other.close()

    loop(main())


def test_a_loop_without_readers_waits_in_a_thread() -> None:
    """That of Windows has none for sockets."""

    async def main() -> None:
        one, other = socket.socketpair()
        with one, other, pytest.MonkeyPatch.context() as patch:

            def missing(*args: object) -> None:
                raise NotImplementedError

            for name in ("add_reader", "add_writer", "remove_reader", "remove_writer"):
                patch.setattr(asyncio.get_running_loop(), name, missing)
            assert await ASYNCIO.ready([one], READ | WRITE, 60) == {one: WRITE}
            assert await ASYNCIO.ready([one], READ, 0) == {}

    execute(main())


def test_a_call_runs_in_another_thread_with_the_tasks_context() -> None:
    """Spans and log fields of the task are those of the call; small work is done at once."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="")

    def look() -> tuple[str, int]:
        return name.get(), threading.get_ident()

    async def main() -> None:
        name.set("task")
        assert await ASYNCIO.call(look, size=SMALL) == ("task", threading.get_ident())
        for size in (SMALL + 1, None, lambda: None):
            value, thread = await ASYNCIO.call(look, size=size)
            assert (value, thread == threading.get_ident()) == ("task", False)

    execute(main())


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration(1), KeyboardInterrupt()])
def test_an_error_of_a_call_is_raised_in_the_task(error: BaseException) -> None:
    """Also one that a future can't have: a coroutine that raises StopIteration raises RuntimeError (PEP 479)."""

    def fail() -> None:
        raise error

    async def main() -> None:
        with pytest.raises(RuntimeError if isinstance(error, StopIteration) else type(error)):
            await ASYNCIO.call(fail)

    execute(main())


def test_a_canceled_call_is_waited_for() -> None:
    """The call uses files that the caller closes as soon as it is told."""
    entered, release, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        entered.set()
        release.wait(60)
        ended.set()

    async def main() -> None:
        task = asyncio.ensure_future(ASYNCIO.call(call))
        await until(entered.is_set)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not task.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    execute(main())


def test_a_canceled_look_up_is_abandoned() -> None:
    """A name server that doesn't respond holds up neither the task nor the loop's end."""
    release = threading.Event()

    async def main() -> None:
        task = asyncio.ensure_future(ASYNCIO.look_up(release.wait, 60))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    execute(main())
    release.set()


def test_a_program_ends_while_a_name_server_is_silent() -> None:
    """The threads of the loop's own executor would keep it until they have ended."""
    code = """if True:
        import asyncio, threading
        from callback_sdk.transport.asyncio_driver import ASYNCIO
        async def main():
            task = asyncio.ensure_future(ASYNCIO.look_up(threading.Event().wait))
            await asyncio.sleep(0.05)
            task.cancel()
        asyncio.run(main())
        print("ended")
    """
    run_ = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (run_.stdout, run_.stderr) == ("ended\n", "")


def test_the_number_of_threads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls there are; all are made."""
    monkeypatch.setattr(asyncio_driver, "MAX_THREADS", 3)
    driver, threads = AsyncioDriver(), set[int]()

    def call(number: int) -> int:
        threads.add(threading.get_ident())
        time.sleep(0.001)
        return number

    async def main() -> list[int]:
        return await asyncio.gather(*(driver.call(call, number) for number in range(50)))

    for _ in range(2):
        assert execute(main()) == list(range(50))
    assert 1 <= len(threads) <= 3


def test_calls_are_made_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of threads, and during interpreter shutdown."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    driver = AsyncioDriver()

    async def main() -> list[int]:
        return [await driver.call(int, str(number)) for number in range(3)]

    assert execute(main()) == [0, 1, 2]


def test_a_canceled_round_ends_all_its_calls() -> None:
    """It returns when they have ended, and starts no more."""
    begun, ended = [], []

    async def call(number: int) -> None:
        begun.append(number)
        try:
            await asyncio.sleep(60)
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
            ended.append(number)

    async def main() -> None:
        task = asyncio.ensure_future(ASYNCIO.rounds(3).map(call, range(9)))
        await until(lambda: len(begun) == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(ended) == begun == [0, 1, 2]

    execute(main())
