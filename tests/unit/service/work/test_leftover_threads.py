"""callback_sdk.service.work.leftover_threads"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pytest
from tqdm import tqdm

from callback_sdk.service.work import leftover_threads


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Return an event that ends the threads of a test."""
    over = threading.Event()
    yield over
    over.set()


def start(function: object, *args: object, name: str) -> None:
    threading.Thread(target=function, args=args, name=name, daemon=True).start()  # type: ignore[arg-type]


def test_threads_from_before_the_run_are_excluded(over: threading.Event) -> None:
    """Only running threads that were started since then count."""
    start(over.wait, name="old")
    before = set(threading.enumerate())
    ended = threading.Thread(target=lambda: None)
    ended.start()
    ended.join()
    assert leftover_threads.of_run(before) == []


def test_a_leftover_thread_is_named(over: threading.Event) -> None:
    """Whether it waits for an event or a queue, or doesn't wait."""
    items: queue.Queue[None] = queue.Queue()

    def busy() -> None:
        while not over.is_set():
            pass

    before = set(threading.enumerate())
    start(over.wait, name="waits")
    start(items.get, name="takes")
    start(busy, name="busy")
    assert leftover_threads.of_run(before) == ["busy", "takes", "waits"]
    items.put(None)


def test_a_thread_that_is_about_to_end_is_waited_for() -> None:
    """So that a pool that is shut down in the background does not cost a process."""
    before = set(threading.enumerate())
    threading.Timer(0.01, lambda: None).start()
    assert leftover_threads.of_run(before) == []


def test_pools_may_keep_their_idle_threads(over: threading.Event) -> None:
    """Those of the standard library and tqdm's; one that works is at work."""
    before = set(threading.enumerate())
    with ThreadPoolExecutor(2, thread_name_prefix="kept") as executor, ThreadPool(2) as pool, tqdm([1], disable=False):
        executor.submit(int).result()
        pool.apply(int)
        assert leftover_threads.of_run(before) == []
        begun = threading.Event()
        working = executor.submit(lambda: (begun.set(), over.wait()))
        begun.wait(60)
        found = leftover_threads.of_run(before)
        over.set()
        working.result(60)
    assert [name.partition("_")[0] for name in found] == ["kept"]
