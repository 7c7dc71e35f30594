"""callback_sdk.service.work.runner: runs during outages of blob storage and database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from callback_sdk.service.algorithms.registry import load
from callback_sdk.service.blobs import BlobMissingError, BlobStorageError, features_name, output_name
from callback_sdk.service.blobs.folder import DirectoryStorage
from callback_sdk.service.files import Scratch
from callback_sdk.service.runtime import DeliveryConfig, Runtime, WorkerRuntime, open_worker
from callback_sdk.service.store import Store, StoreUnavailableError, Submission, TaskRow
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.service.work import uploads
from callback_sdk.service.work.child_pair import ChildPair
from callback_sdk.service.work.live_output import LiveOutput
from callback_sdk.service.work.outcome import CANCEL, StopSignal
from callback_sdk.service.work.process import ChildProcess
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.transport.guard import AddressGuard
from tests.topology import wait_until

DATA = json.dumps({"a": list(range(20_000))}).encode()


class FlakyBlobs(DirectoryStorage):
    """Directory storage with outages on request."""

    keeps = True
    gives = True
    refused = 0

    def put(self, source: Path, name: str) -> None:
        if not self.keeps:
            self.refused += 1
            raise BlobStorageError("It is away.")
        super().put(source, name)

    @contextmanager
    def fetch(self, name: str, scratch: Path) -> Iterator[Path]:
        if not self.gives:
            raise BlobStorageError("It is away.")
        with super().fetch(name, scratch) as path:
            yield path


@pytest.fixture
def blobs(tmp_path: Path) -> FlakyBlobs:
    """Return storage in an empty directory."""
    return FlakyBlobs(tmp_path / "blobs")


@pytest.fixture
def work(
    store: Store, cipher: CredentialCipher, blobs: FlakyBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerRuntime]:
    """Give a worker with a task that has large features and large results."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "integration"))
    monkeypatch.setattr(uploads, "retry_pause", lambda *_, **__: 0.05)
    name = "engine_jobs:registry"
    runtime = Runtime(
        registry=load(name),
        registry_name=name,
        cipher=cipher,
        store=store,
        blobs=blobs,
        scratch=Scratch(tmp_path / "scratch"),
        temporary=Scratch(tmp_path / "temporary"),
        delivery=DeliveryConfig(guard=AddressGuard()),
    )
    source = tmp_path / "features"
    source.write_bytes(DATA)
    blobs.put(source, features_name("1"))
    task = TaskRow(job_id="1", owner="anna", algorithm="large", version="1.0.0", features_format="json")
    store.tasks.submit([Submission(task=task, targets=parse_callbacks(None))])
    with open_worker(runtime, "w") as work:
        yield work
    assert not [path for path in runtime.scratch.folder.iterdir() if path.is_file()]


@pytest.fixture
def child() -> Iterator[ChildPair]:
    """Give a child process to run it in."""
    child = ChildPair(partial(ChildProcess, "engine_jobs:registry"))
    yield child
    child.close()


def test_results_wait_for_their_place(
    store: Store, work: WorkerRuntime, blobs: FlakyBlobs, child: ChildPair
) -> None:  # fmt: skip
    """They may have cost hours: while the place is away they are kept here, then there. The slot is free at once."""
    blobs.keeps = False
    work.runner.run("1", child, StopSignal())
    wait_until(lambda: blobs.refused >= 2)
    assert store.tasks.get("1")["status"] == "In Progress"
    blobs.keeps = True
    wait_until(lambda: not work.uploads.count)
    task = store.tasks.get("1")
    assert (task["success"], task["attempt"], task["crash_count"]) == (True, 1, 0)


