"""callback_sdk.transport.multiplexing"""

from __future__ import annotations

import asyncio
import contextvars
import select
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from callback_sdk.transport import call_threads, multiplexing
from callback_sdk.transport.call_threads import SMALL, CallThreads
from callback_sdk.transport.multiplexing import MULTIPLEXING, multiplexed
from callback_sdk.transport.polling import READ, WRITE, Poller


def side_by_side(*functions: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run coroutines in one scheduler."""

    async def call(function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return await function()

    return multiplexed(MULTIPLEXING.rounds(len(functions)).map(call, functions))


def idle() -> Coroutine[Any, Any, None]:
    return MULTIPLEXING.sleep(60)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give two connected sockets."""
    one, other = socket.socketpair()
    one.setblocking(False)
    with one, other:
        yield one, other


@pytest.fixture(params=["poll", "select"])
def polling_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Wait by poll(2), and by select(2), as on Windows and after `eventlet.monkey_patch`."""
    if request.param == "select":
        monkeypatch.delattr(select, "poll")
    return str(request.param)


@pytest.mark.usefixtures("polling_by")
def test_a_socket_is_ready_when_data_came_or_can_be_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    """The events are those that were asked for."""
    one, other = pair

    async def main() -> None:
        assert await MULTIPLEXING.ready([one], READ | WRITE, 60) == {one: WRITE}
        assert await MULTIPLEXING.ready([one], READ, 0.01) == {}
        other.sendall(b"x")
        assert await MULTIPLEXING.ready([one], READ, 60) == {one: READ}
        assert await MULTIPLEXING.ready([one], READ | WRITE, 60) == {one: READ | WRITE}
        other.close()
        assert await MULTIPLEXING.ready([one], READ, 60) == {one: READ}

    multiplexed(main())


@pytest.mark.usefixtures("polling_by")
def test_several_sockets_are_waited_for() -> None:
    """The first one ends the wait, and another task may wait for others meanwhile."""
    pairs = [socket.socketpair() for _ in range(4)]
    ends = [one for one, _ in pairs]

    async def wait() -> Any:
        return await MULTIPLEXING.ready(ends[:3], READ, 60)

    async def other() -> Any:
        return await MULTIPLEXING.ready(ends[3:], READ, 60)

    async def send() -> None:
        pairs[3][1].sendall(b"x")
        await MULTIPLEXING.sleep(0)
        pairs[1][1].sendall(b"x")

    assert side_by_side(wait, other, send) == [{ends[1]: READ}, {ends[3]: READ}, None]
    for pair in pairs:
        for end in pair:
            end.close()


@pytest.mark.parametrize("late", [1.0, 100.0])
def test_tasks_go_on_by_their_deadlines(late: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order in which they began to wait, and also those that have to go on at once."""
    woken, now = [], [0.0]
    monkeypatch.setattr(multiplexing, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def wait(poller: Poller, seconds: float) -> dict[Any, int]:
        now[0] += max(seconds, 0.0) * late
        return {}

    monkeypatch.setattr(Poller, "wait", wait)

    def sleep(seconds: float) -> Callable[[], Coroutine[Any, Any, None]]:
        async def main() -> None:
            await MULTIPLEXING.sleep(seconds)
            woken.append(seconds)

        return main

    side_by_side(*map(sleep, (15.0, 5.0, 30.0, 0.0)))
    assert woken == [0.0, 5.0, 15.0, 30.0]


def test_data_counts_more_than_the_time(pair: tuple[socket.socket, socket.socket]) -> None:
    """The thread computed for longer than the wait, and the data came meanwhile."""
    one, other = pair

    async def wait() -> Any:
        return await MULTIPLEXING.ready([one], READ, 0.05)

    async def compute() -> None:
        other.sendall(b"x")
        time.sleep(0.1)

    assert side_by_side(wait, compute) == [{one: READ}, None]


def test_each_task_has_its_own_context() -> None:
    """The span of one delivery isn't that of another. Calls in threads have the task's."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="")

    def task(own: str) -> Callable[[], Coroutine[Any, Any, list[str]]]:
        async def main() -> list[str]:
            name.set(own)
            await MULTIPLEXING.sleep(0)
            seen = [name.get(), await MULTIPLEXING.call(name.get), await MULTIPLEXING.look_up(name.get)]
            await MULTIPLEXING.sleep(0)
            return seen

        return main

    assert side_by_side(task("a"), task("b")) == [["a"] * 3, ["b"] * 3]
    assert name.get() == ""


def test_a_call_is_made_in_a_thread_if_something_else_can_go_on() -> None:
    """Small work, and that of the only task, is done at once."""

    async def alone() -> int:
        return await MULTIPLEXING.call(threading.get_ident)

    async def small() -> int:
        return await MULTIPLEXING.call(threading.get_ident, size=SMALL)

    own = threading.get_ident()
    assert multiplexed(alone()) == own
    first, second, third = side_by_side(alone, alone, small)
    assert third == own
    assert own not in (first, second)


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration(1)])
@pytest.mark.parametrize("others", [(), (lambda: MULTIPLEXING.sleep(0.05),)], ids=["alone", "in a thread"])
def test_an_error_of_a_call_is_raised_in_the_task(error: Exception, others: tuple[Any, ...]) -> None:
    """Where it waits."""

    def fail() -> None:
        raise error

    async def main() -> str:
        try:
            await MULTIPLEXING.call(fail)
        except (ValueError, RuntimeError) as caught:
            return type(caught).__name__
        return ""

    expected = "RuntimeError" if isinstance(error, StopIteration) else "ValueError"
    assert side_by_side(main, *others)[0] == expected


def test_a_request_that_fails_is_an_error_where_it_is_made(pair: tuple[socket.socket, socket.socket]) -> None:
    """A closed socket can't be waited for; the task can go on."""
    one, other = pair

    async def main() -> Any:
        one.close()
        with pytest.raises(ValueError, match="closed"):
            await MULTIPLEXING.ready([other, one], WRITE, 60)
        return await MULTIPLEXING.ready([other], WRITE, 60)

    assert multiplexed(main()) == {other: WRITE}


def test_tasks_of_a_round_have_the_context_of_the_task_that_started_them() -> None:
    """As tasks of asyncio do: a request belongs to the span of its delivery."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="caller")

    async def inner(_: int) -> str:
        await MULTIPLEXING.sleep(0)
        return name.get()

    async def outer(number: int) -> list[str]:
        name.set(f"parent {number}")
        return await MULTIPLEXING.rounds(2).map(inner, range(2))

    found = multiplexed(MULTIPLEXING.rounds(2).map(outer, range(2)))
    assert found == [["parent 0", "parent 0"], ["parent 1", "parent 1"]]
    assert name.get() == "caller"


def test_a_second_interrupt_leaves_no_task_open() -> None:
    """The tasks that were started last are closed first, and the second interrupt is raised."""
    closed: list[str] = []

    def waiting(name: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def wait() -> None:
            try:
                await idle()
            finally:
                closed.append(name)
                if name == "b":
                    raise KeyboardInterrupt("second")

        return wait

    async def interrupt() -> None:
        await MULTIPLEXING.sleep(0)
        raise KeyboardInterrupt("first")

    with pytest.raises(KeyboardInterrupt, match="second"):
        side_by_side(waiting("a"), waiting("b"), waiting("c"), interrupt)
    assert closed == ["c", "b", "a"]


def test_an_interrupt_ends_all_tasks_where_they_wait() -> None:
    """Each closes its own connection; no descriptor and no task is left."""
    ended = []

    async def wait() -> None:
        try:
            await idle()
        finally:
            ended.append("waiting")

    async def interrupt() -> None:
        await MULTIPLEXING.call(lambda: None)
        raise KeyboardInterrupt

    async def nested() -> None:
        await MULTIPLEXING.rounds(2).map(lambda _: wait(), range(2))

    before = descriptors()
    with pytest.raises(KeyboardInterrupt):
        side_by_side(wait, nested, interrupt)
    assert ended == ["waiting"] * 3
    assert descriptors() == before


def test_an_interrupt_waits_for_calls_and_not_for_look_ups() -> None:
    """A call uses files that its task closes; a name server may be silent."""
    entered, release, order = threading.Event(), threading.Event(), []
    silent = threading.Event()

    def call() -> None:
        entered.set()
        release.wait(60)
        order.append("call")

    async def calling() -> None:
        try:
            await MULTIPLEXING.call(call)
        finally:
            order.append("task")

    async def looking() -> None:
        await MULTIPLEXING.look_up(silent.wait, 60)

    async def interrupt() -> None:
        await MULTIPLEXING.look_up(entered.wait, 60)
        threading.Timer(0.05, release.set).start()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side(calling, looking, interrupt)
    assert order == ["call", "task"]
    silent.set()


def test_an_interrupt_of_a_call_in_a_thread_ends_all_tasks() -> None:
    """It is raised where the coroutines were started."""

    def fail() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        await MULTIPLEXING.call(fail)

    for others in ((), (idle,)):
        with pytest.raises(KeyboardInterrupt):
            side_by_side(main, *others)


def test_a_lock_is_free_after_an_error() -> None:
    """The next task gets it."""
    lock = MULTIPLEXING.lock()

    async def fail() -> None:
        await MULTIPLEXING.sleep(0)
        raise ValueError

    async def main() -> str:
        try:
            await MULTIPLEXING.exclusively(lock, fail)
        except ValueError:
            return "failed"
        return ""

    assert side_by_side(main, main, main) == ["failed"] * 3


def test_schedulers_run_within_each_other_and_in_an_event_loop() -> None:
    """A coroutine, or a handler of signals, may send too; so may a coroutine of asyncio."""

    async def inner() -> int:
        await MULTIPLEXING.sleep(0)
        return 1

    async def outer() -> int:
        await MULTIPLEXING.sleep(0)
        return multiplexed(inner()) + multiplexed(inner())

    async def main() -> int:
        return multiplexed(outer())

    assert asyncio.run(main()) == 2


def test_the_number_of_threads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls there are; all are made, also where no thread can be started."""
    for limit, starts in ((3, True), (3, False)):
        if not starts:

            def start(thread: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")

            monkeypatch.setattr(threading.Thread, "start", start)
        made = CallThreads(limit, "test")
        monkeypatch.setattr(multiplexing, "_calls", type("", (), {"get": lambda self, made=made: made})())
        threads = set[int]()

        def call(number: int, threads: set[int] = threads) -> int:
            threads.add(threading.get_ident())
            return number

        async def main(number: int, call: Callable[[int], int] = call) -> int:
            return await MULTIPLEXING.call(call, number)

        assert multiplexed(MULTIPLEXING.rounds(50).map(main, range(50))) == list(range(50))
        # The last task may be the only one.
        assert len(threads - {threading.get_ident()}) <= (limit if starts else 0)
    assert call_threads.MAX_THREADS >= 5
