"""Engine: the interface of what transports tasks to workers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from attrs import define


@define(frozen=True, kw_only=True)
class Capacity:
    """How many further tasks an engine takes at the moment.

    Attributes:
        algorithms: Of these algorithms; None for all.
        limit: At most so many.
    """

    algorithms: tuple[str, ...] | None = None
    limit: int


class Engine(Protocol):
    """Transports ids to workers, at least once and unreliably: the dispatcher sends lost ones again.

    It takes only as many ids as workers will run soon, so that urgent tasks can still go first.

    Attributes:
        needs_polling: Whether the dispatcher has to ask for free capacity, as nothing wakes it.
    """

    needs_polling: bool

    def start(self) -> None:
        """Take up the work."""
        ...

    def capacities(self) -> Sequence[Capacity]:
        """Return how many tasks it takes now, for each of its queues."""
        ...

    def send(self, capacity: Capacity, job_ids: Sequence[str]) -> None:
        """Bring tasks to some worker, soon."""
        ...

    def delivery_capacity(self) -> tuple[int, Collection[str]]:
        """Return how many deliveries it takes now, and the hosts for which it takes none."""
        ...

    def send_deliveries(self, deliveries: Sequence[tuple[str, str]]) -> Sequence[str]:
        """Bring deliveries, as ids and hosts, to some worker, and return the ids of those that it didn't take."""
        ...

    def cancel(self, job_id: str) -> None:
        """Stop the computation of a task that the store has ended already. A worker notices by itself, but later."""
        ...

    def check(self) -> None:
        """Make sure that it can bring anything.

        Raises:
            EngineError: It can't.
        """
        ...

    def close(self) -> None:
        """Stop and requeue what runs."""
        ...
