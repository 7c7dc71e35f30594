"""The commands that run a service and look after it: `serve`, `worker`, `users` and `db`."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from attrs import evolve

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from callback_sdk.config import ServiceConfig
    from callback_sdk.service.parts import Places
    from callback_sdk.service.store import Store

RegistryName = Annotated[
    str, typer.Argument(metavar="REGISTRY", help="Module and variable: my_package.jobs:registry.", show_default=False)
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder of token, keys, and of database and blobs that have no other place: ./callback-sdk-data, or "
        "CALLBACK_SDK_DATA.",
        show_default=False,
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="sqlite:///PATH or postgresql://HOST/NAME: SQLite in the data folder, or CALLBACK_SDK_DATABASE, which is "
        "the place for a URL with a password.",
        show_default=False,
    ),
]
Blobs = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE",
        help="Folder or s3://BUCKET/PREFIX of large features and results: in the data folder, or CALLBACK_SDK_BLOBS.",
        show_default=False,
    ),
]
Broker = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Celery's broker, amqp://HOST// or redis://HOST/0; or CALLBACK_SDK_BROKER, which is the place for a URL "
        "with a password.",
        show_default=False,
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1024,
        help="Algorithms that run at a time: one for each CPU, or CALLBACK_SDK_PROCESSES.",
        show_default=False,
    ),
]
Grace = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="How long running tasks may go on after SIGTERM: 20s, or CALLBACK_SDK_GRACE. Then they are given back.",
        show_default=False,
    ),
]
LogFormat = Annotated[
    str | None, typer.Option(metavar="text|json", help="text, or CALLBACK_SDK_LOG_FORMAT.", show_default=False)
]
StorageEndpoint = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL",
        help="An object store beside the well-known ones; repeatable. CALLBACK_SDK_STORAGE_ENDPOINTS.",
        show_default=False,
    ),
]
AllowNetwork = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CIDR",
        help="A network that is not public and may be reached all the same; repeatable. CALLBACK_SDK_ALLOW_NETWORKS.",
        show_default=False,
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="A host that may be reached whatever its address is, or *.NAME for all below it; repeatable. "
        "CALLBACK_SDK_ALLOW_HOSTS.",
        show_default=False,
    ),
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]

users = typer.Typer(name="users", help="Who may use a service.", no_args_is_help=True)
db = typer.Typer(name="db", help="The database of a service, and its encryption keys.", no_args_is_help=True)


def serve(
    registry: RegistryName,
    *,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen at: 127.0.0.1, or CALLBACK_SDK_HOST.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port: 8000, or CALLBACK_SDK_PORT. 0 takes a free one.", show_default=False
        ),
    ] = None,
    data: Data = None,
    database: Database = None,
    blobs: Blobs = None,
    engine: Annotated[
        str | None,
        typer.Option(help="What runs the tasks: embedded (here), celery (workers), or CALLBACK_SDK_ENGINE."),
    ] = None,
    broker: Broker = None,
    processes: Processes = None,
    grace: Grace = None,
    storage_endpoint: StorageEndpoint = None,
    allow_network: AllowNetwork = None,
    allow_host: AllowHost = None,
    log_format: LogFormat = None,
) -> None:
    """Run the service: take jobs over the REST API, compute them, deliver the results.

    The token of the first user, `admin`, is made at the first start, in the file `token` of the data folder;
    `callback-sdk users` makes more. Callbacks reach public addresses only, and whatever --allow-network and
    --allow-host add. With --engine celery, `callback-sdk worker` runs the tasks, here and on other machines.
    """
    # Here and not above, so that the help is there at once.
    from callback_sdk.service.logs import log_to_stderr
    from callback_sdk.service.server import serve as run_service

    config = _config(
        host=host,
        port=port,
        data=data,
        database=database,
        blobs=blobs,
        engine=engine,
        broker=broker,
        processes=processes,
        grace=grace,
        storage_endpoints=storage_endpoint,
        allow_networks=allow_network,
        allow_hosts=allow_host,
        log_format=log_format,
    )
    log_to_stderr(config.log_format)
    run_service(
        registry,
        host=config.host,
        port=config.port,
        data=config.data,
        database=config.database,
        blobs=config.blobs,
        encryption_keys=config.encryption_keys,
        engine=config.engine,
        broker=config.broker,
        processes=config.processes,
        grace=config.grace,
        storage_endpoints=config.storage_endpoints,
        allow_networks=config.allow_networks,
        allow_hosts=config.allow_hosts,
        webhook_secrets=config.webhook_secrets,
        retry_delays=config.retry_delays,
        max_body=config.max_body,
        max_callbacks=config.max_callbacks,
        max_tasks=config.max_tasks,
    )


def worker(
    registry: RegistryName,
    *,
    algorithm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Take tasks of this algorithm only; repeatable. All, unless given.", show_default=False
        ),
    ] = None,
    data: Data = None,
    database: Database = None,
    blobs: Blobs = None,
    broker: Broker = None,
    processes: Processes = None,
    grace: Grace = None,
    storage_endpoint: StorageEndpoint = None,
    allow_network: AllowNetwork = None,
    allow_host: AllowHost = None,
    log_format: LogFormat = None,
) -> None:
    """Run tasks for a service with --engine celery, and deliver their results; on any number of machines.

    Registry, database, broker, blobs, encryption keys and webhook secrets must be the service's own: on another
    machine the keys come by CALLBACK_SDK_ENCRYPTION_KEYS, from the file `keys` of the service's data folder. A GPU
    machine takes only what it is for with --algorithm. SIGTERM ends it, with the grace for running tasks.
    """
    from callback_sdk.service.engines.celery import needed
    from callback_sdk.service.logs import log_to_stderr
    from callback_sdk.service.registry import load
    from callback_sdk.service.server import default_processes
    from callback_sdk.service.worker import chosen, supervise

    given = {
        "data": data,
        "database": database,
        "blobs": blobs,
        "broker": broker,
        "processes": processes,
        "grace": grace,
        "storage_endpoints": storage_endpoint,
        "allow_networks": allow_network,
        "allow_hosts": allow_host,
        "log_format": log_format,
    }
    config = _config(**given)
    log_to_stderr(config.log_format)
    # What is wrong is said once, and not by each process.
    needed(config.broker)
    names = chosen(load(registry), algorithm or ())
    supervise(
        [sys.executable, "-m", "callback_sdk.service.worker", registry, ",".join(names)],
        processes=config.processes or default_processes(),
        environment={**os.environ, **_variables(**given)},
        grace=config.grace,
    )


@users.command("add")
def add_user(
    name: Annotated[str, typer.Argument(help="What the user is called.", show_default=False)],
    *,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password, for log-in at /token/; or read it from a pipe.")
    ] = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Make a user and print an API token, which nothing shows again."""
    from callback_sdk.service.passwords import hash_password
    from callback_sdk.service.tokens import digest, new_api_token

    hashed = hash_password(_ask_password()) if password else None
    with _store(data, database) as store:
        user = store.users.add(_name(name), password=hashed)
        token = new_api_token()
        store.users.add_token(user.user_id, digest(token), label="users add")
    typer.echo(token.reveal())


