"""What the watching process knows of an outbox."""

from __future__ import annotations

from typing import NamedTuple


class WatchedOutbox(NamedTuple):
    """An outbox in which the worker has open jobs.

    Attributes:
        path: Its file.
        lock: The file that the worker has locked; its name is that of the owner.
        directory: The temporary directory to remove at the end; None for an outbox that stays.
    """

    path: str
    lock: str
    directory: str | None
