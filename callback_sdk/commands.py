"""The commands of `callback-sdk`; their help is their manual."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer
from attrs import evolve

from callback_sdk import outbox_commands
from callback_sdk._version import __version__

app = typer.Typer(
    name="callback-sdk",
    help="Hand over the result of a compute job to somebody who is no longer waiting.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback with locals could show a credential.
    pretty_exceptions_enable=False,
)
app.add_typer(outbox_commands.app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"callback-sdk {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    registry: Annotated[str, typer.Argument(metavar="REGISTRY", help="Module and variable: my_package.jobs:registry.")],
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
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of database, blobs and token: ./callback-sdk-data, or CALLBACK_SDK_DATA.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Algorithms that run at a time: one for each CPU, or CALLBACK_SDK_PROCESSES.",
            show_default=False,
        ),
    ] = None,
    storage_endpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="An object store beside the well-known ones; repeatable. CALLBACK_SDK_STORAGE_ENDPOINTS.",
            show_default=False,
        ),
    ] = None,
    allow_network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR",
            help="A network that is not public and may be reached all the same; repeatable. "
            "CALLBACK_SDK_ALLOW_NETWORKS.",
            show_default=False,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A host that may be reached whatever its address is, or *.NAME for all below it; repeatable. "
            "CALLBACK_SDK_ALLOW_HOSTS.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the service: take jobs over the REST API, compute them, deliver the results.

    The token that clients need is made at the first start, in the file `token` of the data folder. Callbacks
    reach public addresses only, and whatever --allow-network and --allow-host add.
    """
    # Here and not above, so that the help is there at once.
    from callback_sdk.config import ServiceConfig, WriterConfig
    from callback_sdk.service.server import serve as run_service

    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "data": data,
        "processes": processes,
        "storage_endpoints": tuple(storage_endpoint or ()) or None,
        "allow_networks": tuple(allow_network or ()) or None,
        "allow_hosts": tuple(allow_host or ()) or None,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    config: ServiceConfig = evolve(cast("Any", ServiceConfig.from_environ()), **changes)
    webhook_secrets = WriterConfig.from_environ().webhook_secrets
    run_service(
        registry,
        host=config.host,
        port=config.port,
        data=config.data,
        processes=config.processes,
        storage_endpoints=config.storage_endpoints,
        allow_networks=config.allow_networks,
        allow_hosts=config.allow_hosts,
        webhook_secrets=webhook_secrets,
    )


@app.command()
def demo(
    *,
    bucket: Annotated[
        str | None, typer.Option(help="An S3 bucket of yours, in place of a local store.", show_default=False)
    ] = None,
    prefix: Annotated[str, typer.Option(help="What the keys in that bucket begin with.")] = "callback-sdk-demo/",
    region: Annotated[str | None, typer.Option(help="The bucket's region.", show_default=False)] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(help="An S3-compatible store that holds the bucket.", show_default=False)
    ] = None,
) -> None:
    """Run one real job on local servers, with three callbacks, and show what arrives.

    A presigned PUT and a presigned POST go to an object store, the third result to a webhook. Nothing is left
    when it ends: no process, no file, no object. With --bucket, boto3 finds the credentials where it always does.
    """
    from callback_sdk.demo import Place, run

    run(Place(bucket=bucket, prefix=prefix, region=region, endpoint_url=endpoint_url))
