"""Setup: a function that each worker process calls once, before its first task."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from callback_sdk.errors import ConfigurationError
from callback_sdk.service.algorithms.completion import complete

SETUP_TIMEOUT = timedelta(minutes=10)
"""Default timeout of a setup."""


class Setup:
    """A setup of a registry or of an algorithm, with what it returned in this process.

    Args:
        name: What it prepares, in an error.
        function: The function; it may be asynchronous.
        timeout: Maximum duration.

    Attributes:
        state: What the function returned; None before.

    Raises:
        ConfigurationError: The function can't be called without arguments.
    """

    def __init__(self, name: str, function: Callable[[], Any], timeout: timedelta) -> None:
        check_setup(function, f"The setup of {name}")
        self.name = name
        self.timeout = timeout
        self.state: Any = None
        self._function = function

    def run(self) -> None:
        """Call the function."""
        self.state = complete(self._function(), lambda _: None)


def check_setup(function: Any, what: str) -> None:
    """Check that a function can be called without arguments, and returns its state.

    Args:
        function: The function, or a class.
        what: The function in an error.

    Raises:
        ConfigurationError: It can't.
    """
    hint = "Write a function without arguments that returns what context.state is to be, or a class without arguments."
    if not callable(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"{what} is not a function that returns a value.", hint=hint)
    try:
        inspect.signature(function).bind()
    except ValueError:
        pass  # Functions and classes of C, some of which have no signature.
    except TypeError as error:
        raise ConfigurationError(f"{what} can't be called without arguments: {error}.", hint=hint) from None
