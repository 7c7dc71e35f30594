"""Objects that a child process must not share with its parent."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from callback_sdk.concurrency import forking
from callback_sdk.concurrency.forking import Lock, PerProcess, RLock, after_fork, no_fork
from tests.forks import in_child


@pytest.fixture
def held() -> Iterator[threading.Lock]:
    """Make a lock that another thread holds."""
    lock, taken, release = Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    yield lock
    release.set()
    thread.join()


def test_a_lock_that_another_thread_held_at_the_fork_is_free_in_the_child(held: threading.Lock) -> None:
    """The holder doesn't exist in the child; the parent's lock stays held."""
    assert in_child(lambda: held.acquire(timeout=60))
    assert held.locked()


def test_a_lock_excludes_other_threads() -> None:
    """The lock is held inside its `with` block, and free after it, also after an exception."""
    lock, held = Lock(), []

    def fail() -> None:
        with lock:
            held.append((lock.locked(), lock.acquire(blocking=False)))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert held == [(True, False)]
    assert not lock.locked()
    assert lock.acquire(timeout=60)
    lock.release()


@pytest.mark.parametrize("lock", [Lock(), RLock(), no_fork, PerProcess(object)._lock])
def test_no_python_code_runs_between_the_acquisition_of_a_lock_and_its_block(lock: Any) -> None:
    """Exceptions of signal handlers are raised before the acquisition, or inside the block, which releases the lock."""
    calls: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        with lock:
            pass
    finally:
        sys.setprofile(before)
    assert calls == []


def test_reentrant_lock_that_another_thread_held_at_the_fork_is_free_in_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The child's only thread can acquire it."""
    monkeypatch.setattr(forking, "_MAX_WAIT", 0.1)
    lock, taken, release = RLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock, no_fork:
            taken.set()
            release.wait()

    def use() -> bool:
        with no_fork:
            return lock.acquire(timeout=60)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        assert in_child(use)
    finally:
        release.set()
        thread.join()


def test_thread_that_blocks_forks_can_fork_itself() -> None:
    """A signal handler may fork during an import; the block ends in parent and child."""

    def use() -> bool:
        no_fork.release()
        return no_fork.acquire(timeout=60)

    with no_fork:
        assert in_child(use)


def test_each_process_makes_its_own_value() -> None:
    """A process gets one value however often it asks, and its child gets another."""
    value = PerProcess(lambda: (os.getpid(), object()))
    assert value.get() is value.get()
    assert value.get()[0] == os.getpid()
    assert in_child(lambda: value.get()[0] == os.getpid())
    assert value.get()[0] == os.getpid()


def test_threads_share_one_value() -> None:
    """Threads that ask at the same time get the same value, which is made once."""
    made, barrier = [], threading.Barrier(8)
    value = PerProcess(lambda: made.append(1))

    def ask() -> None:
        barrier.wait()
        value.get()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_the_value_can_be_taken_out() -> None:
    """`pop` returns the value once, and the next `get` makes a new one."""
    value = PerProcess(object)
    first = value.get()
    assert value.pop() is first
    assert value.pop() is None
    assert value.get() is not first


class _Finalized:
    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def __del__(self) -> None:
        os.write(self._pipe, b"finalized")


def test_the_parents_value_is_not_finalized_in_the_child() -> None:
    """No destructor of an inherited value runs in the child, since it could write to the parent's connection."""
    read, write = os.pipe()
    value = PerProcess(lambda: _Finalized(write))
    value.get()
    in_child(gc.collect)
    os.set_blocking(read, False)
    with pytest.raises(BlockingIOError):
        os.read(read, 100)
    os.close(read)
    value.pop()._pipe = os.open(os.devnull, os.O_WRONLY)
    os.close(write)


def test_the_child_releases_the_parents_value() -> None:
    """`leave` is called in the child with the parent's value, and not in the parent."""
    left: list[str] = []
    value = PerProcess(lambda: "parent's", leave=left.append)
    value.get()
    assert in_child(lambda: list(left)) == ["parent's"]
    assert left == []


def test_a_failing_hook_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """The hooks of all other objects run, and the log names the class of the one that failed."""

    def fail(_: object) -> None:
        raise OSError("bad file descriptor")

    class Owner:
        renewed = False

    bad, good = Owner(), Owner()
    after_fork(bad, fail)
    after_fork(good, lambda owner: setattr(owner, "renewed", True))
    renewed, text = in_child(lambda: (good.renewed, caplog.text))
    assert renewed
    assert "A Owner can't be used in this child process." in text


def test_a_hook_does_not_keep_its_owner_alive() -> None:
    """An unused object is collected together with its hook."""
    lock, before = Lock(), len(forking._hooks)
    reference = weakref.ref(lock)
    del lock
    gc.collect()
    assert reference() is None
    assert len(forking._hooks) < before
