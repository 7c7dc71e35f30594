"""Waiters: counts the clients that wait for changes of tasks, and limits them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import define, field
from starlette.exceptions import HTTPException

from callback_sdk.service.metrics import WAITING_CLIENTS

MAX_WAITERS = 750
"""Default maximum number of waiting clients of this process: three quarters of the connections."""


@define(eq=False)
class Waiters:
    """The waiting clients of this process: open event streams and long polls. It runs in the event loop.

    A waiting client holds a connection, and none of them is closed for a new one. So some connections are left for
    other requests, and each user gets half of the rest.

    Args:
        total: Maximum number of waiting clients.
        per_user: Maximum number of one user; half of all if None.
    """

    _total: int = MAX_WAITERS
    _per_user: int | None = field(default=None, kw_only=True)
    _counts: Counter[str] = field(factory=Counter, init=False)

    def check(self, user_id: str) -> None:
        """Check that another client of a user may wait.

        Raises:
            HTTPException: 429 if the user has too many waiting clients; 503 if the process has.
        """
        of_user = self._counts[user_id]
        if of_user >= (max(1, self._total // 2) if self._per_user is None else self._per_user):
            text = f"You have {of_user} waiting clients, which is the limit. Close some."
            raise HTTPException(429, text, {"Retry-After": "5"})
        if self._counts.total() >= self._total:
            raise HTTPException(503, "The service has too many waiting clients. Try again.", {"Retry-After": "5"})

    @contextmanager
    def counted(self, user_id: str, kind: str) -> Iterator[None]:
        """Count a waiting client during the block.

        Args:
            user_id: Its user.
            kind: `"poll"` or `"stream"`.
        """
        self._counts[user_id] += 1
        WAITING_CLIENTS.labels(kind).inc()
        try:
            yield
        finally:
            WAITING_CLIENTS.labels(kind).dec()
            self._counts[user_id] -= 1
            if not self._counts[user_id]:
                del self._counts[user_id]
