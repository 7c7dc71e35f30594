"""Options of commands that correspond to settings."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from callback_sdk.config.definition import Setting
from callback_sdk.config.settings import DATA_DIR, DATABASE

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig
    from callback_sdk.config.storage import TargetConfig, WriterConfig

RegistryName = Annotated[
    str, typer.Argument(metavar="REGISTRY", help="Module and variable: my_package.jobs:registry.", show_default=False)
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AlwaysJSON = Annotated[bool, typer.Option("--json", help="Print JSON, as without this option.", show_default=False)]

STORAGE = (DATA_DIR, DATABASE)
"""Settings of the commands that open a service's database."""


def takes_settings(
    *options: Setting, read: Callable[[Mapping[str, str]], Any] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each of these settings to a command, which receives all settings as the argument `config`.

    Options have precedence over environment variables. A command with an argument `given` receives the texts of the
    options on the command line there, by the names of the corresponding environment variables.

    Args:
        options: The settings.
        read: Creates `config` from these texts and the environment.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def call(context: typer.Context, **arguments: Any) -> None:
            values = {option: arguments.pop(option.attribute) for option in options}
            given = {
                option.variable: _text(value, option) for option, value in values.items() if _is_given(option, context)
            }
            if "given" in inspect.signature(command).parameters:
                arguments["given"] = given
            command(config=(read or settings)(given), **arguments)

        _set_signature(call, command, options)
        return call

    return decorate


def settings(given: Mapping[str, str] | None = None) -> ServiceConfig:
    """Return the service's settings from the environment, with some variables overridden."""
    # Imported here, because the module imports boto3.
    from callback_sdk.config.service import ServiceConfig

    return ServiceConfig.from_environ({**os.environ, **(given or {})})


def writer_settings(given: Mapping[str, str]) -> WriterConfig:
    """Return the settings of `ResultsWriter` from the environment, with some variables overridden."""
    from callback_sdk.config.storage import WriterConfig

    return WriterConfig.from_environ({**os.environ, **given})


def target_settings(given: Mapping[str, str]) -> TargetConfig:
    """Return the settings of `check` from the environment, with some variables overridden."""
    from callback_sdk.config.storage import TargetConfig

    return TargetConfig.from_environ({**os.environ, **given})


def option_of(setting: Setting) -> Any:
    """Return the annotation of the command parameter for a setting."""
    return Annotated[
        list[str] | None if setting.repeatable else str | None,
        typer.Option(
            setting.option,
            envvar=setting.variable,
            metavar=setting.metavar,
            help=setting.help + (" Repeatable." if setting.repeatable else ""),
            show_default=setting.shown_default or False,
        ),
    ]


def duration(text: str, option: str) -> timedelta:
    """Parse the duration of an option.

    Raises:
        typer.BadParameter: The text is not a number with a unit.
    """
    from callback_sdk.parsing import DURATION_FORMAT, parse_duration

    try:
        return parse_duration(text)
    except ValueError:
        raise typer.BadParameter(f"Give {DURATION_FORMAT}.", param_hint=option) from None


def _is_given(setting: Setting, context: typer.Context) -> bool:
    """Return whether an option is on the command line. Values of environment variables are read elsewhere."""
    source = context.get_parameter_source(setting.attribute)
    return source is not None and source.name == "COMMANDLINE"


def _text(value: Any, setting: Setting) -> str:
    """Return the value of an option in the form of its environment variable.

    Raises:
        typer.BadParameter: The value is invalid for the setting.
    """
    text = " ".join(value) if setting.repeatable else str(value)
    try:
        setting.parse(text)
    except ValueError:
        problem = "" if setting.secret else f"{text!r} is invalid. "
        raise typer.BadParameter(f"{problem}Give {setting.takes}.", param_hint=setting.option) from None
    return text


def _set_signature(call: Callable[..., None], command: Callable[..., None], options: tuple[Setting, ...]) -> None:
    """Set the signature that Typer reads: the parameters of the command, and one parameter per option."""
    parameters = [
        parameter
        for parameter in inspect.signature(command).parameters.values()
        if parameter.name not in ("config", "given")
    ]
    # Only the annotations of these can be evaluated here; the types of the others are imported for type checkers only.
    own = SimpleNamespace(__annotations__={parameter.name: parameter.annotation for parameter in parameters})
    hints = get_type_hints(own, globalns=command.__globals__, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature(
        [
            inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
            *(parameter.replace(annotation=hints[parameter.name]) for parameter in parameters),
            *(inspect.Parameter(each.attribute, keyword, default=None, annotation=option_of(each)) for each in options),
        ]
    )
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
