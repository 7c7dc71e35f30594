"""Opens the data directory and the database of a service, for the commands `db` and `users`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from callback_sdk.config.service import ServiceConfig
    from callback_sdk.service.runtime import StorageLocations
    from callback_sdk.service.store import Store


def find_places(config: ServiceConfig, *, make: bool = False) -> StorageLocations:
    """Return the storage locations of a service. The data directory must exist unless `make` is true."""
    from callback_sdk.errors import ConfigurationError
    from callback_sdk.service.files import make_data_folder
    from callback_sdk.service.runtime import StorageLocations

    folder = config.data_dir.absolute()
    if make:
        make_data_folder(folder)
    elif config.database is None and not (folder / "store.sqlite3").is_file():
        raise ConfigurationError(
            f"The directory {config.data_dir} has no database of a service.",
            hint="Give the service's data directory with --data-dir, or its database with --database URL; "
            "callback-sdk db upgrade creates a database.",
        )
    elif config.database is not None and not config.encryption_keys and not (folder / "keys").is_file():
        raise ConfigurationError(
            f"The directory {config.data_dir} has no encryption keys.",
            hint="Give the service's data directory with --data-dir, or set CALLBACK_SDK_ENCRYPTION_KEYS to its keys.",
        )
    return StorageLocations.of(config, folder)


@contextmanager
def no_service(folder: Path) -> Iterator[None]:
    """Lock a data directory against services, with a lock that several commands can hold at once.

    Raises:
        ConfigurationError: A service uses the directory.
    """
    from callback_sdk.errors import ConfigurationError
    from callback_sdk.filesystem.files import PRIVATE
    from callback_sdk.filesystem.locks import try_lock

    with os.fdopen(os.open(folder / "lock", os.O_CREAT | os.O_RDWR | PRIVATE, 0o600)) as lock:
        if try_lock(lock.fileno(), shared=True) is False:
            raise ConfigurationError(
                f"A service uses the data directory {folder}.", hint="Stop the service, and run the command again."
            )
        yield


def open_store(config: ServiceConfig) -> AbstractContextManager[Store]:
    from contextlib import closing

    from callback_sdk.service.store import Store, open_database

    places = find_places(config)
    return closing(Store(open_database(places.database_url()), places.cipher()))
