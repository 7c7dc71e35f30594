"""The command `audit`: actions of users, such as logins and redeliveries."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from callback_sdk.commands.client_options import TokenFile, Url, open_client
from callback_sdk.commands.delivery_filter import time_of
from callback_sdk.commands.options import AsJSON
from callback_sdk.commands.printing import moment, one_line, print_json, print_table


def audit(
    *,
    actor: Annotated[
        str | None, typer.Option(metavar="USER", help="Only what this user did.", show_default=False)
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(metavar="USER", help="Only what was done to this user's tasks or account.", show_default=False),
    ] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only this action, such as redelivered.", show_default=False)
    ] = None,
    job: Annotated[str | None, typer.Option(metavar="JOB_ID", help="Only this task.", show_default=False)] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Since a time, or a duration such as 90m or 2d.", show_default=False),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of entries.")] = 50,
    as_json: AsJSON = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Show the audit log, the newest entries first: logins, changes of accounts, and actions on other users' tasks.

    For operators. Exit codes: 0 success; 1 an error, such as a user who is not an operator; 2 wrong usage.
    """
    with open_client(url, token_file) as client:
        found = list(
            client.get_audit_log(
                action=action,
                actor=actor,
                owner=user,
                job_id=job,
                since=time_of(since, "--since"),
                until=time_of(until, "--until"),
                limit=limit,
            )
        )
    if as_json:
        print_json([entry.to_dict() for entry in found])
        return
    heads = ("TIME", "ACTOR", "ACTION", "OWNER", "TASK", "FROM", "DETAILS")
    print_table(
        heads,
        (
            (
                moment(entry.at),
                entry.actor or "",
                entry.action,
                entry.owner or "",
                entry.job_id or "",
                f"{entry.via or ''} {entry.address or ''}".strip(),
                one_line(", ".join(f"{name}: {_short(value)}" for name, value in entry.facts.items())),
            )
            for entry in found
        ),
    )


def _short(value: Any) -> str:
    return str(len(value)) if isinstance(value, list) else str(value)
