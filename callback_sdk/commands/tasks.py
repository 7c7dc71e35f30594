"""The commands of the client: `submit`, `tasks`, `deliveries`, `redeliver` and `cancel`."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callback_sdk.commands.client_options import Parameters, TokenFile, Url, open_client, read_parameters
from callback_sdk.commands.options import AsJSON, duration
from callback_sdk.commands.printing import (
    moment,
    one_line,
    print_error,
    print_json,
    print_line,
    print_table,
    print_text,
    proof,
)
from callback_sdk.commands.target_argument import NEW_TARGET_HELP, read_new_target, read_targets, split_outputs

if TYPE_CHECKING:
    from callback_sdk.client import Client, Delivery, Task, TaskSummary
    from callback_sdk.types import TaskFilter

EXIT_ERROR = 1
EXIT_FAILED = 3
"""Exit code if the task failed, or a delivery of its result is dead."""

_MAX_SUMMARY = 300
"""Maximum characters of results that are shown without --json."""

_SHORTEST_WAIT = 0.001
"""Seconds of a wait after a submission that took all the time: the task is requested once."""

_STATUSES: dict[str, TaskFilter] = {
    "pending": "Pending",
    "in progress": "In Progress",
    "finished": "Finished",
    "canceled": "Canceled",
    "cancelled": "Canceled",
    "succeeded": "succeeded",
    "failed": "failed",
}

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="Id of the task.", show_default=False)]


def submit(
    context: typer.Context,
    algorithm: Annotated[str, typer.Argument(metavar="ALGORITHM", help="Name of the algorithm.", show_default=False)],
    features: Annotated[
        str | None,
        typer.Argument(
            metavar="[FEATURES]",
            help="Parquet or JSON file with the features. Omit it for an algorithm that takes only parameters.",
            show_default=False,
        ),
    ] = None,
    *,
    parameters: Parameters = None,
    version: Annotated[str | None, typer.Option(help="Version of the algorithm.", show_default="the newest")] = None,
    callback: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Target of the result. Repeatable. Other users of this machine see command lines: put a signed URL "
            "into --callbacks-file.",
            show_default=False,
        ),
    ] = None,
    callbacks_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File with targets in a form that `callback-sdk check` takes, or - for standard input. A target with "
            'the name of an output file as "output" gets this file.',
            show_default=False,
        ),
    ] = None,
    priority: Annotated[
        int | None, typer.Option(min=0, max=9, help="Priority: higher runs first.", show_default="5")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Time in which the task must be started, such as 90s, 30m or 2h; otherwise it fails.",
            show_default=False,
        ),
    ] = None,
    no_evaluate: Annotated[bool, typer.Option("--no-evaluate", help="Don't evaluate the predictions.")] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Submitting again with the same key and the same content returns the same task.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait until the task has ended, and print its outcome; exit with 3 if it failed."),
    ] = False,
    timeout: Annotated[
        str,
        typer.Option(metavar="DURATION", help="With --wait: time limit of the command, such as 90s, 30m or 2h."),
    ] = "30m",
    as_json: AsJSON = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Submit a task and print its id; with --wait, its outcome and a summary of its results too.

    With --json, print the task as JSON; with --wait, it includes the results.

    Exit codes: 0 accepted, or with --wait succeeded without a dead delivery; 1 an error, such as a rejected task or the
    timeout of --wait; 2 wrong usage; 3 with --wait: the task failed or was canceled, or a delivery is dead; 130 Ctrl-C,
    which ends only the waiting.
    """
    from callback_sdk.client.deadline import requests_end_by
    from callback_sdk.redaction import Secret

    targets = Secret(list(callback or ()))
    del callback
    if context.args or "://" in (features or ""):
        # The argument is probably a signed URL, so it isn't printed.
        raise typer.BadParameter("Give one file. Name the target with --callback URL.", param_hint="FEATURES")
    max_wait = duration(timeout, "--timeout").total_seconds()
    deadline = time.monotonic() + max_wait if wait else math.inf
    outputs: Secret[dict[str, Any]] = Secret({})
    if callbacks_file is not None:
        documents, outputs = split_outputs(read_targets(callbacks_file))
        targets = Secret([*targets.reveal(), *documents.reveal()])
    given = read_parameters(parameters)
    with open_client(url, token_file) as client, requests_end_by(deadline):
        task = client.run_algorithm(
            algorithm,
            features,
            version=version,
            evaluate=not no_evaluate,
            parameters=given,
            callbacks=targets.reveal() or None,
            outputs=outputs.reveal() or None,
            priority=priority,
            expires=None if expires is None else duration(expires, "--expires"),
            idempotency_key=idempotency_key,
        )
    if not as_json:
        print_line(task.job_id)
    elif wait:
        # Printed to standard error before waiting, so that the id is known even if the wait is interrupted.
        print_line(task.job_id, err=True)
    if wait:
        task.wait(max(deadline - time.monotonic(), _SHORTEST_WAIT))
    if as_json:
        print_json(task.to_dict())
    elif wait:
        results = {"PREDICTIONS": _summary(task.predictions), "EVALUATIONS": _summary(task.evaluations)}
        # The id and the error are printed alone.
        _print_facts({**_facts(task), "ID": "", "ERROR": "", **results}, task)
    if wait:
        _end(task)


