"""The commands `deliveries` and `redeliver`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from callback_sdk.commands.client_options import TokenFile, Url, open_client
from callback_sdk.commands.options import AsJSON
from callback_sdk.commands.printing import moment, one_line, print_json, print_line, print_table, proof
from callback_sdk.commands.target_argument import NEW_TARGET_HELP, read_new_target

if TYPE_CHECKING:
    from callback_sdk.client import Client, Delivery

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="Id of the task.", show_default=False)]


def deliveries(job_id: JobId, *, as_json: AsJSON = False, url: Url = None, token_file: TokenFile = None) -> None:
    """List the deliveries of a task: status, attempts, next attempt, and the last error or the receipt.

    With --json each delivery includes all its attempts. Exit codes: 0 success; 1 an error, such as an unknown task; 2
    wrong usage.
    """
    with open_client(url, token_file) as client:
        found = client.get_deliveries(job_id)
    if as_json:
        print_json([delivery.to_dict() for delivery in found])
        return
    heads = ("ID", "STATUS", "ATTEMPTS", "NEXT ATTEMPT", "TARGET", "ERROR OR RECEIPT")
    print_table(heads, (_delivery_cells(delivery) for delivery in found))


def redeliver(
    job_id: JobId,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[DELIVERY_ID]...", help="Deliveries.", show_default=False)
    ] = None,
    *,
    dead: Annotated[bool, typer.Option("--dead", help="All dead deliveries.")] = False,
    target: Annotated[str | None, typer.Option(metavar="FILE", help=NEW_TARGET_HELP, show_default=False)] = None,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Redeliver a task's result now, to targets whose delivery is dead or has succeeded.

    With --target one delivery gets a new target, such as one whose signature has not expired, also if the task has not
    ended. The document stays the same. The id of a task's only delivery may be omitted.
    Exit codes: 0 success; 1 an error, such as a task that has not ended; 2 wrong usage.
    """
    if bool(ids) == dead and (dead or target is None):
        raise typer.BadParameter("Give the ids of deliveries, or --dead.", param_hint="DELIVERY_ID")
    new = None if target is None else read_new_target(target, count=0 if dead else len(ids or [""]))
    with open_client(url, token_file) as client:
        if new is not None:
            client.redeliver(job_id, ids[0] if ids else _single_delivery(client, job_id), target=new.reveal())
            print_line("The delivery has the new target.")
            return
        if dead:
            ids = [one.delivery_id for one in client.get_deliveries(job_id) if one.status == "dead"]
        for delivery_id in ids or ():
            client.redeliver(job_id, delivery_id)
    count = len(ids or ())
    print_line(f"{count} {'delivery is' if count == 1 else 'deliveries are'} due now.")


def _single_delivery(client: Client, job_id: str) -> str:
    from callback_sdk.errors import InvalidRequestError

    found = client.get_deliveries(job_id)
    if len(found) != 1:
        raise InvalidRequestError(
            f"The task {job_id} has {len(found)} deliveries, and --target is for one.",
            hint="Give the id of one: callback-sdk deliveries JOB_ID lists them.",
        )
    return found[0].delivery_id


def _delivery_cells(delivery: Delivery) -> tuple[str, ...]:
    return (
        delivery.delivery_id,
        delivery.status,
        str(delivery.attempt_count),
        moment(delivery.next_attempt_at),
        delivery.url if delivery.output is None else one_line(f"{delivery.output} to {delivery.url}"),
        one_line(delivery.error or proof(delivery.receipt)),
    )
