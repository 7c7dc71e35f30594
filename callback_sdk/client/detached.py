"""Copying and pickling: copies share a client, and a client can't be pickled, because it contains a credential."""

from __future__ import annotations

from typing import NoReturn, TypeVar

from callback_sdk.errors import ConfigurationError

C = TypeVar("C", bound="SharedByCopies")


class DetachedClient:
    """Stands in for the client of an unpickled object, and raises an error on any use.

    Args:
        message: The error's message.
        hint: The error's hint.
    """

    def __init__(self, message: str, hint: str) -> None:
        self._error = (message, hint)

    def __getattr__(self, name: str) -> NoReturn:
        message, hint = self._error
        raise ConfigurationError(message, hint=hint)


class SharedByCopies:
    """Base class of clients: copies share the client, and it can't be pickled."""

    def __copy__(self: C) -> C:
        # The client itself: it is thread-safe, so objects can share it.
        return self

    def __deepcopy__(self: C, memo: object) -> C:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"{self!r} can't be pickled, because a client contains a credential. Create a client in the other process: "
            "Client(url, token=...), or Client() with CALLBACK_SDK_URL and CALLBACK_SDK_TOKEN in its environment."
        )
