"""The commands of `callback-sdk db`: the database of a service, and its encryption keys."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callback_sdk.commands.options import STORAGE, AsJSON, takes_settings
from callback_sdk.commands.printing import print_line, print_outcome
from callback_sdk.commands.stores import find_places, no_service, open_store
from callback_sdk.config.settings import BLOB_STORAGE

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig

app = typer.Typer(name="db", help="Manage the database of a service, and its encryption keys.", no_args_is_help=True)


@app.command("upgrade")
@takes_settings(*STORAGE)
def upgrade(*, config: ServiceConfig, as_json: AsJSON = False) -> None:
    """Create the database, or migrate it to this version. Make a backup before.

    Stop the service before if the database is SQLite. Services and workers of the previous version may continue to use
    a PostgreSQL database.
    """
    from callback_sdk.service.store import open_database, schema

    places = find_places(config, make=True)
    with no_service(places.data) if places.is_sqlite else nullcontext():
        opened = open_database(places.database_url())
        try:
            before, after = schema.upgrade(opened, places.cipher())
        finally:
            opened.close()
    text = f"Revision {before} -> {after}." if before != after else f"The database has revision {after}."
    if before is None:
        text = f"Created the database with revision {after}."
    print_outcome(text, {"before": before, "after": after}, as_json=as_json)


@app.command("backup")
@takes_settings(*STORAGE, BLOB_STORAGE)
def backup(
    target: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Directory to create.", show_default=False)],
    *,
    as_json: AsJSON = False,
    config: ServiceConfig,
) -> None:
    """Back up a service while it runs: its database, and large features and results that are in a directory.

    The directory is created when the backup is complete and checked. The encryption keys are not in it: keep them in
    another place. A PostgreSQL database is copied by pg_dump.
    """
    from attrs import asdict

    from callback_sdk.service.backup import back_up

    made = back_up(find_places(config), target.absolute())
    blobs = "the blobs in the bucket are not copied"
    if made.blobs is not None:
        blobs = f"{made.blobs} {'blob' if made.blobs == 1 else 'blobs'} ({made.blob_bytes} bytes)"
    print_outcome(f"Backed up the database of revision {made.revision}; {blobs}.", asdict(made), as_json=as_json)
    print_line("The encryption keys are not in the backup: nothing can be delivered without them.", err=True)


@app.command("restore")
@takes_settings(*STORAGE, BLOB_STORAGE)
def restore(
    source: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="The backup.", show_default=False)],
    *,
    as_json: AsJSON = False,
    config: ServiceConfig,
) -> None:
    """Restore a backup to a data directory without a database, or to an empty PostgreSQL database.

    Stop the old service before: both would run and deliver the same tasks. The encryption keys must be those of the old
    service, in CALLBACK_SDK_ENCRYPTION_KEYS or in the file keys of the data directory.
    """
    from attrs import asdict

    from callback_sdk.errors import ConfigurationError
    from callback_sdk.service.backup import restore
    from callback_sdk.service.files import make_data_folder
    from callback_sdk.service.runtime import StorageLocations

    data = make_data_folder(config.data_dir)
    if not config.encryption_keys and not (data / "keys").is_file():
        raise ConfigurationError(
            f"The directory {config.data_dir} has no encryption keys.",
            hint="Copy the file keys of the old service to it, or set CALLBACK_SDK_ENCRYPTION_KEYS to its keys.",
        )
    with no_service(data):
        restored = restore(StorageLocations.of(config, data), source.absolute())
    text = (
        f"Restored. The service will run {restored.queued} tasks, of which {restored.running} were running, and make "
        f"{restored.deliveries} deliveries."
    )
    print_outcome(text, asdict(restored), as_json=as_json)


@app.command("generate-key")
def generate_key(*, as_json: AsJSON = False) -> None:
    """Print a new encryption key for CALLBACK_SDK_ENCRYPTION_KEYS.

    To rotate keys, put the new key before the old one on all machines, restart all processes, run `callback-sdk db
    rotate-keys`, and then remove the old key.
    """
    from callback_sdk.service.store import cipher

    key = cipher.new_key()
    print_outcome(key.reveal(), {"key": key.reveal()}, as_json=as_json)


@app.command("rotate-keys")
@takes_settings(*STORAGE)
def rotate_keys(*, config: ServiceConfig, as_json: AsJSON = False) -> None:
    """Re-encrypt all credentials in the database with the first of the keys."""
    from callback_sdk.service.store import schema

    with open_store(config) as store:
        count = schema.rotate(store.database, find_places(config).cipher())
    text = f"Re-encrypted the credentials of {count} {'delivery' if count == 1 else 'deliveries'}."
    print_outcome(text, {"deliveries": count}, as_json=as_json)
