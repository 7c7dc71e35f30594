"""Fair sharing of the threads of one process among hosts.

A host that accepts connections but never responds occupies a thread until the timeout. Two rules keep such hosts from
occupying all threads: a host may use at most as many threads as are free (dynamic thresholds for shared buffers,
Choudhury and Hahne 1998), and unresponsive hosts are counted separately and get one attempt each.
"""

from __future__ import annotations

import time
from collections import Counter

from attrs import define

PER_HOST = 8
"""Maximum number of concurrent attempts at one host."""

SLOW = 2.0
"""Seconds without a response after which a host counts as unresponsive."""

_REMEMBERED = 500
"""Maximum number of remembered unresponsive hosts, oldest dropped first. SQLite allows 999 parameters in a query."""

_MAX_ATTEMPTS_FACTOR = 3
"""Maximum number of running attempts, as a multiple of the slots: attempts at unresponsive hosts are extra."""


@define(frozen=True)
class _Attempt:
    host: str
    begun: float


class HostSlots:
    """The running attempts by host. Not thread-safe: `RunningAttempts` holds the lock.

    Args:
        slots: Maximum number of concurrent attempts at responding hosts; as many again at unresponsive ones.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running: dict[str, _Attempt] = {}
        self._silent: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, delivery_id: str) -> bool:
        return delivery_id in self._running

    def begin(self, delivery_id: str, host: str) -> None:
        """Register a new attempt."""
        self._running[delivery_id] = _Attempt(host, time.monotonic())

    def end(self, delivery_id: str, *, responded: bool | None = None) -> None:
        """Unregister an attempt that has ended.

        Args:
            delivery_id: Id of the delivery.
            responded: Whether the host responded; None if no request was sent.
        """
        attempt = self._running.pop(delivery_id, None)
        if attempt is None or responded is None:
            return
        self._silent.pop(attempt.host, None)
        if not responded:
            self._silent[attempt.host] = None
            if len(self._silent) > _REMEMBERED:
                del self._silent[next(iter(self._silent))]

    @property
    def free(self) -> int:
        """Number of attempts that may start at hosts that are not full."""
        return max(
            0, min(self._slots - self._responding_count(), self._slots * _MAX_ATTEMPTS_FACTOR - len(self._running))
        )

    @property
    def free_any_host(self) -> int:
        """Number of attempts that may start even if all of them go to the same host."""
        busiest = max(Counter(attempt.host for attempt in self._running.values()).values(), default=0)
        return max(0, min(self.free, PER_HOST - busiest))

    def full(self) -> list[str]:
        """Return the hosts at which no attempt may start now."""
        silent, free = self._silent_now(), self.free
        counts = Counter(attempt.host for attempt in self._running.values())
        if sum(counts[host] for host in silent) >= self._slots:
            counts.update(dict.fromkeys(silent, 1))
        return [
            host for host, count in counts.items() if count and (host in silent or count >= min(PER_HOST, max(1, free)))
        ]

    def _silent_now(self) -> set[str]:
        late = time.monotonic() - SLOW
        return self._silent.keys() | {attempt.host for attempt in self._running.values() if attempt.begun < late}

    def _responding_count(self) -> int:
        silent = self._silent_now()
        return sum(attempt.host not in silent for attempt in self._running.values())
