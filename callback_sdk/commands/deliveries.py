"""The commands `deliveries` and `redeliver`: deliveries of a task's result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callback_sdk.commands.client_options import TokenFile, Url, open_client
from callback_sdk.commands.completion import complete_deliveries, complete_jobs
from callback_sdk.commands.delivery_filter import GivenFilter, takes_filter
from callback_sdk.commands.ids import explaining_short_ids, full_delivery_ids, full_job_id
from callback_sdk.commands.options import AsJSON
from callback_sdk.commands.printing import moment, one_line, print_json, print_line, print_outcome, print_table, proof
from callback_sdk.commands.target_argument import NEW_TARGET_HELP, read_new_target
from callback_sdk.commands.task_facts import place

if TYPE_CHECKING:
    from callback_sdk.client import Client, Delivery, ListedDelivery
    from callback_sdk.models import DeliveryFilter

EXIT_SKIPPED = 3
"""Exit code if deliveries were skipped, as no attempt can complete them."""

JobId = Annotated[
    str | None,
    typer.Argument(
        metavar="[JOB_ID]",
        help="Only deliveries of this task: its id, or the beginning of it, of at least 4 characters.",
        show_default=False,
        autocompletion=complete_jobs,
    ),
]


@takes_filter
def deliveries(
    job_id: JobId = None,
    *,
    given: GivenFilter,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of deliveries, without JOB_ID.")] = 50,
    as_json: AsJSON = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """List the deliveries of a task, or those of ended tasks that the options select, the latest first.

    With --json each delivery of a single task includes all its attempts.

    Exit codes: 0 success; 1 an error, such as an unknown task; 2 wrong usage.
    """
    if job_id is not None and given:
        raise typer.BadParameter("These options select deliveries of several tasks: omit JOB_ID.", param_hint="JOB_ID")
    with open_client(url, token_file) as client, explaining_short_ids(job_id):
        if job_id is None:
            _list(client, given.build(), limit, as_json=as_json)
            return
        found = client.get_deliveries(full_job_id(client, job_id))
    if as_json:
        print_json([delivery.to_dict() for delivery in found])
        return
    heads = ("ID", "STATUS", "ATTEMPTS", "NEXT ATTEMPT", "TARGET", "ERROR OR RECEIPT")
    print_table(heads, (_delivery_cells(delivery) for delivery in found))


@takes_filter
def redeliver(
    job_id: JobId = None,
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DELIVERY_ID]...",
            help="Ids of deliveries, or their beginnings.",
            show_default=False,
            autocompletion=complete_deliveries,
        ),
    ] = None,
    *,
    given: GivenFilter,
    target: Annotated[str | None, typer.Option(metavar="FILE", help=NEW_TARGET_HELP, show_default=False)] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Without JOB_ID: new targets of many deliveries, a JSON object per line with job_id, delivery_id and "
            "target, as callback-sdk sign again prints them; - reads standard input.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: count, and check the targets.")] = False,
    rate: Annotated[
        float | None,
        typer.Option(min=0.01, metavar="NUMBER", help="Maximum deliveries per second.", show_default=False),
    ] = None,
    skipped: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the deliveries that no attempt can complete to a file, one JSON object per line.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJSON = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Redeliver a task's result now, to targets whose delivery is dead or has succeeded; or the results of many tasks.

    Without JOB_ID the options select deliveries of all tasks, such as --dead --host HOST --since 3h. Targets that have
    expired are skipped and counted. After Ctrl-C the same command continues with the others.

    With --target one delivery gets a new target, such as one whose signature has not expired, also if the task has not
    ended. The document stays the same. The id of a task's only delivery may be omitted.
    Exit codes: 0 success; 1 an error, such as a task that has not ended; 2 wrong usage; 3 deliveries were skipped; 130
    Ctrl-C.
    """
    is_bulk = bool(given.texts) or dry_run or rate is not None or skipped is not None or targets is not None
    if job_id is None:
        _check_bulk(given, targets=targets, target=target)
        with open_client(url, token_file) as client:
            if targets is not None:
                _replace_all(client, targets, as_json=as_json)
            else:
                _redeliver_all(client, given.build(), rate, skipped, dry_run=dry_run, as_json=as_json)
        return
    dead = given.status == "dead"
    if is_bulk or (given.status is not None and not dead):
        raise typer.BadParameter("These options are for deliveries of several tasks.", param_hint="JOB_ID")
    if bool(ids) == dead and (dead or target is None):
        raise typer.BadParameter(
            "Give the ids of deliveries, which `callback-sdk deliveries JOB_ID` lists, or --dead.",
            param_hint="DELIVERY_ID",
        )
    new = None if target is None else read_new_target(target, count=0 if dead else len(ids or [""]))
    with open_client(url, token_file) as client, explaining_short_ids(job_id, *(ids or ())):
        job_id = full_job_id(client, job_id)
        chosen = _choose_deliveries(client, job_id, ids or (), dead=dead)
        changed = [
            client.redeliver(job_id, delivery_id, target=None if new is None else new.reveal())
            for delivery_id in chosen
        ]
    held = sum(delivery.held_since is not None for delivery in changed)
    count = len(changed)
    due = f"{count} {'delivery is' if count == 1 else 'deliveries are'} due now.{_held_text(held)}"
    text = due if new is None else f"The delivery has the new target.{_held_text(held)}"
    print_outcome(text, [delivery.to_dict() for delivery in changed], as_json=as_json)


