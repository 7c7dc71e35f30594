"""Copies and pickles: a client is shared by copies, and never pickled, as it holds a credential."""

from __future__ import annotations

from typing import NoReturn, TypeVar

from callback_sdk.errors import ConfigurationError

C = TypeVar("C", bound="SharedByCopies")


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


class SharedByCopies:
    """A client: copies of objects share it, and it can't be pickled."""

    def __copy__(self: C) -> C:
        # Threads share a client, and so do objects.
        return self

    def __deepcopy__(self: C, memo: object) -> C:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"A client holds a credential, so {self!r} is not pickled. Make a client in the other process: "
            "Client(url, token=...), or Client() with CALLBACK_SDK_URL and CALLBACK_SDK_TOKEN in its environment."
        )
