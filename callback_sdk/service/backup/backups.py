"""Backup and restore of a service: the database, and large features and results if they are in a directory.

A backup is a directory. It has its name only when it is complete and checked. The encryption keys are not in it.
"""

from __future__ import annotations

import json
from contextlib import closing, nullcontext
from pathlib import Path

from attrs import asdict, define

from callback_sdk._version import __version__
from callback_sdk.errors import ConfigurationError
from callback_sdk.filesystem.files import create_file, write_new
from callback_sdk.models import PENDING
from callback_sdk.redaction import Secret
from callback_sdk.service.backup.new_files import new_directory, new_file, temporary_copy
from callback_sdk.service.blobs.folder import KINDS, DirectoryStorage
from callback_sdk.service.runtime import StorageLocations
from callback_sdk.service.store import Store, open_database, schema
from callback_sdk.service.store.store import sqlite_path

_SQLITE = "store.sqlite3"
_POSTGRES = "store.pgdump"
_BLOBS = "blobs"
_FACTS = "backup.json"

_FOREVER = 1e9
"""Seconds by which no heartbeat is ahead."""


@define(frozen=True, kw_only=True)
class Backup:
    """What a backup has.

    Attributes:
        package_version: Version of this package that made it.
        revision: Revision of the database's schema.
        blobs: Number of copied blobs; None if they are in a bucket, which isn't copied.
        blob_bytes: Bytes of these blobs.
    """

    package_version: str
    revision: str
    blobs: int | None
    blob_bytes: int


@define(frozen=True, kw_only=True)
class RestoreSummary:
    """What a restored service will do.

    Attributes:
        queued: Number of queued tasks, including those that were running.
        running: Number of tasks that were running when the backup was made. They run again.
        deliveries: Number of pending deliveries of ended tasks.
    """

    queued: int
    running: int
    deliveries: int


def back_up(storage: StorageLocations, target: Path) -> Backup:
    """Make a backup while services and workers run.

    Args:
        storage: The storage locations of the service.
        target: The directory to create.

    Raises:
        ConfigurationError: The target exists or can't be written, or a program is missing.
        StoreUnavailableError: The database can't be reached.
        BlobStorageError: The blobs can't be read.
    """
    if target.exists():
        raise ConfigurationError(f"{target} exists.", hint="Give the name of a new directory.")
    blobs = storage.open_blobs()
    # First the database: it refers to no blob that doesn't exist yet, and none is removed before it is copied.
    kept = blobs.kept() if isinstance(blobs, DirectoryStorage) else nullcontext()
    with new_directory(target) as folder, closing(open_database(storage.database_url())) as database, kept:
        revision = schema.revision(database)
        if revision is None:
            raise ConfigurationError("The database is empty: there is nothing to back up.")
        copy = folder / (_SQLITE if _sqlite_path(storage) else _POSTGRES)
        # SQLite and pg_dump create files that others may read, and a directory may be copied without its mode.
        create_file(copy).close()
        database.copy(copy)
        count, size = blobs.copy_all(folder / _BLOBS) if isinstance(blobs, DirectoryStorage) else (None, 0)
        made = Backup(package_version=__version__, revision=revision, blobs=count, blob_bytes=size)
        write_new(folder / _FACTS, [json.dumps(asdict(made), indent=2).encode()])
    return made


def restore(storage: StorageLocations, source: Path) -> RestoreSummary:
    """Restore a backup to a data directory without a database, or to an empty database of a PostgreSQL server.

    Tasks that were running are queued again, without counting a crash, and all users are logged out.

    Args:
        storage: The storage locations of the new service, with the encryption keys of the old one.
        source: The backup.

    Raises:
        ConfigurationError: There is a database already, the backup is incomplete, or the encryption keys are others.
        StoreUnavailableError: The database can't be reached or written.
        BlobStorageError: The blobs can't be written.
    """
    made, path = _read_facts(source), _sqlite_path(storage)
    copy = source / (_SQLITE if path else _POSTGRES)
    if not copy.exists():
        raise ConfigurationError(
            f"{source} isn't a backup of {'a SQLite' if path else 'a PostgreSQL'} database.",
            hint="Restore it to a database of the same kind, with --database.",
        )
    _refuse_missing_blobs(source, made)
    if path is None:
        return _load(storage, storage.database_url(), copy, made)
    _refuse_existing(path)
    with new_file(path) as new:
        return _load(storage, Secret(f"sqlite:///{new}"), copy, made)


def _load(storage: StorageLocations, url: Secret[str], copy: Path, made: Backup) -> RestoreSummary:
    with closing(open_database(url)) as database:
        if schema.revision(database) is not None:
            raise ConfigurationError(
                f"The database {database.place} is not empty.", hint="Create another one, and name it with --database."
            )
        database.load(copy)
        store = Store(database, storage.cipher())
        # The workers that had the claims don't exist any more.
        running = store.tasks.release_all()
        store.deliveries.reclaim(silent_for=-_FOREVER)
        store.sessions.delete_all()
        store.workers.remove_all()
        _restore_blobs(storage, copy.parent, made)
        return RestoreSummary(
            queued=store.tasks.counts()[PENDING], running=running, deliveries=store.deliveries.counts()["pending"]
        )


def _restore_blobs(storage: StorageLocations, source: Path, made: Backup) -> None:
    if made.blobs is not None:
        blobs = storage.open_blobs()
        for kind, path in _blobs_in(source):
            with temporary_copy(path, storage.data) as copy:
                blobs.put(copy, f"{kind}/{path.name}")


def _refuse_missing_blobs(source: Path, made: Backup) -> None:
    sizes = [path.stat().st_size for _, path in _blobs_in(source)] if made.blobs is not None else []
    if made.blobs is not None and (len(sizes), sum(sizes)) != (made.blobs, made.blob_bytes):
        raise ConfigurationError(
            f"{source} has {len(sizes)} blobs of {sum(sizes)} bytes, and was made with {made.blobs} of "
            f"{made.blob_bytes} bytes.",
            hint="Copy the complete backup again from where it was made or stored.",
        )


def _blobs_in(source: Path) -> list[tuple[str, Path]]:
    # Object stores have no empty directories, so a backup that comes back from one has none either.
    return [(kind, path) for kind in KINDS for path in sorted((source / _BLOBS / kind).glob("[!.]*"))]


def _sqlite_path(storage: StorageLocations) -> Path | None:
    return sqlite_path(storage.database_url())


def _refuse_existing(path: Path) -> None:
    """Refuse to replace a database.

    SQLite would apply a log that is left beside the file to the restored one, which would be damaged.
    """
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        if path.with_name(name).exists():
            raise ConfigurationError(
                f"{path.with_name(name)} exists.",
                hint=f"Stop the service, and move {path.name}, {path.name}-wal and {path.name}-shm to another "
                "directory, or give another --data-dir.",
            )


def _read_facts(source: Path) -> Backup:
    try:
        return Backup(**json.loads((source / _FACTS).read_bytes()))
    except (OSError, ValueError, TypeError):
        raise ConfigurationError(
            f"{source} isn't a complete backup.", hint="Give a directory that `callback-sdk db backup` has created."
        ) from None
