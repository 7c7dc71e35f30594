"""Options that select deliveries of several tasks."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from callback_sdk.models import DeliveryFilter

Dead = Annotated[bool, typer.Option("--dead", help="Dead deliveries.")]
Failing = Annotated[bool, typer.Option("--failing", help="Pending deliveries whose last attempt failed.")]
Late = Annotated[bool, typer.Option("--late", help="Deliveries that are pending 10 minutes after their task's end.")]
Undelivered = Annotated[bool, typer.Option("--undelivered", help="Dead and pending deliveries.")]
Host = Annotated[str | None, typer.Option(metavar="HOST", help="Only of this target host.", show_default=False)]
AlgorithmName = Annotated[
    str | None, typer.Option("--algorithm", metavar="ALGORITHM", help="Only of this algorithm.", show_default=False)
]
UserName = Annotated[
    str | None,
    typer.Option(
        "--user", metavar="USER", help="Only of this user. Operators see those of all users.", show_default=False
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Only results that were ready since a time in ISO 8601, or for at most a duration such as 90m or 2d.",
        show_default=False,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only results that were ready before this time.", show_default=False),
]
ErrorText = Annotated[
    str | None, typer.Option("--error", metavar="TEXT", help="Only with this in the last error.", show_default=False)
]


def state_of(**flags: bool) -> str | None:
    """Return the status that the only given option names; None without any.

    Raises:
        typer.BadParameter: Several are given.
    """
    given = [name for name, is_given in flags.items() if is_given]
    if len(given) > 1:
        raise typer.BadParameter("Give one of these options.", param_hint=", ".join(f"--{name}" for name in given))
    return given[0] if given else None


def filter_of(
    status: str | None,
    *,
    host: str | None,
    algorithm: str | None,
    user: str | None,
    since: str | None,
    until: str | None,
    error: str | None,
) -> DeliveryFilter:
    """Return the filter that the options describe.

    Raises:
        typer.BadParameter: A time is invalid.
        InvalidRequestError: Another value is invalid.
    """
    from callback_sdk.models import DeliveryFilter

    return DeliveryFilter(
        status=status,
        host=host,
        algorithm=algorithm,
        user=user,
        since=time_of(since, "--since"),
        until=time_of(until, "--until"),
        error=error,
    )


def time_of(text: str | None, option: str) -> datetime | None:
    """Parse a time: in ISO 8601, in the local time zone if it names none; or a duration before now.

    Raises:
        typer.BadParameter: It is neither.
    """
    from callback_sdk.parsing import parse_duration

    if text is None:
        return None
    with suppress(ValueError, OverflowError):
        return datetime.now(timezone.utc) - parse_duration(text)
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)
    raise typer.BadParameter(
        "Give a time such as 2030-01-31T23:00, or a duration such as 90m, 12h or 2d.", param_hint=option
    )
