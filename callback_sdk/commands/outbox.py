"""The commands of `callback-sdk outbox`: run an outbox, list its deliveries, redeliver them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callback_sdk.commands.completion import words
from callback_sdk.commands.ids import full_delivery_ids
from callback_sdk.commands.options import AsJSON, duration, takes_settings, writer_settings
from callback_sdk.commands.printing import moment, one_line, print_json, print_outcome, print_table, proof
from callback_sdk.commands.states import DELIVERY_STATES, one_of
from callback_sdk.commands.target_argument import NEW_TARGET_HELP, read_new_target
from callback_sdk.config.settings import STORAGE_ENDPOINTS
from callback_sdk.program.remaining import EXIT_DEAD, run_outbox

if TYPE_CHECKING:
    from callback_sdk.config.storage import WriterConfig
    from callback_sdk.outbox import Outbox, OutboxEntry
    from callback_sdk.writer import ResultsWriter

app = typer.Typer(
    name="outbox",
    help="""Send and manage results stored by `Outbox.write`.

    Exit codes: 0 success, 1 an error, 2 wrong usage, 3 deliveries are dead (`run --until-empty` and `list --status
    dead`), 130 Ctrl-C. SIGTERM ends `run` with 0, as it is asked to stop, and `run --until-empty` with 143 before it is
    empty. The output contains no credentials, but the outbox's file does.""",
    no_args_is_help=True,
)

Where = Annotated[Path, typer.Argument(metavar="PATH", help="The outbox's file.", show_default=False)]


@app.command("run")
@takes_settings(STORAGE_ENDPOINTS, read=writer_settings)
def run(
    path: Where,
    *,
    until_empty: Annotated[
        bool, typer.Option("--until-empty", help="Exit when nothing is pending; with code 3 if a delivery is dead.")
    ] = False,
    create: Annotated[bool, typer.Option("--create", help="Create the outbox if it doesn't exist.")] = False,
    config: WriterConfig,
    block_private_networks: Annotated[
        bool, typer.Option("--block-private-networks", help="SSRF protection: reject targets at private addresses.")
    ] = False,
    allow_network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR[:PORT]",
            help="With --block-private-networks: allow this network. Repeatable.",
            show_default=False,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="With --block-private-networks: allow this host. Repeatable.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Send due deliveries until SIGTERM or Ctrl-C. Several processes may run on one outbox.

    Retry delays of a delivery: 5 s, 30 s, 2 min, 10 min, 30 min, 2 h, 5 h, 10 h, with jitter; then it is dead.
    Webhooks are signed with CALLBACK_SDK_WEBHOOK_SECRETS. Receipts are kept for 30 days. On SIGTERM running attempts
    may take 10 s more; the next run repeats those that were interrupted.
    """
    with _writer(config, block_private_networks, allow_network, allow_host) as writer:
        raise typer.Exit(run_outbox(path, writer, until_empty=until_empty, create=create))


@app.command("list")
def list_(
    path: Where,
    *,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS",
            help="Only pending, delivered or dead deliveries.",
            show_default=False,
            autocompletion=words(*DELIVERY_STATES),
        ),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """List deliveries: status, attempts, next attempt, and the last error or the receipt.

    With --status dead the exit code is 3 if there are any.
    """
    if status not in (None, *DELIVERY_STATES):
        raise typer.BadParameter(f"Give {one_of(DELIVERY_STATES)}.", param_hint="--status")
    with _open(path) as outbox:
        entries = outbox.entries(status=status)
    _show(entries, as_json=as_json)
    if entries and status == "dead":
        raise typer.Exit(EXIT_DEAD)


@app.command("redeliver")
def redeliver(
    path: Where,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Ids of deliveries, or their beginnings.", show_default=False),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All deliveries that are dead or pending.")] = False,
    target: Annotated[str | None, typer.Option(metavar="FILE", help=NEW_TARGET_HELP, show_default=False)] = None,
    as_json: AsJSON = False,
) -> None:
    """Make dead or pending deliveries due now; `run` sends them. The retry schedule of dead ones starts again.

    With --target one delivery gets a new target, such as one whose signature has not expired.
    """
    if bool(ids) == everything:
        raise typer.BadParameter(
            "Give the ids of deliveries, which `callback-sdk outbox list PATH` lists, or --all.", param_hint="ID"
        )
    new = None if target is None else read_new_target(target, count=0 if everything else len(ids or ()))
    with _open(path) as outbox:
        chosen = full_delivery_ids(
            ids or (),
            lambda: [entry.delivery_id for entry in outbox.entries()],
            hint=f"List deliveries with: callback-sdk outbox list {path}",
        )
        count = outbox.redeliver(*chosen, target=None if new is None else new.reveal())
    print_outcome(f"{count} {_deliveries(count)} due now.", {"due": count}, as_json=as_json)


@app.command("purge")
def purge(
    path: Where,
    *,
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="Age of a receipt, such as 36h or 7d.", show_default=False)
    ],
    as_json: AsJSON = False,
) -> None:
    """Delete old receipts. Results are deleted as soon as they are delivered."""
    age = duration(older_than, "--older-than")
    with _open(path) as outbox:
        count = outbox.purge(older_than=age)
    print_outcome(f"Deleted {count} {'receipt' if count == 1 else 'receipts'}.", {"deleted": count}, as_json=as_json)


def _writer(config: WriterConfig, guarded: bool, networks: list[str] | None, hosts: list[str] | None) -> ResultsWriter:
    from callback_sdk.aistore.sources import token_sources
    from callback_sdk.transport.guard import AddressGuard
    from callback_sdk.writer import ResultsWriter

    if (networks or hosts) and not guarded:
        raise typer.BadParameter("Give --block-private-networks too.", param_hint="--allow-network, --allow-host")
    return ResultsWriter(
        storage_endpoints=config.storage_endpoints,
        aistore_clusters=token_sources(config.aistore_clusters),
        webhook_secrets=config.webhook_secrets,
        guard=AddressGuard(allow_networks=networks or (), allow_hosts=hosts or ()) if guarded else None,
    )


def _open(path: Path) -> Outbox:
    from callback_sdk.outbox import Outbox

    return Outbox(path, create=False)


def _show(entries: list[OutboxEntry], *, as_json: bool) -> None:
    if as_json:
        print_json([entry.to_dict() for entry in entries])
        return
    heads = ("ID", "JOB", "STATUS", "ATTEMPTS", "NEXT ATTEMPT", "TARGET", "ERROR OR RECEIPT")
    print_table(heads, (_cells(entry) for entry in entries))


def _cells(entry: OutboxEntry) -> tuple[str, ...]:
    return (
        entry.delivery_id,
        entry.job_id,
        entry.status,
        str(entry.attempts),
        "now" if entry.sending else moment(entry.next_attempt_at),
        f"{entry.target_kind} {entry.url}",
        one_line(entry.error or proof(entry.receipt)),
    )


def _deliveries(count: int) -> str:
    return "delivery is" if count == 1 else "deliveries are"