def _check_bulk(given: GivenFilter, *, targets: str | None, target: str | None) -> None:
    if target is not None:
        raise typer.BadParameter("Give the task and the delivery of the new target.", param_hint="--target")
    if targets is not None and given:
        raise typer.BadParameter("The file names the deliveries: omit the filters.", param_hint="--targets")
    if targets is None and given.status is None:
        raise typer.BadParameter(
            "Give JOB_ID; or one of --dead, --failing, --late and --undelivered for deliveries of all tasks.",
            param_hint="JOB_ID",
        )


def _list(client: Client, wanted: DeliveryFilter, limit: int, *, as_json: bool) -> None:
    found = list(client.find_deliveries(wanted, limit=limit))
    if as_json:
        print_json([delivery.to_dict() for delivery in found])
        return
    heads = ("ID", "TASK", "USER", "ALGORITHM", "STATUS", "ATTEMPTS", "READY", "TARGET", "ERROR")
    print_table(heads, (_listed_cells(delivery) for delivery in found))
    if len(found) == limit:
        print_line(f"These are the latest {limit}. --limit shows more.", err=True)


def _redeliver_all(
    client: Client, wanted: DeliveryFilter, rate: float | None, file: Path | None, *, dry_run: bool, as_json: bool
) -> None:
    from callback_sdk.progress import ProgressBar

    hosts: Counter[str] = Counter()
    skipped: list[dict[str, Any]] = []
    total = due = held = 0
    try:
        with ProgressBar("Redelivering", wanted=not as_json) as bar:
            for step in client.redeliver_all(wanted, rate=rate, dry_run=dry_run):
                hosts.update(step.hosts)
                skipped += [one.to_dict() for one in step.skipped]
                total, due, held = step.total, due + step.due, held + step.held
                done = due + len(skipped)
                bar.show(min(1.0, done / total) if total else 1.0, f"{done} of {total}")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{due} of {total} deliveries are due now. The same command continues with the others."
        ) from None
    if file is not None:
        _write_lines(file, skipped)
    if as_json:
        print_json({"total": total, "due": due, "held": held, "hosts": hosts, "skipped": skipped, "dry_run": dry_run})
    else:
        _print_outcome(due, held, hosts, skipped, dry_run=dry_run)
    if skipped:
        raise typer.Exit(EXIT_SKIPPED)


