"""Which host gets the next attempt, when all of them share the threads of one process.

A host that accepts connections and never responds holds an attempt until its timeout. Two rules keep such hosts from
holding all threads: a host may take no more threads than it leaves free (the dynamic thresholds of shared buffers,
Choudhury and Hahne 1998), and hosts that don't respond are counted apart and get one attempt each.
"""

from __future__ import annotations

import time
from collections import Counter

from attrs import define

PER_HOST = 8
"""Attempts at once at one host."""

SLOW = 2.0
"""Seconds without a response after which a host counts as silent."""

_REMEMBERED = 500
"""Silent hosts that are remembered; those of longest ago are forgotten first. SQLite takes 999 of them in a query."""

_MOST = 3
"""Times the slots, at most, that all attempts together may have: silent hosts use more than their part."""


@define(frozen=True)
class _Attempt:
    host: str
    begun: float


class HostSlots:
    """The attempts that run at the moment. Not thread-safe: `RunningAttempts` has the lock.

    Args:
        slots: Attempts at once at hosts that respond; as many again at hosts that don't.
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
        """Count an attempt that begins."""
        self._running[delivery_id] = _Attempt(host, time.monotonic())

    def end(self, delivery_id: str, *, responded: bool | None = None) -> None:
        """Count an attempt that has ended.

        Args:
            delivery_id: Which one.
            responded: Whether its host did; None when it was never asked.
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
        """How many further attempts may begin, whatever their hosts."""
        return max(0, min(self._slots - self._responding(), self._slots * _MOST - len(self._running)))

    @property
    def free_any_host(self) -> int:
        """How many further attempts may begin even if all of them go to one and the same host."""
        busiest = max(Counter(attempt.host for attempt in self._running.values()).values(), default=0)
        return max(0, min(self.free, PER_HOST - busiest))

    def full(self) -> list[str]:
        """Return the hosts that get no further attempt at the moment."""
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

    def _responding(self) -> int:
        silent = self._silent_now()
        return sum(attempt.host not in silent for attempt in self._running.values())
