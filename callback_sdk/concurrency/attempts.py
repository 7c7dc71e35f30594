"""The delivery attempts that run in one process: their number, their hosts, and the claims that they hold."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from callback_sdk.concurrency.host_slots import HostSlots

C = TypeVar("C")


class RunningAttempts(Generic[C]):
    """Attempts that run at the moment, with the claim of each. Threads and signal handlers may share it.

    Args:
        threads: Attempts at once at hosts that respond; see `HostSlots`.
    """

    def __init__(self, threads: int) -> None:
        # Not the condition itself: its `__enter__` is in Python, and a signal inside leaves it held. So is an Event's.
        # Reentrant, as a signal handler may interrupt whoever holds it in the same thread.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._slots = HostSlots(threads)
        self._claims: dict[str, C] = {}
        self._ended = 0
        self._is_closed = False

    def __len__(self) -> int:
        with self._lock:
            return len(self._slots)

    def begin(self, delivery_id: str, host: str, claim: C | None = None) -> None:
        """Count an attempt that begins, whether there is a free slot for it or not."""
        with self._lock:
            if claim is not None:
                self._claims[delivery_id] = claim
            self._slots.begin(delivery_id, host)

    def try_begin(self, delivery_id: str, host: str) -> bool:
        """Count an attempt unless it runs already, all slots or those of its host are taken, or this is closed.

        Returns:
            Whether it was counted.
        """
        with self._lock:
            if not self.free_slots or delivery_id in self._slots or host in self._slots.full():
                return False
            self._slots.begin(delivery_id, host)
            return True

    def end(self, delivery_id: str, claim: C | None = None, *, responded: bool | None = None) -> None:
        """Count an attempt that has ended, unless its claim was dropped before.

        Args:
            delivery_id: Which one.
            claim: The claim that it held; None when it was counted without one.
            responded: Whether its host sent a response; None when no request was sent.
        """
        with self._lock:
            if claim is None or self._claims.get(delivery_id) == claim:
                self._slots.end(delivery_id, responded=responded)
                # At last: after a signal before this line the claim is released, which ends the attempt once more.
                self._claims.pop(delivery_id, None)
            self._ended += 1
            self._changed.notify_all()

    def claims(self) -> dict[str, C]:
        """Return the claims that are held, by the deliveries' ids."""
        with self._lock:
            return dict(self._claims)

    def drop_claims(self) -> None:
        """Forget all claims, so that no heartbeat renews them."""
        with self._lock:
            self._claims.clear()
            self._changed.notify_all()

    @property
    def free_slots_any_host(self) -> int:
        """How many further attempts may begin whatever their hosts are, even if all have the same one."""
        with self._lock:
            return 0 if self._is_closed else self._slots.free_any_host

    @property
    def free_slots(self) -> int:
        """How many further attempts may begin to hosts that are not full."""
        with self._lock:
            return 0 if self._is_closed else self._slots.free

    def full_hosts(self) -> list[str]:
        """Return the hosts that get no further attempt at the moment."""
        with self._lock:
            return self._slots.full()

    def close(self, timeout: float) -> None:
        """Let no further attempt begin, and wait for those that run, at most for so many seconds."""
        with self._lock:
            self._is_closed = True
            self._changed.wait_for(lambda: not len(self._slots), timeout)

    def wait_without_claims(self, timeout: float) -> bool:
        """Wait until no claim is held, at most for so many seconds, and return whether none is."""
        with self._lock:
            return self._changed.wait_for(lambda: not self._claims, timeout)

    @property
    def ended(self) -> int:
        """How many attempts have ended."""
        return self._ended

    def wait_for_end(self, seen: int, timeout: float) -> None:
        """Wait until more attempts have ended than were seen, at most for so many seconds."""
        with self._lock:
            self._changed.wait_for(lambda: self._ended > seen, timeout)
