"""callback_sdk.service.housekeeping"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import define, evolve

from callback_sdk.service import Registry
from callback_sdk.service.blobs import BlobStorageError, output_name, results_name
from callback_sdk.service.blobs.folder import DirectoryStorage
from callback_sdk.service.files import Scratch
from callback_sdk.service.housekeeping import UNKNOWN_ALGORITHM_TIMEOUT, Housekeeper
from callback_sdk.service.runtime import DeliveryConfig, Runtime
from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.service.store.models import NewFile
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.transport.guard import AddressGuard

HOOK = "https://example.org/hook"


@define
class House:
    """Data to expire, and the housekeeper."""

    runtime: Runtime
    woken: list[bool]

    def keeper(self, keep: timedelta | None = None) -> Housekeeper:
        return Housekeeper(self.runtime, keep=keep, wakeup=lambda: self.woken.append(True))

    def submit(self, job_id: str, algorithm: str = "known") -> None:
        task = TaskRow(job_id=job_id, owner="anna", algorithm=algorithm, version="1", features_format="json")
        self.runtime.store.tasks.submit([Submission(task=task, targets=parse_callbacks([HOOK]), features=b"[]")])

    def finish(self, job_id: str, results: bytes | None) -> str:
        store = self.runtime.store
        store.tasks.finish(job_id, store.tasks.claim(job_id, "w").attempt, RunOutcome(success=True, results=results))
        (delivery,) = store.deliveries.of(job_id)
        return str(delivery["delivery_id"])

    def give_up(self, delivery_id: str) -> None:
        self.runtime.store.deliveries.claim(delivery_id, "w")
        self.runtime.store.deliveries.record_failure(delivery_id, 1, "410", None)


@pytest.fixture
def house(store: Store, cipher: CredentialCipher, tmp_path: Path) -> Iterator[House]:
    """Give an empty store with one algorithm."""
    registry = Registry()
    registry.algorithm("known", version="1")(lambda features, parameters, context: None)
    scratch = Scratch(tmp_path / "scratch")
    yield House(
        Runtime(
            registry=registry,
            registry_name="jobs:registry",
            cipher=cipher,
            store=store,
            blobs=DirectoryStorage(tmp_path / "blobs"),
            scratch=scratch,
            temporary=Scratch(tmp_path / "temporary"),
            delivery=DeliveryConfig(guard=AddressGuard()),
        ),
        [],
    )
    scratch.close()


def test_tasks_of_an_unregistered_algorithm_fail_after_a_day(house: House) -> None:
    """They are delivered as failed with the reason; a wrong registry that is corrected earlier has no effect."""
    house.submit("1", "gone")
    house.submit("2", "known")
    keeper = house.keeper()
    day = UNKNOWN_ALGORITHM_TIMEOUT.total_seconds()
    keeper.run_round(0.0)
    keeper.run_round(day - 1)
    assert house.runtime.store.tasks.get("1")["status"] == "Pending"
    assert not house.woken
    keeper.run_round(day)
    task = house.runtime.store.tasks.get("1")
    assert (task["status"], task["success"]) == ("Finished", False)
    assert "'gone'" in task["error"]
    assert [host for _, host in house.runtime.store.deliveries.fetch_due(9, redispatch_after=0.0)] == ["example.org"]
    assert house.woken
    assert house.runtime.store.tasks.get("2")["status"] == "Pending"


def test_an_algorithm_that_came_back_has_its_whole_patience_again(house: House) -> None:
    """The day counts from when it was missed last."""
    house.submit("1", "gone")
    keeper = house.keeper()
    keeper.run_round(0.0)
    house.runtime.store.tasks.cancel("1")
    keeper.run_round(10.0)
    house.submit("2", "gone")
    keeper.run_round(UNKNOWN_ALGORITHM_TIMEOUT.total_seconds() + 5)
    assert house.runtime.store.tasks.get("2")["status"] == "Pending"


def test_expired_tasks_are_purged(house: House, tmp_path: Path) -> None:
    """With all rows and blobs, but not before their deliveries have ended, and only with a retention."""
    store, results = house.runtime.store, tmp_path / "blobs" / results_name("large", 1)
    for job_id in ("small", "large", "owing", "waiting"):
        house.submit(job_id)
    house.give_up(house.finish("small", b"{}"))
    large = house.finish("large", None)
    house.finish("owing", b"{}")
    results.write_bytes(b"{}")
    house.keeper(timedelta(hours=1)).run_round(0.0)
    time.sleep(0.01)
    house.keeper(None).run_round(0.0)
    assert all(store.tasks.get(job_id) for job_id in ("small", "large", "owing", "waiting"))
    house.keeper(timedelta(0)).run_round(0.0)
    assert store.tasks.get("small") is None
    assert store.tasks.results("small") is None
    assert store.deliveries.of("small") == store.deliveries.attempts("small") == []
    assert results.exists()
    house.give_up(large)
    house.keeper(timedelta(0)).run_round(0.0)
    assert [bool(store.tasks.get(job_id)) for job_id in ("large", "owing", "waiting")] == [False, True, True]
    assert not results.exists()


def test_tasks_are_not_purged_while_blob_storage_is_unavailable(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise their blobs would never be removed; other steps still run."""

    class Away(DirectoryStorage):
        def remove(self, name: str) -> None:
            raise BlobStorageError("The bucket is away.")

    house.submit("1")
    house.submit("2", "gone")
    house.give_up(house.finish("1", None))
    house.runtime = evolve(house.runtime, blobs=Away(house.runtime.scratch.folder))
    time.sleep(0.01)
    keeper = house.keeper(timedelta(0))
    keeper.run_round(0.0)
    keeper.run_round(UNKNOWN_ALGORITHM_TIMEOUT.total_seconds())
    assert house.runtime.store.tasks.get("1") is not None
    assert house.runtime.store.tasks.get("2")["status"] == "Finished"
    assert "Housekeeping skipped: The bucket is away" in caplog.text
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize(("ahead", "is_due"), [(timedelta(days=400), True), (timedelta(hours=10), False)])
def test_next_attempt_by_a_wrong_clock_is_repaired(house: House, ahead: timedelta, *, is_due: bool) -> None:
    """No delivery waits longer than the maximum delay."""
    house.submit("1")
    delivery_id = house.finish("1", b"{}")
    house.runtime.store.deliveries.claim(delivery_id, "w")
    house.runtime.store.deliveries.record_failure(delivery_id, 1, "503", ahead.total_seconds())
    house.keeper().run_round(0.0)
    assert house.woken == [True] * is_due
    taken = house.runtime.store.deliveries.fetch_due(9, redispatch_after=0.0)
    assert [taken_id for taken_id, _ in taken] == [delivery_id] * is_due


