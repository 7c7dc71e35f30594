"""The commands `workers`, `pause-algorithm` and `resume-algorithm`."""

from __future__ import annotations

from typing import Annotated

import typer

from callback_sdk.commands.client_options import TokenFile, Url, open_client
from callback_sdk.commands.options import AsJSON
from callback_sdk.commands.printing import moment, one_line, print_json, print_outcome, print_table

_Algorithm = Annotated[str, typer.Argument(help="Id of the algorithm.", show_default=False)]


def workers(*, as_json: AsJSON = False, url: Url = None, token_file: TokenFile = None) -> None:
    """List the workers of a service, with their algorithms, running tasks and last heartbeat.

    For operators. A worker that has sent no heartbeat for 30 s is lost, and listed for a day.

    Exit codes: 0 success; 1 an error, such as a user who is not an operator; 2 wrong usage.
    """
    with open_client(url, token_file) as client:
        found = client.get_workers()
    if as_json:
        print_json([worker.to_dict() for worker in found])
        return
    heads = ("NAME", "STATUS", "RUNNING", "ALGORITHMS", "HOST", "VERSION", "HEARTBEAT")
    print_table(
        heads,
        (
            (
                worker.name,
                worker.status,
                f"{worker.running} of {worker.slots}",
                one_line(", ".join(worker.algorithms)),
                worker.host,
                worker.package_version,
                moment(worker.heartbeat_at),
            )
            for worker in found
        ),
    )


def pause_algorithm(
    algorithm: _Algorithm,
    *,
    reject: Annotated[
        bool, typer.Option("--reject", help="Reject new tasks, instead of accepting and queuing them.")
    ] = False,
    reason: Annotated[str, typer.Option(help="The reason, for users.", show_default=False)] = "",
    as_json: AsJSON = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Pause an algorithm: its queued tasks are not started. Running tasks end.

    For operators. Exit codes: 0 success; 1 an error, such as an unknown algorithm; 2 wrong usage.
    """
    with open_client(url, token_file) as client:
        paused = client.pause_algorithm(algorithm, accept=not reject, reason=reason)
    text = f"{algorithm} is paused; new tasks are {'queued' if paused.accept else 'rejected'}."
    print_outcome(text, paused.to_dict(), as_json=as_json)


def resume_algorithm(
    algorithm: _Algorithm, *, as_json: AsJSON = False, url: Url = None, token_file: TokenFile = None
) -> None:
    """Start the queued tasks of a paused algorithm again.

    For operators. Exit codes: 0 success; 1 an error, such as an unknown algorithm; 2 wrong usage.
    """
    with open_client(url, token_file) as client:
        client.resume_algorithm(algorithm)
    print_outcome(f"{algorithm} runs again.", {"algorithm": algorithm, "paused": False}, as_json=as_json)
