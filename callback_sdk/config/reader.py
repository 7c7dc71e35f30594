"""Reads settings from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from attrs import define, field, fields

from callback_sdk.config import settings
from callback_sdk.config.definition import Setting
from callback_sdk.config.environ_config import environ
from callback_sdk.errors import ConfigurationError, InvalidTargetError
from callback_sdk.redaction import hides_tracebacks, without_credentials

T = TypeVar("T")

_PREFIX = "CALLBACK_SDK_"

_LINK = re.compile("_(?:SERVICE_HOST|SERVICE_PORT|PORT_[0-9]+_(?:TCP|UDP|SCTP))(?:_|$)")
_LINKED = re.compile("(?:tcp|udp|sctp)://")

_OWN = frozenset({"CALLBACK_SDK_PROGRESS", "CALLBACK_SDK_RESULTS"})
"""Variables that `callback-sdk exec` sets for its program."""

SEED_NAMES = {
    "CALLBACK_SDK_TOKEN": "COMPREDICT_AI_CORE_KEY",
    "CALLBACK_SDK_FAIL_ON_ERROR": "COMPREDICT_AI_CORE_FAIL_ON_ERROR",
    "CALLBACK_SDK_BUCKET": "BUCKET",
    "CALLBACK_SDK_REGION": "REGION",
}
"""Names that scripts for the AI platform's SDK use for the same settings."""


@define(frozen=True)
class _Found:
    """The text of a variable with the variable's name, for errors."""

    name: str
    text: str = field(repr=False)


def variable(setting: Setting) -> Any:
    """Return an attribute of a configuration class for the value of a setting."""

    def convert(value: Any) -> Any:
        if not isinstance(value, _Found):
            return value
        try:
            return setting.parse(value.text)
        except (ValueError, InvalidTargetError):
            pass
        found = "can't be read" if setting.secret else f"is {without_credentials(value.text)!r}"
        raise ConfigurationError(f"The environment variable {value.name} {found}.", hint=f"It takes {setting.takes}.")

    return environ.var(default=setting.default, name=setting.variable, converter=convert, help=setting.help)


def settings_of(cls: type) -> list[Setting]:
    """Return the settings of a configuration class, in its order."""
    return [getattr(settings, attribute.name.upper()) for attribute in fields(cls)]


def _find_variables(variables: Mapping[str, str]) -> dict[str, _Found]:
    found = {}
    for own, text in variables.items():
        if own.startswith(_PREFIX) and text.strip() and not _is_service_link(own, text):
            found[own] = _Found(own, text)
    for own, seed in SEED_NAMES.items():
        if own not in found and variables.get(seed, "").strip():
            found[own] = _Found(seed, variables[seed])
    return found


def unknown_variables(variables: Mapping[str, str] | None = None) -> list[str]:
    """Return a warning for each variable that begins like a setting, and is none.

    Args:
        variables: The environment; that of the process if None.
    """
    known = sorted(setting.variable for setting in vars(settings).values() if isinstance(setting, Setting))
    given = os.environ if variables is None else variables
    return [
        f"The environment variable {name} is not a setting and has no effect.{_meant(name, known)}"
        for name in sorted(given)
        if name.startswith(_PREFIX)
        and name not in known
        and name not in _OWN
        and not _is_service_link(name, given[name])
    ]


def _is_service_link(name: str, text: str) -> bool:
    """Tell whether Kubernetes or Docker has set a variable for a service that is named `callback-sdk` or `…-worker`.

    `CALLBACK_SDK_PORT=tcp://10.0.0.1:8000` is one ("Accessing the Service" in the documentation of Kubernetes).
    """
    return _LINK.search(name) is not None or (name.endswith("_PORT") and _LINKED.match(text.strip()) is not None)


def _meant(name: str, known: Sequence[str]) -> str:
    own_parts = [each.removeprefix(_PREFIX) for each in known]
    near = get_close_matches(name.removeprefix(_PREFIX), own_parts, n=1, cutoff=0.75)
    return f" Did you mean {_PREFIX}{near[0]}?" if near else ""


class Config:
    """Base class of the configuration classes."""

    @classmethod
    @hides_tracebacks
    def from_environ(cls: type[T], variables: Mapping[str, str] | None = None) -> T:
        """Read the environment, or the mapping `variables` instead.

        Raises:
            ConfigurationError: A variable has an invalid value; the text names the variable.
        """
        values: T = environ.to_config(cls, _find_variables(os.environ if variables is None else variables))
        return values
