"""The running delivery attempts of one process: their number, hosts and claims."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from callback_sdk.concurrency.host_slots import HostSlots

C = TypeVar("C")


class RunningAttempts(Generic[C]):
    """The running attempts, with the claim of each. Safe to use from several threads and from signal handlers.

    Args:
        threads: Maximum number of concurrent attempts at responding hosts; see `HostSlots`.
    """

    def __init__(self, threads: int) -> None:
        # Use the lock, not the condition, as the context manager: `Condition.__enter__` is written in Python, and an
        # exception from a signal handler inside it leaves the lock held. The same applies to `Event`.
        # The lock is reentrant, because a signal handler may interrupt its holder in the same thread.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._slots = HostSlots(threads)
        self._listeners: list[Callable[[], object]] = []
        self._claims: dict[str, C] = {}
        self._ended = 0
        self._is_closed = False

    def __len__(self) -> int:
        with self._lock:
            return len(self._slots)

    def begin(self, delivery_id: str, host: str, claim: C | None = None) -> None:
        """Register a new attempt, even without a free slot."""
        with self._lock:
            if claim is not None:
                self._claims[delivery_id] = claim
            self._slots.begin(delivery_id, host)

    def try_begin(self, delivery_id: str, host: str) -> bool:
        """Register a new attempt if the delivery isn't running, a slot of its host is free, and this isn't closed.

        Returns:
            Whether the attempt was registered.
        """
        with self._lock:
            if not self.free_slots or delivery_id in self._slots or host in self._slots.full():
                return False
            self._slots.begin(delivery_id, host)
            return True

    def end(self, delivery_id: str, claim: C | None = None, *, responded: bool | None = None) -> None:
        """Unregister an attempt that has ended, unless its claim has already been dropped.

        Args:
            delivery_id: Id of the delivery.
            claim: The attempt's claim; None if it was registered without one.
            responded: Whether the host sent a response; None if no request was sent.
        """
        with self._lock:
            if claim is None or self._claims.get(delivery_id) == claim:
                self._slots.end(delivery_id, responded=responded)
                # Last: if a signal handler raises before this line, releasing the claim calls `end` a second time.
                self._claims.pop(delivery_id, None)
            self._ended += 1
            self._notify()

    def claims(self) -> dict[str, C]:
        """Return the held claims by delivery id."""
        with self._lock:
            return dict(self._claims)

    def drop_claims(self) -> None:
        """Drop all claims, so that no heartbeat renews them."""
        with self._lock:
            self._claims.clear()
            self._notify()

    @property
    def free_slots_any_host(self) -> int:
        """Number of attempts that may start even if all of them go to the same host."""
        with self._lock:
            return 0 if self._is_closed else self._slots.free_any_host

    @property
    def free_slots(self) -> int:
        """Number of attempts that may start at hosts that are not full."""
        with self._lock:
            return 0 if self._is_closed else self._slots.free

    def full_hosts(self) -> list[str]:
        """Return the hosts at which no attempt may start now."""
        with self._lock:
            return self._slots.full()

    def close(self, timeout: float) -> None:
        """Reject new attempts, and wait up to `timeout` seconds for the running ones."""
        with self._lock:
            self._is_closed = True
            self._changed.wait_for(lambda: not len(self._slots), timeout)

    def has_no_claims(self) -> bool:
        """Return whether no claim is held."""
        return not self._claims

    def wait_without_claims(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until no claim is held, and return whether none is."""
        return self.wait_for(self.has_no_claims, timeout)

    def wait_for(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Wait up to `timeout` seconds until a condition holds after the end of an attempt; return whether it holds."""
        with self._lock:
            return self._changed.wait_for(holds, timeout)

    @contextlib.contextmanager
    def listening(self, call: Callable[[], object]) -> Iterator[None]:
        """Call a function whenever an attempt has ended, in its thread, within a `with` statement."""
        with self._lock:
            self._listeners.append(call)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(call)

    @property
    def ended(self) -> int:
        """Number of attempts that have ended."""
        return self._ended

    def _notify(self) -> None:
        self._changed.notify_all()
        for call in self._listeners:
            call()
