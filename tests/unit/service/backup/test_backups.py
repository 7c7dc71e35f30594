"""callback_sdk.service.backup.backups"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from attrs import evolve

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.service.backup import RestoreSummary, back_up, restore
from callback_sdk.service.backup import backups as module
from callback_sdk.service.blobs import BlobStorage, features_name, results_name
from callback_sdk.service.runtime import StorageLocations
from callback_sdk.service.store import RunOutcome, Store, StoreUnavailableError, Submission, TaskRow, open_database
from callback_sdk.service.store.cipher import new_key
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.testing.postgres import _find_programs

KEY = new_key()
HOOK = "https://example.org/hook"


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find pg_dump and pg_restore."""
    monkeypatch.setenv("PATH", f"{_find_programs()}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def storage(database_url: Secret[str], tmp_path: Path) -> StorageLocations:
    """Give the storage locations of a service."""
    (tmp_path / "old").mkdir()
    return StorageLocations(data=tmp_path / "old", database=database_url, keys=(KEY,))


@pytest.fixture
def elsewhere(storage: StorageLocations, tmp_path: Path, request: pytest.FixtureRequest) -> StorageLocations:
    """Give those of another service, with an empty database of the same kind."""
    (tmp_path / "new").mkdir()
    url = None if storage.is_sqlite else Secret(request.getfixturevalue("callback_postgres").create_database())
    return StorageLocations(data=tmp_path / "new", database=url, keys=(KEY,))


@pytest.fixture
def store(storage: StorageLocations) -> Iterator[Store]:
    """Give the store of the service."""
    with closing(opened(storage)) as found:
        yield found


def opened(storage: StorageLocations) -> Store:
    return Store(open_database(storage.database_url()), storage.cipher())


def submit(store: Store, job_id: str) -> None:
    task = TaskRow(job_id=job_id, owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, targets=parse_callbacks([HOOK]), features=None)])