@users.command("list")
def list_users(*, data: Data = None, database: Database = None, as_json: AsJSON = False) -> None:
    """Show all users."""
    with _store(data, database) as store:
        found = store.users.all()
    shown = [{"name": user.name, "disabled": user.disabled, "password": user.password is not None} for user in found]
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
        return
    for user in shown:
        facts = [word for word in ("disabled", "password") if user[word]]
        typer.echo(f"{user['name']}{'  ' if facts else ''}{', '.join(facts)}")


@users.command("disable")
def disable_user(
    name: Annotated[str, typer.Argument(help="Whom.", show_default=False)],
    *,
    data: Data = None,
    database: Database = None,
) -> None:
    """Shut a user out: no token counts any more. What was submitted still ends and is delivered."""
    with _store(data, database) as store:
        store.users.disable(name)
    typer.echo(f"{name} is disabled.")


@users.command("enable")
def enable_user(
    name: Annotated[str, typer.Argument(help="Whom.", show_default=False)],
    *,
    data: Data = None,
    database: Database = None,
) -> None:
    """Let a user in again. API tokens count again; access tokens from before don't."""
    with _store(data, database) as store:
        store.users.disable(name, disabled=False)
    typer.echo(f"{name} is enabled.")


@users.command("password")
def set_password(
    name: Annotated[str, typer.Argument(help="Whose.", show_default=False)],
    *,
    data: Data = None,
    database: Database = None,
) -> None:
    """Ask for a new password, or read it from a pipe. Access tokens from before don't count any more."""
    from callback_sdk.service.passwords import hash_password

    hashed = hash_password(_ask_password())
    with _store(data, database) as store:
        store.users.set_password(name, hashed)
    typer.echo(f"{name} has a new password.")


