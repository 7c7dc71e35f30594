"""The options that commands share, and the settings that they make together with the environment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from attrs import evolve

if TYPE_CHECKING:
    from callback_sdk.config import ServiceConfig

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
MemoryLimit = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory that a run may take whose algorithm has no limit of its own, such as 2GB: 80 % of the machine's "
        "or the container's divided by the processes, or CALLBACK_SDK_MEMORY_LIMIT; none for any.",
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
Keep = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="How long tasks are kept after their end, with results and deliveries, such as 90d: for ever, or "
        "CALLBACK_SDK_KEEP.",
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
        metavar="CIDR[:PORT]",
        help="A network that is not public and may be reached all the same: 10.20.0.0/16:9000, [fd00::/8]:9000; "
        "without a port at 80 (http) and 443 (https) only, with :* at every port; repeatable. "
        "CALLBACK_SDK_ALLOW_NETWORKS.",
        show_default=False,
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[:PORT]",
        help="A host that may be reached whatever its address is, or *.NAME for all below it: minio.internal:9000; "
        "without a port at 80 (http) and 443 (https) only, with :* at every port; repeatable. "
        "CALLBACK_SDK_ALLOW_HOSTS.",
        show_default=False,
    ),
]
PassEnv = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="A variable of the environment that algorithms get besides PATH, HOME, LANG, TZ and the like, which hold "
        "no credentials; repeatable. CALLBACK_SDK_PASS_ENV.",
        show_default=False,
    ),
]
MaxBytes = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Bytes that the tasks of one user may take, such as 500GiB: 100GiB, or CALLBACK_SDK_MAX_BYTES.",
        show_default=False,
    ),
]
MaxConnections = Annotated[
    int | None,
    typer.Option(
        min=8,
        max=999_999,
        help="Connections at a time: 1000, or CALLBACK_SDK_MAX_CONNECTIONS; never more than half of the limit on open "
        "files.",
        show_default=False,
    ),
]
MaxConnectionsPerAddress = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=999_999,
        help="Connections at a time from one IPv4 address or IPv6 /64 network: 200, or "
        "CALLBACK_SDK_MAX_CONNECTIONS_PER_ADDRESS.",
        show_default=False,
    ),
]
TrustedProxy = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CIDR",
        help="A reverse proxy in front of the service, whose X-Forwarded-For says where a request comes from; "
        "repeatable. Loopback, or CALLBACK_SDK_TRUSTED_PROXIES; none for none.",
        show_default=False,
    ),
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def duration(text: str, option: str) -> timedelta:
    """Read an option's duration.

    Raises:
        typer.BadParameter: It is not a number with a unit.
    """
    from callback_sdk.parsing import DURATION_FORMAT, parse_duration

    try:
        return parse_duration(text)
    except ValueError:
        raise typer.BadParameter(f"Give {DURATION_FORMAT}.", param_hint=option) from None


def settings(**given: Any) -> ServiceConfig:
    """Return the environment's settings with those of the command line over them."""
    from callback_sdk.config import ServiceConfig
    from callback_sdk.redaction import Secret

    changes = {name: value for name, value in given.items() if value is not None and value != []}
    for name in ("database", "broker"):
        if name in changes:
            changes[name] = Secret(changes[name])
    for name in ("storage_endpoints", "allow_networks", "allow_hosts", "pass_env", "trusted_proxies"):
        if name in changes:
            changes[name] = tuple(changes[name])
    if "trusted_proxies" in changes:
        changes["trusted_proxies"] = _networks(changes["trusted_proxies"], "--trusted-proxy")
    for name in {"grace", "keep", "startup_timeout"}.intersection(changes):
        changes[name] = duration(changes[name], f"--{name.replace('_', '-')}")
    if "memory_limit" in changes:
        changes["memory_limit"] = _size(changes["memory_limit"], "--memory-limit")
    if "max_bytes" in changes:
        changes["max_bytes"] = _size(changes["max_bytes"], "--max-bytes")
    if changes.get("log_format", "text") not in ("text", "json"):
        raise typer.BadParameter("Give text or json.", param_hint="--log-format")
    config: ServiceConfig = evolve(cast("Any", ServiceConfig.from_environ()), **changes)
    return config


def _size(text: str, option: str) -> float:
    from callback_sdk.parsing import SIZE_FORMAT, parse_size

    try:
        return parse_size(text)
    except ValueError:
        raise typer.BadParameter(f"Give {SIZE_FORMAT}.", param_hint=option) from None


def _networks(given: tuple[str, ...], option: str) -> tuple[str, ...]:
    from callback_sdk.config import networks_or_none

    try:
        return networks_or_none(" ".join(given))
    except ValueError:
        raise typer.BadParameter("Give a network such as 10.20.0.0/16, or none.", param_hint=option) from None


def variables(**given: Any) -> dict[str, str]:
    """Return what was given on the command line as the variables that say the same."""
    return {
        f"CALLBACK_SDK_{name.upper()}": ",".join(value) if isinstance(value, list) else str(value)
        for name, value in given.items()
        if value is not None
    }