def put(blobs: BlobStorage, name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(name.encode() * 1000)
    blobs.put(source, name)


def test_a_restored_service_continues_where_the_backup_was_made(
    storage: StorageLocations, elsewhere: StorageLocations, store: Store, tmp_path: Path
) -> None:
    """Queued and running tasks are queued, without a crash; ended ones are delivered with the same ids; no sessions."""
    blobs = storage.open_blobs()
    for job_id in ("queued", "running", "ended"):
        submit(store, job_id)
        put(blobs, features_name(job_id), tmp_path)
    store.tasks.claim("running", "w")
    attempt = store.tasks.claim("ended", "w").attempt
    put(blobs, results_name("ended", attempt), tmp_path)
    store.tasks.finish("ended", attempt, RunOutcome(success=True))
    (delivery,) = store.deliveries.of("ended")
    store.deliveries.claim(delivery["delivery_id"], "w")
    made = back_up(storage, tmp_path / "backup")
    assert (made.blobs, made.blob_bytes > 0) == (4, True)
    # What happens later isn't restored.
    submit(store, "later")
    store.tasks.cancel("queued")
    assert restore(elsewhere, tmp_path / "backup") == RestoreSummary(queued=2, running=1, deliveries=1)
    with closing(opened(elsewhere)) as found:
        assert sorted(found.queue.fetch_due(9, redispatch_after=30.0)) == ["queued", "running"]
        assert found.tasks.get("running")["crash_count"] == 0
        assert found.tasks.get("later") is None
        assert found.deliveries.fetch_due(9, redispatch_after=30.0) == [(delivery["delivery_id"], "example.org")]
    new = elsewhere.open_blobs()
    for name in (features_name("queued"), results_name("ended", attempt)):
        with new.fetch(name, tmp_path) as path:
            assert path.read_bytes() == name.encode() * 1000


def test_blobs_that_are_removed_during_a_backup_are_in_it(
    storage: StorageLocations, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was copied before: there the task is queued. Afterwards they are removed."""
    blobs = storage.open_blobs()
    submit(store, "1")
    put(blobs, features_name("1"), tmp_path)
    copy = type(store.database).copy

    def copy_and_end(database, target: Path) -> None:
        copy(database, target)
        store.tasks.cancel("1")
        other = storage.open_blobs()
        other.remove(features_name("1"))
        other.clean(frozenset())

    monkeypatch.setattr(type(store.database), "copy", copy_and_end)
    back_up(storage, tmp_path / "backup")
    assert (tmp_path / "backup" / "blobs" / features_name("1")).exists()
    assert not (tmp_path / "old" / "blobs" / features_name("1")).exists()
    blobs.clean(frozenset())
    assert [path for path in (tmp_path / "old" / "blobs").rglob("*") if path.is_file()] == []


def test_nobody_else_may_read_a_backup(storage: StorageLocations, store: Store, tmp_path: Path) -> None:
    """Neither its directory nor a file in it, which may be copied elsewhere."""
    submit(store, "1")
    put(storage.open_blobs(), features_name("1"), tmp_path)
    back_up(storage, tmp_path / "backup")
    found = [tmp_path / "backup", *(tmp_path / "backup").rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in found if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in found if path.is_dir()} == {0o700}


def test_a_backup_has_no_key(storage: StorageLocations, store: Store, tmp_path: Path) -> None:
    """And nobody else can read it."""
    submit(store, "1")
    back_up(evolve(storage, data=tmp_path / "old"), tmp_path / "backup")
    files = [path for path in (tmp_path / "backup").rglob("*") if path.is_file()]
    assert len(files) == 2
    assert all(KEY.reveal().encode() not in path.read_bytes() for path in files)
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700


def test_a_restore_needs_the_keys_of_the_old_service(
    storage: StorageLocations, elsewhere: StorageLocations, store: Store, tmp_path: Path
) -> None:
    """With others it fails, and leaves no database in the data directory."""
    back_up(storage, tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="other keys"):
        restore(evolve(elsewhere, keys=(new_key(),)), tmp_path / "backup")
    assert not storage.is_sqlite or list((tmp_path / "new").iterdir()) == []


def test_nothing_is_replaced(
    storage: StorageLocations, elsewhere: StorageLocations, store: Store, tmp_path: Path
) -> None:
    """Neither by a backup nor by a restore."""
    back_up(storage, tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="exists"):
        back_up(storage, tmp_path / "backup")
    restore(elsewhere, tmp_path / "backup")
    with pytest.raises(ConfigurationError, match=r"exists|not empty"):
        restore(elsewhere, tmp_path / "backup")


def test_a_log_that_is_left_of_an_old_database_is_not_applied_to_the_restored_one(
    tmp_path: Path, elsewhere: StorageLocations, storage: StorageLocations, store: Store
) -> None:
    """SQLite would, and damage the file."""
    if not storage.is_sqlite:
        return
    back_up(storage, tmp_path / "backup")
    (tmp_path / "new" / "store.sqlite3-wal").write_bytes(b"old")
    with pytest.raises(ConfigurationError, match=r"store\.sqlite3-wal exists"):
        restore(elsewhere, tmp_path / "backup")


def test_a_failed_backup_leaves_nothing(
    storage: StorageLocations, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has the name of the backup before all is written."""
    submit(store, "1")
    put(storage.open_blobs(), features_name("1"), tmp_path)

    def fail(*_: object) -> None:
        assert not (tmp_path / "backup").exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_new", fail)
    with pytest.raises(ConfigurationError, match="No space left"):
        back_up(storage, tmp_path / "backup")
    assert [path for path in tmp_path.iterdir() if "backup" in path.name] == []


def test_what_is_not_a_complete_backup_is_not_restored(
    storage: StorageLocations, elsewhere: StorageLocations, store: Store, tmp_path: Path
) -> None:
    """Such as one that was interrupted, or another directory."""
    back_up(storage, tmp_path / "backup")
    (tmp_path / "backup" / "backup.json").unlink()
    for source in (tmp_path / "backup", tmp_path / "old", tmp_path / "none"):
        with pytest.raises(ConfigurationError, match="isn't a complete backup"):
            restore(elsewhere, source)


def test_a_backup_without_its_empty_directories_is_restored(
    storage: StorageLocations, elsewhere: StorageLocations, store: Store, tmp_path: Path
) -> None:
    """Object stores have no empty directories."""
    submit(store, "1")
    put(storage.open_blobs(), features_name("1"), tmp_path)
    back_up(storage, tmp_path / "backup")
    for folder in [path for path in (tmp_path / "backup" / "blobs").iterdir() if not any(path.iterdir())]:
        folder.rmdir()
    assert restore(elsewhere, tmp_path / "backup").queued == 1
    assert (tmp_path / "new" / "blobs" / features_name("1")).read_bytes() == features_name("1").encode() * 1000


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 10)], ids=["missing", "truncated"])
def test_a_backup_with_fewer_blobs_than_it_was_made_with_is_not_restored(
    storage: StorageLocations,
    elsewhere: StorageLocations,
    store: Store,
    tmp_path: Path,
    damage: Callable[[Path], None],
) -> None:
    """Otherwise the loss would be noticed when a result is read, or a task fails."""
    submit(store, "1")
    put(storage.open_blobs(), features_name("1"), tmp_path)
    back_up(storage, tmp_path / "backup")
    damage(tmp_path / "backup" / "blobs" / features_name("1"))
    with pytest.raises(ConfigurationError, match="was made with 1 of") as caught:
        restore(elsewhere, tmp_path / "backup")
    assert "complete backup again" in str(caught.value.hint)
    assert not (tmp_path / "new" / "store.sqlite3").exists()


def test_programs_of_postgres_are_named_if_they_are_missing_or_fail(
    storage: StorageLocations,
    elsewhere: StorageLocations,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With what to install, and without the password."""
    if storage.is_sqlite:
        return
    back_up(storage, tmp_path / "backup")
    (tmp_path / "backup" / "store.pgdump").write_bytes(b"damaged")
    with pytest.raises(StoreUnavailableError, match="pg_restore failed: ") as caught:
        restore(elsewhere, tmp_path / "backup")
    assert storage.database_url().reveal() not in str(caught.value)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfigurationError, match=r"pg_dump was not found.*postgresql-client"):
        back_up(storage, tmp_path / "again")
    assert not (tmp_path / "again").exists()
