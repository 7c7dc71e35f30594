"""The stand-in for the client of an object that was pickled, as credentials are never pickled."""

from __future__ import annotations

from typing import NoReturn

from callback_sdk.errors import ConfigurationError


class Detached:
    """Raises an error for whatever the object wants of its client.

    Args:
        message: What can't be done.
        hint: What to do instead.
    """

    def __init__(self, message: str, hint: str) -> None:
        self._error = (message, hint)

    def __getattr__(self, name: str) -> NoReturn:
        message, hint = self._error
        raise ConfigurationError(message, hint=hint)