def tasks(
    job_id: Annotated[
        str | None, typer.Argument(metavar="[JOB_ID]", help="Show this task.", show_default=False)
    ] = None,
    *,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS", help="Only pending, in-progress, finished or canceled tasks.", show_default=False
        ),
    ] = None,
    algorithm: Annotated[
        str | None, typer.Option(metavar="ALGORITHM", help="Only tasks of this algorithm.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of tasks.")] = 50,
    logs: Annotated[
        bool, typer.Option("--logs", help="With JOB_ID: print the output and log of the algorithm.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="With --logs: print new output until the task has ended.")
    ] = False,
    outputs: Annotated[bool, typer.Option("--outputs", help="With JOB_ID: list the output files.")] = False,
    download: Annotated[
        Path | None,
        typer.Option(
            "--download",
            metavar="DIR",
            help="With JOB_ID: download the output files into a directory.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJSON = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """List your tasks, newest first, or show one task. With --json, a single task includes its results.

    Exit codes: 0 success; 1 an error, such as an unknown task; 2 wrong usage; 130 Ctrl-C, which ends only --follow.
    """
    _check_options(
        job_id,
        for_list=bool(status or algorithm),
        logs=logs,
        follow=follow,
        outputs=outputs or bool(download),
        as_json=as_json,
    )
    wanted = None if status is None else _STATUSES.get(status.lower().replace("-", " "))
    if status is not None and wanted is None:
        raise typer.BadParameter(
            "Give pending, in-progress, finished, canceled, succeeded or failed.", param_hint="--status"
        )
    with open_client(url, token_file) as client:
        if job_id is not None and logs:
            for text in client.stream_logs(job_id) if follow else [client.get_logs(job_id)]:
                print_text(text)
            return
        if job_id is not None:
            task = client.get_task(job_id)
            if outputs or download is not None:
                _show_outputs(task, download, as_json=as_json)
            else:
                _show_task(task, as_json=as_json)
            return
        found = list(client.get_tasks(status=wanted, algorithm_id=algorithm, limit=limit))
    if as_json:
        print_json([task.to_dict() for task in found])
        return
    heads = ("ID", "ALGORITHM", "KIND", "STATUS", "PROGRESS", "CREATED", "DELIVERIES", "ERROR")
    print_table(heads, (_task_cells(task) for task in found))


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


def cancel(
    job_ids: Annotated[list[str], typer.Argument(metavar="JOB_ID...", help="Tasks.", show_default=False)],
    *,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Cancel tasks, including running ones. A "Canceled" result is delivered to their targets.

    Exit codes: 0 success; 1 if a task has already ended or is unknown; 2 wrong usage.
    """
    with open_client(url, token_file) as client:
        stopped = [_cancel(client, job_id) for job_id in job_ids]
    if not all(stopped):
        raise typer.Exit(EXIT_ERROR)


def add_to(app: typer.Typer) -> None:
    """Add these commands to an app."""
    # `submit` itself rejects extra arguments, because Typer would print them, and they may be credentials.
    app.command(context_settings={"allow_extra_args": True})(submit)
    for command in (tasks, deliveries, redeliver, cancel):
        app.command()(command)


def _cancel(client: Client, job_id: str) -> bool:
    from callback_sdk.errors import ConflictError, NotFoundError

    try:
        client.cancel_task(job_id)
    except (ConflictError, NotFoundError) as error:
        # The other tasks may still be canceled. After any other error they couldn't be.
        print_error(error)
        return False
    print_line(f"{job_id} is canceled.")
    return True


def _end(task: Task) -> None:
    """Exit with a code for the outcome of a task."""
    from callback_sdk.errors import TaskFailedError

    try:
        task.result()
    except TaskFailedError as error:
        print_error(error)
    dead = sum(delivery.status == "dead" for delivery in task.deliveries)
    if dead:
        print_line(f"Dead deliveries: {dead}. `callback-sdk deliveries {task.job_id}` shows them.", err=True)
    if dead or not task.success:
        raise typer.Exit(EXIT_FAILED)


def _show_task(task: Task, *, as_json: bool) -> None:
    if as_json:
        print_json(task.to_dict())
        return
    _print_facts(_facts(task), task)


def _print_facts(facts: dict[str, str], task: Task) -> None:
    targets = [("TARGET", f"{one.url} {one.status} {one.error or ''}") for one in task.deliveries]
    print_table((), [(name, one_line(text)) for name, text in [*facts.items(), *targets] if text.strip()])


def _facts(task: Task) -> dict[str, str]:
    return {
        "ID": task.job_id,
        "ALGORITHM": f"{task.algorithm or ''} {task.version or ''}",
        "KIND": task.kind or "",
        "STATUS": task.outcome or task.status,
        "ERROR": task.error or "",
        "PROGRESS": _progress(task),
        "PRIORITY": "" if task.priority is None else str(task.priority),
        "CREATED": moment(task.created_at),
        "STARTED": moment(task.started_at),
        "FINISHED": moment(task.finished_at),
        "EXPIRES": "" if task.started_at or task.ended else moment(task.expires_at),
        "OUTPUTS": f"{len(task.outputs)} (--outputs lists them)" if task.outputs else "",
    }


def _summary(results: Any) -> str:
    """Return the start of results as JSON; the end of long ones is left out."""
    text = "" if results is None else json.dumps(results, ensure_ascii=False)
    return text if len(text) <= _MAX_SUMMARY else f"{text[:_MAX_SUMMARY]}… (--json prints all)"


def _check_options(
    job_id: str | None, *, for_list: bool, logs: bool, follow: bool, outputs: bool, as_json: bool
) -> None:  # fmt: skip
    """Reject options of `tasks` that don't fit each other."""
    if job_id is not None and for_list:
        raise typer.BadParameter(
            "These options select tasks for a list: omit JOB_ID.", param_hint="--status, --algorithm"
        )
    if logs and (job_id is None or as_json):
        raise typer.BadParameter("Give a JOB_ID, and omit --json.", param_hint="--logs")
    if outputs and job_id is None:
        raise typer.BadParameter("Give a JOB_ID.", param_hint="--outputs, --download")
    if outputs and logs:
        raise typer.BadParameter("Omit --logs.", param_hint="--outputs, --download")
    if follow and not logs:
        raise typer.BadParameter("Give --logs too.", param_hint="--follow")


def _show_outputs(task: Task, directory: Path | None, *, as_json: bool) -> None:
    """Download the output files of a task, if there is a directory, and list them."""
    found = task.outputs
    paths = [None] * len(found) if directory is None else found.download(directory)
    shown = list(zip(found.values(), paths, strict=True))
    if as_json:
        print_json([file.to_dict() | ({} if path is None else {"path": str(path)}) for file, path in shown])
        return
    heads = ("NAME", "BYTES", "TYPE", "SHA-256") if directory is None else ("FILE", "BYTES", "TYPE", "SHA-256")
    rows = ((one_line(str(path or file.name)), str(file.size), file.media_type, file.sha256) for file, path in shown)
    print_table(heads, rows)


def _task_cells(task: TaskSummary) -> tuple[str, ...]:
    counts = {name: getattr(task.deliveries, name) for name in ("pending", "delivered", "dead")}
    return (
        task.job_id,
        f"{task.algorithm or ''} {task.version or ''}".strip(),
        task.kind or "",
        task.outcome or task.status,
        _progress(task),
        moment(task.created_at),
        ", ".join(f"{count} {name}" for name, count in counts.items() if count),
        one_line(task.error or ""),
    )


def _delivery_cells(delivery: Delivery) -> tuple[str, ...]:
    return (
        delivery.delivery_id,
        delivery.status,
        str(delivery.attempt_count),
        moment(delivery.next_attempt_at),
        delivery.url if delivery.output is None else one_line(f"{delivery.output} to {delivery.url}"),
        one_line(delivery.error or proof(delivery.receipt)),
    )


def _progress(task: Task | TaskSummary) -> str:
    fraction = "" if task.progress.fraction is None else f"{task.progress.fraction:.0%}"
    return f"{fraction} {task.progress.message}".strip()
