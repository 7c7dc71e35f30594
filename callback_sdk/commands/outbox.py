"""The commands of `callback-sdk outbox`: run an outbox, look at it, and mend it."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callback_sdk.commands.options import AsJSON, duration
from callback_sdk.commands.printing import moment, one_line, print_json, print_line, print_table, proof

if TYPE_CHECKING:
    from callback_sdk.outbox import Outbox, OutboxEntry
    from callback_sdk.writer import ResultsWriter

EXIT_DEAD = 3
"""Something was given up."""

app = typer.Typer(
    name="outbox",
    help="""Send what `Outbox.write` has kept, and look after it.

    Exit codes: 0 all is well, 1 an error, 2 wrong usage, 3 deliveries are dead (`run --until-empty` and `dead`), 130
    Ctrl-C. Nothing that is printed holds a credential; the file itself does.""",
    no_args_is_help=True,
)

Where = Annotated[Path, typer.Argument(metavar="PATH", help="The outbox's file.", show_default=False)]


@app.command("run")
def run(
    path: Where,
    *,
    until_empty: Annotated[
        bool, typer.Option("--until-empty", help="End when nothing is pending; with 3 when something is dead.")
    ] = False,
    create: Annotated[bool, typer.Option("--create", help="Make the outbox when it is missing.")] = False,
    storage_endpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="An object store beside the well-known ones; repeatable. CALLBACK_SDK_STORAGE_ENDPOINTS.",
            show_default=False,
        ),
    ] = None,
    guard: Annotated[bool, typer.Option("--guard", help="Refuse targets at addresses that are not public.")] = False,
    allow_network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR[:PORT]", help="With --guard: a network that is allowed; repeatable.", show_default=False
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]", help="With --guard: a host that is allowed; repeatable.", show_default=False
        ),
    ] = None,
) -> None:
    """Send what is due, until SIGTERM or Ctrl-C comes. Any number of these may run on one outbox.

    Pauses between the tries of a delivery: 5 s, 30 s, 2 min, 10 min, 30 min, 2 h, 5 h, 10 h; then it is dead.
    Webhooks are signed with CALLBACK_SDK_WEBHOOK_SECRETS. Receipts are forgotten after 30 days. On SIGTERM tries
    that run may take 10 s more; what is broken off then is sent again by the next run.
    """
    import logging

    from callback_sdk.outbox import DEAD, Outbox
    from callback_sdk.text.escaping import LogFormatter

    log = logging.StreamHandler()
    log.setFormatter(LogFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[log])
    stop, interrupted = threading.Event(), threading.Event()

    def on_signal(number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            if interrupted.is_set():
                raise KeyboardInterrupt
            interrupted.set()
        stop.set()

    with (
        _writer(storage_endpoint, guard, allow_network, allow_host) as writer,
        Outbox(path, writer=writer, create=create) as outbox,
    ):
        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            outbox.run(until_empty=until_empty, stop=stop)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if interrupted.is_set():
            raise KeyboardInterrupt
        if until_empty and not stop.is_set() and outbox.entries(state=DEAD):
            raise typer.Exit(EXIT_DEAD)


@app.command("list")
def list_(
    path: Where,
    *,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="Only pending, delivered or dead ones.", show_default=False)
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Show the deliveries: their state, their tries, the next one, and the last error or the receipt."""
    if state not in (None, "pending", "delivered", "dead"):
        raise typer.BadParameter("Give pending, delivered or dead.", param_hint="--state")
    with _open(path) as outbox:
        _show(outbox.entries(state=state), as_json=as_json)


@app.command("dead")
def dead(path: Where, *, as_json: AsJSON = False) -> None:
    """Show what was given up, and end with 3 when there is any."""
    with _open(path) as outbox:
        entries = outbox.entries(state="dead")
    _show(entries, as_json=as_json)
    if entries:
        raise typer.Exit(EXIT_DEAD)


@app.command("retry")
def retry(
    path: Where,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Deliveries.", show_default=False)] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that are not delivered.")] = False,
) -> None:
    """Make deliveries due now, dead or pending. A dead one begins its schedule anew. `run` sends them."""
    if bool(ids) == everything:
        raise typer.BadParameter("Give the ids of deliveries, or --all.", param_hint="ID")
    with _open(path) as outbox:
        count = outbox.retry(*(ids or ()))
    print_line(f"{count} {_deliveries(count)} due now.")


@app.command("purge")
def purge(
    path: Where,
    *,
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="Delivered longer ago, such as 36h or 7d.", show_default=False)
    ],
) -> None:
    """Forget old receipts. The results themselves are deleted as soon as they are delivered."""
    age = duration(older_than, "--older-than")
    with _open(path) as outbox:
        count = outbox.purge(older_than=age)
    print_line(f"{count} {_deliveries(count)} forgotten.")


def _writer(
    endpoints: list[str] | None, guarded: bool, networks: list[str] | None, hosts: list[str] | None
) -> ResultsWriter:
    from callback_sdk.config import WriterConfig
    from callback_sdk.transport.guard import AddressGuard
    from callback_sdk.writer import ResultsWriter

    if (networks or hosts) and not guarded:
        raise typer.BadParameter("Goes with --guard only.", param_hint="--allow-network, --allow-host")
    config = WriterConfig.from_environ()
    return ResultsWriter(
        storage_endpoints=endpoints or config.storage_endpoints,
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
    heads = ("ID", "JOB", "STATE", "TRIES", "NEXT TRY", "TARGET", "ERROR OR RECEIPT")
    print_table(heads, (_cells(entry) for entry in entries))


def _cells(entry: OutboxEntry) -> tuple[str, ...]:
    return (
        entry.delivery_id,
        entry.job_id,
        entry.state,
        str(entry.attempts),
        "now" if entry.sending else moment(entry.next_attempt),
        f"{entry.kind} {entry.url}",
        one_line(entry.error or proof(entry.receipt)),
    )


def _deliveries(count: int) -> str:
    return "delivery is" if count == 1 else "deliveries are"
