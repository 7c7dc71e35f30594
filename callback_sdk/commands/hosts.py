"""The commands of `callback-sdk hosts`: hosts that a service delivers to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from callback_sdk.commands.client_options import TokenFile, Url, open_client
from callback_sdk.commands.options import AsJSON
from callback_sdk.commands.printing import moment, one_line, print_json, print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callback_sdk.client import DisabledWebhook, Host

app = typer.Typer(name="hosts", help="Show, pause, resume and limit the hosts that a service delivers to.")

HostName = Annotated[
    str,
    typer.Argument(
        metavar="HOST", help="Name of the host, with or without a port, or a URL of it.", show_default=False
    ),
]


@app.callback(invoke_without_command=True)
def list_hosts(
    context: typer.Context, *, as_json: AsJSON = False, url: Url = None, token_file: TokenFile = None
) -> None:
    """List the hosts that fail, are paused or limited, or have held deliveries, and the webhooks that are gone.

    A host that isn't listed works. For operators. Exit codes: 0 success; 1 an error; 2 wrong usage.
    """
    if context.invoked_subcommand is not None:
        return
    with open_client(url, token_file) as client:
        found, gone = client.get_hosts(), client.get_disabled_webhooks()
    if as_json:
        print_json({"hosts": [one.to_dict() for one in found], "disabled_webhooks": [one.to_dict() for one in gone]})
        return
    _print_hosts(found)
    _print_webhooks(gone)


@app.command("pause")
def pause(host: HostName, *, as_json: AsJSON = False, url: Url = None, token_file: TokenFile = None) -> None:
    """Send nothing to a host until it is resumed. Its deliveries are held, and don't use up their attempts."""
    with open_client(url, token_file) as client:
        _print_change(client.pause_host(host), "is paused", as_json=as_json)


@app.command("resume")
def resume(host: HostName, *, as_json: AsJSON = False, url: Url = None, token_file: TokenFile = None) -> None:
    """Send to a host again. If it has failed, one delivery tests it now, and the others follow if it works.

    The URL of a webhook that responded with 410 Gone, as `callback-sdk hosts` lists it, enables the webhook again, and
    leaves its host as it is.
    """
    with open_client(url, token_file) as client:
        found = client.resume_host(host)
    if not found and not as_json:
        print_line("The webhook is enabled again. Its host stays as it is.")
    _print_change(found, "is resumed", as_json=as_json)


@app.command("limit")
def limit(
    host: HostName,
    *,
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Deliveries at a time.", show_default=False)
    ] = None,
    rate: Annotated[
        str | None, typer.Option(metavar="RATE", help="Rate, such as 10/s or 30/min.", show_default=False)
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Remove the limits of this host.")] = False,
    as_json: AsJSON = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Limit the deliveries to a host, over all services and workers, in place of the limits of the settings."""
    if none == (concurrency is not None or rate is not None):
        raise typer.BadParameter("Give --concurrency, --rate or both, or --none.", param_hint="--concurrency")
    per_second = None if rate is None else _rate(rate)
    with open_client(url, token_file) as client:
        changed = client.limit_host(host, max_concurrency=concurrency, max_rate=per_second)
    _print_change(changed, "has no limits of its own" if none else "is limited", as_json=as_json)


def _rate(text: str) -> float:
    from callback_sdk.config.values import RATES, rate

    try:
        return rate(text)
    except ValueError:
        raise typer.BadParameter(f"Give {RATES}.", param_hint="--rate") from None


def _print_change(hosts: Sequence[Host], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json([one.to_dict() for one in hosts])
        return
    for one in hosts:
        print_line(f"{one.host} {what}.")


def _print_hosts(hosts: Sequence[Host]) -> None:
    heads = ("HOST", "STATE", "SINCE", "HELD", "OLDEST HELD", "NEXT TEST", "LIMITS", "LAST ERROR")
    if hosts:
        print_table(heads, [_cells(one) for one in hosts])
    else:
        print_line(
            "No host is failing, paused or limited. Rejected deliveries: callback-sdk deliveries --dead", err=True
        )


def _cells(host: Host) -> tuple[str, ...]:
    return (
        host.host,
        host.state if host.paused_by is None else f"{host.state} by {host.paused_by}",
        moment(host.since),
        str(host.held),
        moment(host.held_since),
        moment(host.retry_at),
        ", ".join(_limits(host)),
        one_line(host.last_error or ""),
    )


def _limits(host: Host) -> list[str]:
    at_a_time = [] if host.max_concurrency is None else [f"{host.max_concurrency} at a time"]
    return at_a_time + ([] if host.max_rate is None else [f"{host.max_rate:.3g}/s"])


def _print_webhooks(webhooks: Sequence[DisabledWebhook]) -> None:
    if webhooks:
        print_table(("DISABLED WEBHOOK (410 GONE)", "SINCE"), [(one.url, moment(one.since)) for one in webhooks])
