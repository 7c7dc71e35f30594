"""The commands of `callback-sdk db`: the database of a service, and its encryption keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from callback_sdk.commands.options import STORAGE, takes_settings
from callback_sdk.commands.printing import print_line
from callback_sdk.commands.stores import find_places, no_service, open_store

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig

app = typer.Typer(name="db", help="Manage the database of a service, and its encryption keys.", no_args_is_help=True)


@app.command("upgrade")
@takes_settings(*STORAGE)
def upgrade(*, config: ServiceConfig) -> None:
    """Create the database, or migrate it to this version. Stop services and workers and make a backup before."""
    from callback_sdk.service.store import open_database, schema

    places = find_places(config, make=True)
    with no_service(places.data):
        opened = open_database(places.database_url())
        try:
            before, after = schema.upgrade(opened, places.cipher())
        finally:
            opened.close()
    if before is None:
        print_line(f"Created the database with revision {after}.")
    else:
        print_line(f"Revision {before} -> {after}." if before != after else f"The database has revision {after}.")


@app.command("generate-key")
def generate_key() -> None:
    """Print a new encryption key for CALLBACK_SDK_ENCRYPTION_KEYS.

    To rotate keys, put the new key before the old one on all machines, restart all processes, run `callback-sdk db
    rotate-keys`, and then remove the old key.
    """
    from callback_sdk.service.store import cipher

    print_line(cipher.new_key().reveal())


@app.command("rotate-keys")
@takes_settings(*STORAGE)
def rotate_keys(*, config: ServiceConfig) -> None:
    """Re-encrypt all credentials in the database with the first of the keys."""
    from callback_sdk.service.store import schema

    with open_store(config) as store:
        count = schema.rotate(store.database, find_places(config).cipher())
    print_line(f"Re-encrypted the credentials of {count} {'delivery' if count == 1 else 'deliveries'}.")
