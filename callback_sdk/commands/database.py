"""The commands of `callback-sdk db`: the database of a service, and its encryption keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from callback_sdk.commands.options import STORAGE, AsJSON, takes_settings
from callback_sdk.commands.printing import print_outcome
from callback_sdk.commands.stores import find_places, no_service, open_store

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig

app = typer.Typer(name="db", help="Manage the database of a service, and its encryption keys.", no_args_is_help=True)


@app.command("upgrade")
@takes_settings(*STORAGE)
def upgrade(*, config: ServiceConfig, as_json: AsJSON = False) -> None:
    """Create the database, or migrate it to this version. Stop services and workers and make a backup before."""
    from callback_sdk.service.store import open_database, schema

    places = find_places(config, make=True)
    with no_service(places.data):
        opened = open_database(places.database_url())
        try:
            before, after = schema.upgrade(opened, places.cipher())
        finally:
            opened.close()
    text = f"Revision {before} -> {after}." if before != after else f"The database has revision {after}."
    if before is None:
        text = f"Created the database with revision {after}."
    print_outcome(text, {"before": before, "after": after}, as_json=as_json)


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
