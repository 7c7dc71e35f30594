"""What there is to know of a setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field


@define(frozen=True)
class Setting:
    """One setting: the environment variable and the command line option with the same meaning.

    Attributes:
        name: The environment variable without its prefix.
        parse: From its text to its value; a ValueError means that the text has no such value.
        takes: Which texts it takes, for errors.
        help: Its meaning, one sentence or more.
        default: The value when it is not set.
        shown_default: The default as people write it; None when there is none.
        secret: Whether it is a credential, whose text no error shows.
        option: The command line option; None when there is none, as for credentials.
        metavar: What the option takes, in its help.
        repeatable: Whether the option may be given several times; the variable separates by commas or spaces.
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
