"""callback_sdk.service.work.uploads"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.service.blobs import BlobMissingError, BlobStorageError, StorageUnavailableError
from callback_sdk.service.work import uploads as module
from callback_sdk.service.work.outcome import CANCEL, StopSignal
from callback_sdk.service.work.uploads import BlobUpload, PendingUploads


class Storage:
    """Blob storage that is unavailable until the test restores it."""

    def __init__(self) -> None:
        self.away = True
        self.kind: type[BlobStorageError] = StorageUnavailableError
        self.refused: set[str] = set()
        self.kept: list[str] = []
        self.asked = threading.Semaphore(0)

    def put(self, source: Path, name: str) -> None:
        self.asked.release()
        if name == "gone":
            raise BlobMissingError("It is gone.")
        if name == "bug":
            raise RuntimeError("a bug")
        if self.away:
            raise self.kind("It is away.")
        if name in self.refused:
            raise BlobStorageError("It is too large.")
        self.kept.append(name)


@pytest.fixture
def storage() -> Storage:
    """Give blob storage that is away."""
    return Storage()


@pytest.fixture
def pending(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[PendingUploads]:
    """Give a place for two uploads that retries quickly."""
    monkeypatch.setattr(module, "_TICK", 0.01)
    monkeypatch.setattr(module, "retry_pause", lambda *_, **__: 0.02)
    pending = PendingUploads(storage, limit=2)  # type: ignore[arg-type]
    pending.start()
    yield pending
    pending.close()


def upload(*names: str) -> tuple[BlobUpload, Future[Exception | None]]:
    concluded: Future[Exception | None] = Future()
    # Any file that exists: the storage looks at names only.
    files = [(Path(__file__), name) for name in names]
    return BlobUpload(job_id=names[0], files=files, stop=StopSignal(), conclude=concluded.set_result), concluded


def in_thread(call: Callable[..., Any], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=call, args=arguments, daemon=True)
    thread.start()
    return thread


def test_an_upload_waits_in_the_background_until_storage_is_back(storage: Storage, pending: PendingUploads) -> None:
    """The caller continues at once; each file is stored once, in order."""
    one, concluded = upload("model", "results")
    pending.store(one)
    assert pending.count == 1
    assert not concluded.done()
    storage.away = False
    assert concluded.result(120) is None
    assert storage.kept == ["model", "results"]


def test_a_file_that_is_kept_is_not_kept_again(storage: Storage, pending: PendingUploads) -> None:
    """When the second one fails, only that is retried: the first one has left the scratch directory."""
    storage.away = False
    one, concluded = upload("model", "results")
    put = storage.put

    def fail_once(source: Path, name: str) -> None:
        storage.put = put  # type: ignore[method-assign]
        put(source, name)
        storage.away = True

    storage.put = fail_once  # type: ignore[method-assign]
    pending.store(one)
    storage.away = False
    assert concluded.result(120) is None
    assert storage.kept == ["model", "results"]


def test_nothing_is_attempted_by_the_caller_while_others_wait(storage: Storage, pending: PendingUploads) -> None:
    """A silent store costs one slot one timeout, and not each slot one."""
    pending.store(upload("a")[0])
    callers: set[int] = set()
    put = storage.put

    def note(source: Path, name: str) -> None:
        callers.add(threading.get_ident())
        put(source, name)

    storage.put = note  # type: ignore[method-assign]
    pending.store(upload("b")[0])
    assert pending.count == 2
    assert threading.get_ident() not in callers


def test_results_without_files_never_wait(pending: PendingUploads) -> None:
    """Small results are in the database, and concluded at once."""
    pending.store(upload("a")[0])
    concluded: Future[Exception | None] = Future()
    pending.store(BlobUpload(job_id="small", files=[], stop=StopSignal(), conclude=concluded.set_result))
    assert concluded.done()


def test_the_number_of_waiting_uploads_is_bounded(storage: Storage, pending: PendingUploads) -> None:
    """The third one makes its caller wait until another one is done."""
    first = upload("a")
    for one in (first[0], upload("b")[0]):
        pending.store(one)
    third, concluded = upload("c")
    caller = in_thread(pending.store, third)
    for _ in range(6):
        assert storage.asked.acquire(timeout=120)
    assert caller.is_alive()
    assert len(pending._waiting) == 2
    storage.away = False
    caller.join(120)
    assert concluded.result(120) is None


@pytest.mark.parametrize("waiting", [0, 2])
def test_a_canceled_upload_is_given_up(storage: Storage, pending: PendingUploads, waiting: int) -> None:
    """Whether it waits in the background, or its caller waits for room there."""
    for name in "ab"[:waiting]:
        pending.store(upload(name)[0])
    one, concluded = upload("c")
    caller = in_thread(pending.store, one)
    one.stop.request(CANCEL)
    assert isinstance(concluded.result(120), BlobStorageError)
    caller.join(120)
    assert storage.kept == []


@pytest.mark.parametrize(("name", "kind"), [("gone", BlobMissingError), ("bug", RuntimeError)])
@pytest.mark.parametrize("waiting", [False, True])
def test_permanent_failures_are_concluded(
    storage: Storage, pending: PendingUploads, name: str, kind: type[Exception], waiting: bool
) -> None:
    """At the first attempt and in the background; the other uploads still wait."""
    if waiting:
        pending.store(upload("a")[0])
    one, concluded = upload(name)
    pending.store(one)
    storage.away = False
    assert isinstance(concluded.result(120), kind)


@pytest.mark.parametrize("kind", [BlobStorageError, StorageUnavailableError])
def test_a_rejected_upload_does_not_block_others(
    storage: Storage, pending: PendingUploads, kind: type[BlobStorageError]
) -> None:
    """Later uploads are still attempted."""
    storage.kind, storage.refused = kind, {"large"}
    first = upload("large")
    pending.store(first[0])
    second = upload("b")
    pending.store(second[0])
    storage.away = False
    assert second[1].result(120) is None
    third = upload("c")
    pending.store(third[0])
    assert third[1].result(120) is None
    assert not first[1].done()


def test_an_attempt_that_hangs_keeps_no_upload_from_being_given_back(storage: Storage, pending: PendingUploads) -> None:
    """A process that ends doesn't wait for a store that is silent; the late success counts for nothing."""
    go, began = threading.Event(), threading.Event()

    def hang(source: Path, name: str) -> None:
        began.set()
        go.wait(60)

    storage.put = hang  # type: ignore[method-assign]
    one, concluded = upload("a")
    caller = in_thread(pending.store, one)
    assert began.wait(120)
    pending.release_all()
    assert isinstance(concluded.result(0), BlobStorageError)
    caller.join(120)
    assert not caller.is_alive()
    assert pending.count == 0
    late, concluded = upload("b")
    pending.store(late)
    assert isinstance(concluded.result(120), BlobStorageError)
    go.set()


def test_a_missing_file_is_not_an_outage(pending: PendingUploads) -> None:
    """Its task runs again."""
    concluded: Future[Exception | None] = Future()
    pending.store(
        BlobUpload(job_id="1", files=[(Path("/nonexistent"), "a")], stop=StopSignal(), conclude=concluded.set_result)
    )
    assert isinstance(concluded.result(120), BlobMissingError)


def test_pending_uploads_are_released_at_the_end_of_the_process(pending: PendingUploads) -> None:
    """Their tasks run again."""
    one, concluded = upload("a")
    pending.store(one)
    pending.close()
    assert isinstance(concluded.result(0), BlobStorageError)
    assert pending.count == 0


def test_the_caller_waits_for_a_slow_conclusion(storage: Storage, pending: PendingUploads) -> None:
    """The end of the task is stored when `store` returns, even if the database takes longer than one check."""
    storage.away = False
    started, stored = threading.Event(), threading.Event()

    def conclude(_: Exception | None) -> None:
        started.set()
        threading.Event().wait(0.1)
        stored.set()

    pending.store(BlobUpload(job_id="1", files=[(Path(__file__), "1")], stop=StopSignal(), conclude=conclude))
    assert started.is_set()
    assert stored.is_set()