def test_output_files_wait_for_their_place(
    store: Store, work: WorkerRuntime, blobs: FlakyBlobs, child: ChildPair
) -> None:  # fmt: skip
    """As results do. They are not shown before the task has ended."""
    task = TaskRow(job_id="2", owner="anna", algorithm="files", version="1.0.0", features_format="json")
    store.tasks.submit([Submission(task=task, targets=parse_callbacks(None), features=b'{"a": [1]}')])
    blobs.keeps = False
    work.runner.run("2", child, StopSignal())
    wait_until(lambda: blobs.refused >= 2)
    assert store.output_files.of("2") == []
    blobs.keeps = True
    wait_until(lambda: not work.uploads.count)
    assert store.tasks.get("2")["attempt"] == 1
    small, large = store.output_files.of("2")
    assert store.output_files.data(small) == b"small"
    assert b"".join(blobs.chunks(output_name("2", 1, large.position), 0, large.size)) == b"x" * 100_000


def test_a_run_that_waits_to_keep_its_results_can_be_canceled(
    store: Store, work: WorkerRuntime, blobs: FlakyBlobs, child: ChildPair
) -> None:
    """Its files and its claim are given up."""
    blobs.keeps = False
    stop = StopSignal()
    work.runner.run("1", child, stop)
    assert blobs.refused
    store.tasks.cancel("1")
    stop.request(CANCEL)
    wait_until(lambda: not work.uploads.count)
    assert store.tasks.get("1")["status"] == "Canceled"


def test_a_task_whose_results_wait_at_the_end_of_the_process_is_due_at_once(
    store: Store, work: WorkerRuntime, blobs: FlakyBlobs, child: ChildProcess
) -> None:
    """The next process, or one on another machine, runs it again."""
    blobs.keeps = False
    work.runner.run("1", child, StopSignal())
    work.uploads.release_all()
    wait_until(lambda: not work.uploads.count)
    task = store.tasks.get("1")
    assert (task["status"], task["crash_count"]) == ("Pending", 0)
    assert store.queue.fetch_due(1, redispatch_after=60) == ["1"]


def test_results_are_stored_if_the_output_can_not_be(
    store: Store, work: WorkerRuntime, child: ChildPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any failure to store the output is tolerated."""

    def broken(*_: object, **__: object) -> None:
        raise ValueError("no output today")

    monkeypatch.setattr(LiveOutput, "update", broken)
    work.runner.run("1", child, StopSignal())
    task = store.tasks.get("1")
    assert (task["success"], task["attempt"], task["crash_count"]) == (True, 1, 0)


def test_a_task_with_unavailable_features_is_requeued(
    store: Store, work: WorkerRuntime, blobs: FlakyBlobs, child: ChildPair
) -> None:
    """Without limit, because this doesn't count as a crash."""
    blobs.gives = False
    for _ in range(4):
        work.runner.run("1", child, StopSignal())
    task = store.tasks.get("1")
    assert (task["status"], task["crash_count"]) == ("Pending", 0)
    blobs.gives = True
    work.runner.run("1", child, StopSignal())
    task = store.tasks.get("1")
    assert (task["status"], task["success"], task["error"]) == ("Finished", True, None)


def test_a_task_is_requeued_after_an_outage_of_the_database(
    store: Store, work: WorkerRuntime, child: ChildPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage during a run doesn't count as a crash."""
    with monkeypatch.context() as patch:
        patch.setattr(work.runner._catalog, "get", _raise_unavailable)
        for _ in range(4):
            work.runner.run("1", child, StopSignal())
    task = store.tasks.get("1")
    assert (task["status"], task["crash_count"]) == ("Pending", 0)
    work.runner.run("1", child, StopSignal())
    assert store.tasks.get("1")["success"] is True


def _raise_unavailable(*_: object) -> None:
    raise StoreUnavailableError("The database is away.")


def test_a_task_with_missing_features_fails(
    store: Store, work: WorkerRuntime, blobs: FlakyBlobs, child: ChildPair
) -> None:
    """After three attempts, with the reason."""
    blobs.remove(features_name("1"))
    with pytest.raises(BlobMissingError):
        list(blobs.chunks(features_name("1"), 0, 1))
    for _ in range(3):
        work.runner.run("1", child, StopSignal())
    task = store.tasks.get("1")
    assert task["success"] is False
    assert "could not be read: features/1" in task["error"]
