"""What the service needs of an engine."""

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
    """A courier of ids. It may bring one twice, or lose one: the dispatcher sends again.

    It takes no more than workers will soon come to, so that what is urgent can still go first.

    Attributes:
        needs_polling: Whether nobody wakes the dispatcher when there is room again, so that it has to ask.
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
        """Break off what runs and give it back."""
        ...
