"""What the watching process knows of outboxes and open jobs."""

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


class WatchedJob(NamedTuple):
    """An open job of the worker.

    Attributes:
        key: Its key.
        path: Its outbox.
        limit: Its time limit in seconds; None without one.
        ends_at: When it reaches the limit, by the monotonic clock, which all processes share; None without one.
    """

    key: str
    path: str
    limit: float | None
    ends_at: float | None
