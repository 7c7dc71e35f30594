"""The commands `tasks` and `cancel`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callback_sdk.commands.client_options import TokenFile, Url, open_client
from callback_sdk.commands.completion import complete_algorithms, complete_jobs, complete_states
from callback_sdk.commands.delivery_filter import UserName
from callback_sdk.commands.ids import explaining_short_ids, full_job_id
from callback_sdk.commands.options import AsJSON
from callback_sdk.commands.printing import one_line, print_error, print_json, print_line, print_table, print_text
from callback_sdk.commands.states import task_filter
from callback_sdk.commands.task_facts import facts, print_task, task_cells

if TYPE_CHECKING:
    from callback_sdk.client import Client, Task

EXIT_ERROR = 1


def tasks(
    job_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[JOB_ID]",
            help="Show this task: its id, or the beginning of it, of at least 4 characters.",
            show_default=False,
            autocompletion=complete_jobs,
        ),
    ] = None,
    *,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS",
            help="Only tasks in this state: pending, in-progress, succeeded, failed, expired or canceled. finished "
            "selects those that succeeded or failed.",
            show_default=False,
            autocompletion=complete_states,
        ),
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only failed tasks, expired ones included: --status failed.")
    ] = False,
    algorithm: Annotated[
        str | None,
        typer.Option(
            metavar="ALGORITHM",
            help="Only tasks of this algorithm.",
            show_default=False,
            autocompletion=complete_algorithms,
        ),
    ] = None,
    user: UserName = None,
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

    Operators see the tasks of all users, and results only if they may read them.

    Exit codes: 0 success; 1 an error, such as an unknown task; 2 wrong usage; 130 Ctrl-C, which ends only --follow.
    """
    _check_options(
        job_id,
        for_list=bool(status or failed or algorithm or user),
        logs=logs,
        follow=follow,
        outputs=outputs or bool(download),
        as_json=as_json,
    )
    if failed and status is not None:
        raise typer.BadParameter("Give one of both.", param_hint="--failed, --status")
    wanted = "failed" if failed else None if status is None else task_filter(status)
    with open_client(url, token_file) as client, explaining_short_ids(job_id):
        job_id = None if job_id is None else full_job_id(client, job_id)
        if job_id is not None and logs:
            _print_logs(client, job_id, follow=follow)
            return
        if job_id is not None:
            task = client.get_task(job_id)
            if outputs or download is not None:
                _show_outputs(task, download, as_json=as_json)
            else:
                _show_task(task, as_json=as_json)
            return
        found = list(client.get_tasks(status=wanted, algorithm_id=algorithm, user=user, limit=limit))
    if as_json:
        print_json([task.to_dict() for task in found])
        return
    heads = ("ID", "ALGORITHM", "KIND", "STATUS", "PROGRESS", "CREATED", "DELIVERIES", "ERROR")
    if len({task.owner for task in found}) < 2:
        print_table(heads, (task_cells(task) for task in found))
    else:
        print_table(("USER", *heads), ((task.owner or "", *task_cells(task)) for task in found))


def cancel(
    job_ids: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB_ID...",
            help="Ids of tasks, or their beginnings.",
            show_default=False,
            autocompletion=complete_jobs,
        ),
    ],
    *,
    as_json: AsJSON = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Cancel tasks, including running ones. A "Canceled" result is delivered to their targets.

    Exit codes: 0 success; 1 if a task has already ended or is unknown; 2 wrong usage.
    """
    with open_client(url, token_file) as client:
        outcomes = [_cancel(client, job_id, quiet=as_json) for job_id in job_ids]
    if as_json:
        print_json(outcomes)
    if not all(outcome["canceled"] for outcome in outcomes):
        raise typer.Exit(EXIT_ERROR)


def _cancel(client: Client, given: str, *, quiet: bool) -> dict[str, Any]:
    from callback_sdk.errors import ConflictError, InvalidRequestError, NotFoundError

    job_id = given
    try:
        with explaining_short_ids(given):
            job_id = full_job_id(client, given)
            client.cancel_task(job_id)
    except (ConflictError, InvalidRequestError, NotFoundError) as error:
        # The other tasks may still be canceled. After any other error they couldn't be.
        print_error(error)
        return {"job_id": job_id, "canceled": False, "error": error.message}
    if not quiet:
        print_line(f"{job_id} is canceled.")
    return {"job_id": job_id, "canceled": True, "error": None}


def _check_options(
    job_id: str | None, *, for_list: bool, logs: bool, follow: bool, outputs: bool, as_json: bool
) -> None:  # fmt: skip
    """Reject options of `tasks` that don't fit each other."""
    if job_id is not None and for_list:
        raise typer.BadParameter(
            "These options select tasks for a list: omit JOB_ID.", param_hint="--status, --algorithm, --user"
        )
    if logs and (job_id is None or as_json):
        raise typer.BadParameter("Give a JOB_ID, and omit --json.", param_hint="--logs")
    if outputs and job_id is None:
        raise typer.BadParameter("Give a JOB_ID.", param_hint="--outputs, --download")
    if outputs and logs:
        raise typer.BadParameter("Omit --logs.", param_hint="--outputs, --download")
    if follow and not logs:
        raise typer.BadParameter("Give --logs too.", param_hint="--follow")


def _print_logs(client: Client, job_id: str, *, follow: bool) -> None:
    is_empty = True
    for text in client.stream_logs(job_id) if follow else [client.get_logs(job_id)]:
        is_empty = is_empty and not text
        print_text(text)
    if is_empty:
        print_line("The task has printed nothing.", err=True)


def _show_task(task: Task, *, as_json: bool) -> None:
    if as_json:
        print_json(task.to_dict())
        return
    print_task(facts(task), task)


def _show_outputs(task: Task, directory: Path | None, *, as_json: bool) -> None:
    """Download the output files of a task, if there is a directory, and list them."""
    found = task.outputs
    paths = [None] * len(found) if directory is None else found.download(directory)
    shown = list(zip(found.values(), paths, strict=True))
    if as_json:
        print_json([file.to_dict() | ({} if path is None else {"path": str(path)}) for file, path in shown])
        return
    if not shown:
        print_line("The task has no output files.", err=True)
        return
    heads = ("NAME", "BYTES", "TYPE", "SHA-256") if directory is None else ("FILE", "BYTES", "TYPE", "SHA-256")
    rows = ((one_line(str(path or file.name)), str(file.size), file.media_type, file.sha256) for file, path in shown)
    print_table(heads, rows)
