"""The command `submit`."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callback_sdk.commands.client_options import Parameters, TokenFile, Url, open_client, read_parameters
from callback_sdk.commands.completion import complete_algorithms
from callback_sdk.commands.options import AsJSON, duration
from callback_sdk.commands.printing import print_error, print_json, print_line
from callback_sdk.commands.task_facts import facts, print_task
from callback_sdk.config.target_files import read_targets, split_outputs

if TYPE_CHECKING:
    from callback_sdk.client import Task

EXIT_FAILED = 3
"""Exit code if the task failed, or a delivery of its result is dead."""

_MAX_SUMMARY = 300
"""Maximum characters of results that are shown without --json."""

_SHORTEST_WAIT = 0.001
"""Seconds of a wait after a submission that took all the time: the task is requested once."""


def submit(
    context: typer.Context,
    algorithm: Annotated[
        str,
        typer.Argument(
            metavar="ALGORITHM",
            help="Name of the algorithm.",
            show_default=False,
            autocompletion=complete_algorithms,
        ),
    ],
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
        print_task({**facts(task), "ID": "", "ERROR": "", **results}, task)
    if wait:
        _end(task)


def add_to(app: typer.Typer) -> None:
    """Add the command to an app."""
    # `submit` itself rejects extra arguments, because Typer would print them, and they may be credentials.
    app.command(context_settings={"allow_extra_args": True})(submit)


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


def _summary(results: Any) -> str:
    """Return the start of results as JSON; the end of long ones is left out."""
    text = "" if results is None else json.dumps(results, ensure_ascii=False)
    return text if len(text) <= _MAX_SUMMARY else f"{text[:_MAX_SUMMARY]}… (--json prints all)"
