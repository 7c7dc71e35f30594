"""The bearer token that a client sends."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.types import TokenSource


@runtime_checkable
class RenewableToken(Protocol):
    """A source of tokens that can replace one that was rejected."""

    def __call__(self) -> str:
        """Return the current token, in plain text."""
        ...

    def discard(self, refused: Secret[str]) -> None:
        """Get another token at the next use, unless the rejected one was already replaced."""
        ...


_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, section 2.1."""


class Bearer:
    """The bearer token of a client.

    Args:
        source: A token, or a function that returns the current one.

    Raises:
        ConfigurationError: There is no token, or it is not one.
    """

    def __init__(self, source: TokenSource) -> None:
        if not source or not (isinstance(source, str) or callable(source)):
            raise ConfigurationError("The token is empty.", hint="Give a token, or a function that returns one.")
        self.is_renewable = not isinstance(source, str)
        """Whether there may be another token after a rejection."""
        self._source: Callable[[], str] = Secret(source).reveal if isinstance(source, str) else source
        if not self.is_renewable:
            self._read_token()

    def header(self) -> str:
        """Return the value of `Authorization`, in plain text: don't assign it to a variable.

        Raises:
            ConfigurationError: The function returned something that is not a token.
        """
        return f"Bearer {self._read_token().reveal()}"

    def renew(self, refused: Secret[str]) -> bool:
        """Return whether there is a new token instead of a rejected one."""
        if isinstance(self._source, RenewableToken):
            self._source.discard(refused)
        return self._read_token() != refused

    def _read_token(self) -> Secret[str]:
        token = Secret(self._source())
        # The error of http.client for an invalid header shows its value.
        if isinstance(token.reveal(), str) and _TOKEN.fullmatch(token.reveal()):
            return token
        raise ConfigurationError(
            "The token has a character that no bearer token has, or is not a string.",
            hint="Give the token without line breaks, quotation marks and the word Bearer.",
        )
