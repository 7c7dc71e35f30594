"""Calls at the same time, on threads that stay."""

from __future__ import annotations

import os
import threading
import time

import pytest

from callback_sdk.concurrency.parallel import Parallel, _Round


@pytest.fixture
def parallel() -> Parallel:
    """Run up to four at a time."""
    return Parallel(4)


def test_results_come_in_the_order_of_the_items(parallel: Parallel) -> None:
    """Also when there are more than run at a time."""
    assert parallel.map(lambda number: number * 2, range(9)) == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    parallel.close()


def test_threads_are_reused(parallel: Parallel) -> None:
    """The calls of a round run concurrently, and the next round starts no new threads."""
    barrier = threading.Barrier(4)

    def meet(_: int) -> int:
        barrier.wait(60)
        return threading.get_ident()

    first, second = (set(parallel.map(meet, range(4))) for _ in range(2))
    assert len(first) == 4
    assert first == second
    assert threading.get_ident() in first
    parallel.close()
    assert first & {thread.ident for thread in threading.enumerate()} == {threading.get_ident()}


def test_every_call_is_made_where_no_thread_can_be_started(parallel: Parallel, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of threads, or while the interpreter shuts down, the calling thread makes them one by one."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert parallel.map(str, range(5)) == ["0", "1", "2", "3", "4"]


def test_interruption_waits_for_running_calls(parallel: Parallel) -> None:
    """After Ctrl-C in one call, no call is running when the exception is raised."""
    begun: list[int] = []
    ended: list[int] = []
    together = threading.Barrier(4)

    def call(number: int) -> None:
        begun.append(number)
        if number < 4:
            together.wait(60)
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        ended.append(number)

    with pytest.raises(KeyboardInterrupt):
        parallel.map(call, range(8))
    assert len(ended) == len(begun) - 1
    assert parallel.map(str, range(2)) == ["0", "1"]
    parallel.close()


@pytest.mark.parametrize("method", ["_take", "stop"])
def test_signal_between_two_steps_of_the_calling_thread_ends_the_round(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The calling thread may lose the item that it took; the round doesn't wait for that one's call."""
    real = getattr(_Round, method)
    raised: list[type[BaseException]] = []

    def interrupted(*args: object) -> None:
        monkeypatch.undo()
        real(*args)
        raise KeyboardInterrupt

    def call(number: int) -> None:
        raise SystemExit

    def run() -> None:
        try:
            Parallel(1).map(call, range(9))
        except BaseException as error:  # noqa: BLE001 - looked at below
            raised.append(type(error))

    monkeypatch.setattr(_Round, method, interrupted)
    # Not this thread, so that the test fails and doesn't hang.
    calling = threading.Thread(target=run, daemon=True)
    calling.start()
    calling.join(120)
    assert raised == [KeyboardInterrupt]


def test_signal_while_helpers_start_waits_for_the_calls_that_run(
    parallel: Parallel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper that has begun a call ends it before the exception is raised."""
    begun, release = threading.Event(), threading.Event()
    ended: list[int] = []
    real = Parallel._start

    def call(number: int) -> None:
        begun.set()
        assert release.wait(120)
        ended.append(number)

    def start(self: Parallel, round_: _Round[object, object]) -> bool:
        real(self, round_)
        assert begun.wait(120)
        threading.Timer(0.1, release.set).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(Parallel, "_start", start)
    with pytest.raises(KeyboardInterrupt):
        parallel.map(call, range(4))
    assert ended == [0]
    parallel.close()


def test_round_within_a_round_ends(parallel: Parallel) -> None:
    """A signal handler that interrupts the calling thread may start another round."""
    inner = lambda number: parallel.map(str, range(number))  # noqa: E731
    assert parallel.map(inner, [1, 2, 3, 4, 5])[-1] == ["0", "1", "2", "3", "4"]
    parallel.close()


def test_no_round_waits_for_another(parallel: Parallel) -> None:
    """Hanging calls of one round don't block the threads of others."""
    release = threading.Event()
    slow = threading.Thread(target=lambda: parallel.map(lambda _: release.wait(120), range(4)))
    slow.start()
    try:
        assert parallel.map(str, range(4)) == ["0", "1", "2", "3"]
    finally:
        release.set()
        slow.join()
    parallel.close()


def test_error_of_a_call_is_raised_once_nothing_runs(parallel: Parallel) -> None:
    """And the next round works."""
    running = set()

    def call(number: int) -> None:
        running.add(number)
        if number == 0:
            raise ValueError(number)
        time.sleep(0.1)
        running.remove(number)

    with pytest.raises(ValueError, match="0"):
        parallel.map(call, range(4))
    assert running == {0}
    assert parallel.map(str, range(2)) == ["0", "1"]
    parallel.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_has_new_threads(parallel: Parallel) -> None:
    """The parent's threads don't exist there, and waiting for them would hang."""
    parallel.map(str, range(4))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if parallel.map(str, range(3)) == ["0", "1", "2"] else 1
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    parallel.close()
