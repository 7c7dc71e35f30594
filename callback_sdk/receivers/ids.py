"""Ids of deliveries: which ones have been handled, and which ones are being handled.

A claim is made before the handler runs, and completed after it. When the handler fails, the claim is released, so that
the next attempt of the sender is accepted. When the process dies, the claim ends with its lease.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, Protocol

from callback_sdk.concurrency.forking import RLock
from callback_sdk.parsing import positive_int

ClaimResult = Literal["new", "running", "done"]
"""Result of a claim: the delivery is new and now claimed, another one handles it, or it has been handled."""


class DeliveryIds(Protocol):
    """Storage of the ids of deliveries. Thread-safe; calls may block."""

    def claim(self, delivery: str, token: str) -> ClaimResult:
        """Claim a delivery, unless it is claimed or completed.

        Args:
            delivery: Identifies the delivery and its document, in at most 100 ASCII characters.
            token: Identifies the claim.
        """

    def complete(self, delivery: str, token: str) -> None:
        """Record that a delivery has been handled.

        Args:
            delivery: The delivery.
            token: That of the claim.
        """

    def release(self, delivery: str, token: str) -> None:
        """End a claim, so that the delivery can be claimed again. A claim with another token stays.

        Args:
            delivery: The delivery.
            token: That of the claim.
        """


class MemoryIds:
    """Ids in the memory of one process. After a restart, deliveries are handled again if their sender repeats them.

    Args:
        max_ids: Number of handled deliveries that are remembered, the last ones; about 200 bytes each.

    Raises:
        ConfigurationError: `max_ids` is not a positive integer.
    """

    def __init__(self, *, max_ids: int = 100_000) -> None:
        self._max_ids = positive_int("max_ids", max_ids)
        self._lock = RLock()
        self._running: dict[str, str] = {}
        self._done: OrderedDict[str, None] = OrderedDict()

    def claim(self, delivery: str, token: str) -> ClaimResult:
        """See `DeliveryIds.claim`."""
        with self._lock:
            if delivery in self._done:
                return "done"
            if self._running.setdefault(delivery, token) != token:
                return "running"
            return "new"

    def complete(self, delivery: str, token: str) -> None:
        """See `DeliveryIds.complete`."""
        with self._lock:
            self.release(delivery, token)
            self._done[delivery] = None
            while len(self._done) > self._max_ids:
                self._done.popitem(last=False)

    def release(self, delivery: str, token: str) -> None:
        """See `DeliveryIds.release`."""
        with self._lock:
            if self._running.get(delivery) == token:
                del self._running[delivery]