@users.command("token")
def new_token(
    name: Annotated[str, typer.Argument(help="Whose.", show_default=False)],
    *,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke all API tokens that the user had.")] = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Print another API token of a user, which nothing shows again."""
    from callback_sdk.service.tokens import digest, new_api_token

    with _store(data, database) as store:
        user = store.users.named(name)
        if revoke:
            store.users.revoke_tokens(user.user_id)
        token = new_api_token()
        store.users.add_token(user.user_id, digest(token), label="users token")
    typer.echo(token.reveal())


@db.command("upgrade")
def upgrade(*, data: Data = None, database: Database = None) -> None:
    """Bring the database up to date, or make it. Stop services and workers, and make a backup, before."""
    from callback_sdk.service.store import open_database, schema

    places = _places(data, database, make=True)
    with _no_service(places.data):
        opened = open_database(places.database_url())
        try:
            before, after = schema.upgrade(opened, places.vault())
        finally:
            opened.close()
    if before is None:
        typer.echo(f"The database was made, with revision {after}.")
    else:
        typer.echo(f"Revision {before} -> {after}." if before != after else f"The database has revision {after}.")


@db.command("new-key")
def new_key() -> None:
    """Print a new encryption key for CALLBACK_SDK_ENCRYPTION_KEYS.

    To change keys, put the new one before the old one everywhere, start everything again, run `callback-sdk db
    rotate`, and then leave the old one out.
    """
    from callback_sdk.service import vault

    typer.echo(vault.new_key().reveal())


@db.command("rotate")
def rotate(*, data: Data = None, database: Database = None) -> None:
    """Encrypt all credentials in the database anew, with the first of the keys."""
    from callback_sdk.service.store import schema

    with _store(data, database) as store:
        count = schema.rotate(store.database, _places(data, database).vault())
    typer.echo(f"{count} deliveries have the newest key.")


def _config(**given: Any) -> ServiceConfig:
    """Return the environment's settings with those of the command line over them."""
    from callback_sdk.config import ServiceConfig
    from callback_sdk.readings import parse_duration
    from callback_sdk.redaction import Secret

    changes = {name: value for name, value in given.items() if value is not None and value != []}
    for name in ("database", "broker"):
        if name in changes:
            changes[name] = Secret(changes[name])
    for name in ("storage_endpoints", "allow_networks", "allow_hosts"):
        if name in changes:
            changes[name] = tuple(changes[name])
    if "grace" in changes:
        try:
            changes["grace"] = parse_duration(changes["grace"])
        except ValueError:
            raise typer.BadParameter("Give a number with s, m or h after it.", param_hint="--grace") from None
    if changes.get("log_format", "text") not in ("text", "json"):
        raise typer.BadParameter("Give text or json.", param_hint="--log-format")
    config: ServiceConfig = evolve(cast("Any", ServiceConfig.from_environ()), **changes)
    return config


def _variables(**given: Any) -> dict[str, str]:
    """Return what was given on the command line as the variables that say the same."""
    return {
        f"CALLBACK_SDK_{name.upper()}": ",".join(value) if isinstance(value, list) else str(value)
        for name, value in given.items()
        if value is not None
    }


def _places(data: Path | None, database: str | None, *, make: bool = False) -> Places:
    """Return where a service keeps what; unless it is to be made, there must be something already."""
    from callback_sdk.errors import ConfigurationError
    from callback_sdk.service.parts import Places

    config = _config(data=data, database=database)
    folder = config.data.absolute()
    if make:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif config.database is None and not (folder / "store.sqlite3").is_file():
        raise ConfigurationError(
            f"There is no service's database in the folder {config.data}.",
            hint="Name its folder with --data, or the database with --database URL; callback-sdk db upgrade makes one.",
        )
    elif config.database is not None and not config.encryption_keys and not (folder / "keys").is_file():
        raise ConfigurationError(
            f"There are no encryption keys in the folder {config.data}.",
            hint="Name the service's data folder with --data, or give CALLBACK_SDK_ENCRYPTION_KEYS its keys.",
        )
    return Places(data=folder, database=config.database, keys=config.encryption_keys)


@contextmanager
def _no_service(folder: Path) -> Iterator[None]:
    """Keep services off a data folder; several commands may do so at once.

    Raises:
        ConfigurationError: One is there already.
    """
    from callback_sdk.errors import ConfigurationError

    with os.fdopen(os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"A service uses the data folder {folder}.", hint="Stop it, and run the command again."
            ) from None
        yield


def _store(data: Path | None, database: str | None) -> AbstractContextManager[Store]:
    from contextlib import closing

    from callback_sdk.service.store import Store, open_database

    places = _places(data, database)
    return closing(Store(open_database(places.database_url()), places.vault()))


def _name(name: str) -> str:
    if not 1 <= len(name) <= 128 or not name.isprintable() or name != name.strip():
        raise typer.BadParameter("A name has 1 to 128 printable characters.", param_hint="NAME")
    return name


def _ask_password() -> Any:
    from callback_sdk.redaction import Secret

    if sys.stdin.isatty():
        return Secret(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return Secret(sys.stdin.readline().rstrip("\n"))