def _held_text(held: int) -> str:
    """Return what becomes of deliveries whose hosts take none now; empty without any."""
    verb = "waits" if held == 1 else "wait"
    return f" {held} {verb} for a host that is paused or fails: callback-sdk hosts" if held else ""


def _print_outcome(due: int, held: int, hosts: Counter[str], skipped: list[dict[str, Any]], *, dry_run: bool) -> None:
    listed = ", ".join(f"{count} at {host}" for host, count in hosts.most_common(5))
    verb = "would be redelivered" if dry_run else "is due now" if due == 1 else "are due now"
    print_line(
        f"{due} {'delivery' if due == 1 else 'deliveries'} {verb}{f': {listed}' if listed else ''}.{_held_text(held)}"
    )
    reasons = Counter((one["reason"], one["host"], one["problem"].partition(". ")[2]) for one in skipped)
    for (reason, host, hint), count in reasons.most_common(5):
        print_line(f"{count} skipped at {host}, as the target is {reason}. {hint}", err=True)


def _write_lines(file: Path, items: Iterable[Any]) -> None:
    import json

    file.write_text("".join(f"{json.dumps(item)}\n" for item in items))


def _replace_all(client: Client, where: str, *, as_json: bool) -> None:
    """Replace the targets of the deliveries in a file of JSON lines, those that are delivered already excepted."""
    from callback_sdk.commands.printing import print_error
    from callback_sdk.commands.target_lines import read_lines
    from callback_sdk.errors import ConflictError, InvalidRequestError, NotFoundError, TargetError

    replaced = delivered = failed = 0
    for line in read_lines(where):
        try:
            if line.is_delivered(client):
                delivered += 1
                continue
            client.redeliver(line.job_id, line.delivery_id, target=line.target.reveal())
            replaced += 1
        except (ConflictError, InvalidRequestError, NotFoundError, TargetError) as error:
            # The other lines may still be valid. After any other error they couldn't be sent.
            failed += 1
            print_error(f"Line {line.number}: {error.message} {error.command_hint}".strip())
    more = f" {delivered} were delivered already." if delivered else ""
    text = f"{replaced} {'delivery has a new target' if replaced == 1 else 'deliveries have new targets'}.{more}"
    print_outcome(text, {"replaced": replaced, "delivered": delivered, "failed": failed}, as_json=as_json)
    if failed:
        raise typer.Exit(1)


def _choose_deliveries(client: Client, job_id: str, given: Sequence[str], *, dead: bool) -> list[str]:
    """Return the ids of the deliveries that the arguments of `redeliver` name; without any, that of the only one."""
    from callback_sdk.errors import InvalidRequestError

    if given:
        return full_delivery_ids(
            given,
            lambda: [one.delivery_id for one in client.get_deliveries(job_id)],
            hint=f"List deliveries with: callback-sdk deliveries {job_id}",
        )
    found = client.get_deliveries(job_id)
    if dead:
        return [one.delivery_id for one in found if one.status == "dead"]
    if len(found) != 1:
        raise InvalidRequestError(
            f"The task {job_id} has {len(found)} deliveries, and --target is for one.",
            hint=f"Give the id of one: callback-sdk deliveries {job_id} lists them.",
        )
    return [found[0].delivery_id]


def _delivery_cells(delivery: Delivery) -> tuple[str, ...]:
    return (
        delivery.delivery_id,
        delivery.status,
        str(delivery.attempt_count),
        moment(delivery.next_attempt_at)
        if delivery.held_since is None
        else f"held since {moment(delivery.held_since)}",
        place(delivery),
        one_line(delivery.error or proof(delivery.receipt)),
    )


def _listed_cells(delivery: ListedDelivery) -> tuple[str, ...]:
    return (
        delivery.delivery_id,
        delivery.job_id,
        delivery.owner or "",
        delivery.algorithm or "",
        delivery.status,
        str(delivery.attempt_count),
        moment(delivery.finished_at),
        place(delivery),
        one_line(delivery.error or ""),
    )
