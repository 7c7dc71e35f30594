"""Definition of one setting: environment variable, command line option, parser and default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field


@define(frozen=True)
class Setting:
    """Definition of one setting, with its environment variable and its command line option.

    Attributes:
        name: The environment variable without its prefix.
        parse: Converts the text to the value; raises ValueError for an invalid value.
        takes: Description of the valid values, for errors.
        help: Description for the help, one sentence or more.
        default: Value if the setting is not set.
        shown_default: The default as shown in help and documentation; None without a default.
        secret: Whether the value is a credential, which errors must not show.
        option: The command line option; None without one, as for credentials.
        metavar: Placeholder of the option's value in the help.
        repeatable: Whether the option may be repeated; the variable has its values separated by commas or spaces.
    """

    name: str
    parse: Callable[[str], Any] = field(repr=False)
    takes: str
    help: str
    default: Any = field(default=None, kw_only=True)
    shown_default: str | None = field(default=None, kw_only=True)
    secret: bool = field(default=False, kw_only=True)
    option: str | None = field(default=None, kw_only=True)
    metavar: str | None = field(default=None, kw_only=True)
    repeatable: bool = field(default=False, kw_only=True)

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"CALLBACK_SDK_{self.name}"

    @property
    def attribute(self) -> str:
        """The attribute of the configuration classes."""
        return self.name.lower()