def store_output(house: House, tmp_path: Path, job_id: str, attempt: int) -> Path:
    """Store an output file of a run, and return its path in blob storage."""
    file = NewFile(name="model.bin", size=5, sha256="0" * 64, media_type="x/y")
    house.runtime.store.output_files.insert(job_id, attempt, [file])
    source = tmp_path / "source"
    source.write_bytes(b"model")
    house.runtime.blobs.put(source, output_name(job_id, attempt, 0))
    return tmp_path / "blobs" / output_name(job_id, attempt, 0)


def test_output_files_are_purged_with_their_task(house: House, tmp_path: Path) -> None:
    """Those of all runs, when the retention has expired; not before."""
    house.submit("1")
    store = house.runtime.store
    first = store_output(house, tmp_path, "1", store.tasks.claim("1", "w").attempt)
    store.tasks.record_crash("1", 1, "it was killed")
    second = store_output(house, tmp_path, "1", store.tasks.claim("1", "w").attempt)
    store.tasks.finish("1", 2, RunOutcome(success=True, results=b"{}", output_attempt=2, output_size=5))
    (delivery,) = store.deliveries.of("1")
    house.give_up(str(delivery["delivery_id"]))
    house.keeper(timedelta(days=1)).run_round(0.0)
    assert first.exists()
    assert second.exists()
    house.keeper(timedelta(seconds=-1)).run_round(0.0)
    assert not first.exists()
    assert not second.exists()
    assert store.tasks.get("1") is None


def test_output_files_without_a_task_are_removed(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs whose process died, even if tasks are kept forever; not those of the run that counts."""
    monkeypatch.setattr("callback_sdk.service.housekeeping._MIN_LOST_AGE", -1.0)
    house.submit("1")
    store = house.runtime.store
    lost = store_output(house, tmp_path, "1", store.tasks.claim("1", "w").attempt)
    house.keeper().run_round(0.0)
    assert lost.exists()
    store.tasks.record_crash("1", 1, "it was killed")
    kept = store_output(house, tmp_path, "1", store.tasks.claim("1", "w").attempt)
    store.tasks.finish("1", 2, RunOutcome(success=True, results=b"{}", output_attempt=2, output_size=5))
    house.keeper().run_round(0.0)
    assert not lost.exists()
    assert kept.exists()
    assert [file.name for file in store.output_files.of("1")] == ["model.bin"]
