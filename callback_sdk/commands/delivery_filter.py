"""Options that select deliveries of several tasks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from attrs import define

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


_STATES: dict[str, Any] = {"dead": Dead, "failing": Failing, "late": Late, "undelivered": Undelivered}
_TEXTS: dict[str, Any] = {
    "host": Host,
    "algorithm": AlgorithmName,
    "user": UserName,
    "since": Since,
    "until": Until,
    "error": ErrorText,
}


@define(frozen=True, kw_only=True)
class GivenFilter:
    """What the options on the command line select.

    Attributes:
        status: Status of the deliveries; None if no option names one.
        texts: Texts of the other given options, by name.
    """

    status: str | None
    texts: Mapping[str, str]

    def __bool__(self) -> bool:
        return self.status is not None or bool(self.texts)

    def build(self) -> DeliveryFilter:
        """Return the filter.

        Raises:
            typer.BadParameter: A time is invalid.
            InvalidRequestError: Another value is invalid.
        """
        from callback_sdk.models import DeliveryFilter

        times = {name: time_of(self.texts.get(name), f"--{name}") for name in ("since", "until")}
        return DeliveryFilter(status=self.status, **{**self.texts, **times})  # type: ignore[arg-type]


def takes_filter(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select deliveries to a command, which receives them as the argument `given`."""

    @functools.wraps(command)
    def call(**arguments: Any) -> None:
        status = _state({name: arguments.pop(name) for name in _STATES})
        texts = {name: text for name in _TEXTS if (text := arguments.pop(name))}
        command(given=GivenFilter(status=status, texts=texts), **arguments)

    _set_signature(call, command)
    return call


def _set_signature(call: Callable[..., None], command: Callable[..., None]) -> None:
    """Set the signature that Typer reads: the parameters of the command, with the options after its arguments."""
    parameters = [one for one in inspect.signature(command).parameters.values() if one.name != "given"]
    # Only the annotations of these can be evaluated here; the type of `given` is of no interest to Typer.
    own = SimpleNamespace(__annotations__={one.name: one.annotation for one in parameters})
    hints = get_type_hints(own, globalns=command.__globals__, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(name, keyword, default=False if name in _STATES else None, annotation=annotation)
        for name, annotation in (_STATES | _TEXTS).items()
    ]
    typed = [one.replace(annotation=hints[one.name]) for one in parameters]
    found = [
        *(one for one in typed if one.kind is not keyword),
        *options,
        *(one for one in typed if one.kind is keyword),
    ]
    call.__signature__ = inspect.Signature(found)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in found}


def _state(flags: Mapping[str, bool]) -> str | None:
    """Return the status that the only given option names; None without any.

    Raises:
        typer.BadParameter: Several are given.
    """
    given = [name for name, is_given in flags.items() if is_given]
    if len(given) > 1:
        raise typer.BadParameter("Give one of these options.", param_hint=", ".join(f"--{name}" for name in given))
    return given[0] if given else None


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
