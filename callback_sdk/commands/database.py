"""The commands of `callback-sdk db`: the database of a service, and its encryption keys."""

from __future__ import annotations

import typer

from callback_sdk.commands.options import Data, Database
from callback_sdk.commands.printing import print_line
from callback_sdk.commands.stores import find_places, no_service, open_store

app = typer.Typer(name="db", help="The database of a service, and its encryption keys.", no_args_is_help=True)


@app.command("upgrade")
def upgrade(*, data: Data = None, database: Database = None) -> None:
    """Bring the database up to date, or make it. Stop services and workers, and make a backup, before."""
    from callback_sdk.service.store import open_database, schema

    places = find_places(data, database, make=True)
    with no_service(places.data):
        opened = open_database(places.database_url())
        try:
            before, after = schema.upgrade(opened, places.vault())
        finally:
            opened.close()
    if before is None:
        print_line(f"The database was made, with revision {after}.")
    else:
        print_line(f"Revision {before} -> {after}." if before != after else f"The database has revision {after}.")


@app.command("new-key")
def new_key() -> None:
    """Print a new encryption key for CALLBACK_SDK_ENCRYPTION_KEYS.

    To change keys, put the new one before the old one everywhere, start everything again, run `callback-sdk db
    rotate`, and then leave the old one out.
    """
    from callback_sdk.service.access import cipher

    print_line(cipher.new_key().reveal())


@app.command("rotate")
def rotate(*, data: Data = None, database: Database = None) -> None:
    """Encrypt all credentials in the database anew, with the first of the keys."""
    from callback_sdk.service.store import schema

    with open_store(data, database) as store:
        count = schema.rotate(store.database, find_places(data, database).vault())
    print_line(f"{count} deliveries have the newest key.")
