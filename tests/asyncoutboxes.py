"""`AsyncOutbox` with the calls of `Outbox`, so that the same tests hold for both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from callback_sdk import AsyncOutbox, Outbox
from tests.eventloops import execute

METHODS = frozenset(name for name in vars(Outbox) if not name.startswith("_"))
"""The methods that are coroutines in asyncio."""


class DrivenOutbox:
    """An `AsyncOutbox` each of whose methods is executed in an event loop of its own.

    Args:
        path: The file.
        options: Arguments of `AsyncOutbox`.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        self._outbox = AsyncOutbox(path, **options)

    def __enter__(self) -> DrivenOutbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._outbox, name)
        return (lambda *args, **kwargs: execute(found(*args, **kwargs))) if name in METHODS else found


OUTBOXES: dict[str, Callable[..., Any]] = {"blocking": Outbox, "asyncio": DrivenOutbox}
