"""Engine: the interface of transports of tasks and deliveries to workers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from attrs import define

from callback_sdk.service.engines.preparation import WorkerState


@define(frozen=True, kw_only=True)
class Capacity:
    """The number of further tasks that an engine accepts at the moment.

    Attributes:
        algorithms: The algorithms of the tasks; None for all.
        limit: Maximum number of tasks.
    """

    algorithms: tuple[str, ...] | None = None
    limit: int


class Engine(Protocol):
    """Transports ids to workers. Unreliable: ids may be lost or duplicated, and the dispatcher sends lost ones again.

    An engine accepts only as many ids as workers will soon process, so that a later task of higher priority runs first.

    Attributes:
        needs_polling: Whether the dispatcher has to poll for free capacity, because the engine doesn't notify it.
    """

    needs_polling: bool

    def start(self) -> None:
        """Start the engine."""
        ...

    def capacities(self) -> Sequence[Capacity]:
        """Return the free capacity of each queue."""
        ...

    def send(self, capacity: Capacity, job_ids: Sequence[str]) -> None:
        """Send tasks to workers."""
        ...

    def delivery_capacity(self) -> tuple[int, Collection[str]]:
        """Return how many deliveries the engine accepts now, and the hosts for which it accepts none."""
        ...

    def send_deliveries(self, deliveries: Sequence[tuple[str, str]]) -> Sequence[str]:
        """Send deliveries, as pairs of id and host, to workers, and return the ids that the engine didn't accept."""
        ...

    def cancel(self, job_id: str) -> None:
        """Stop the run of a task that has ended in the store. Optional: the heartbeat of its worker notices it too."""
        ...

    def workers(self) -> Sequence[WorkerState]:
        """Return the states of the workers. It may read the database."""
        ...

    def check(self) -> None:
        """Check that the engine can transport tasks.

        Raises:
            EngineError: The engine is unavailable.
        """
        ...

    def close(self) -> None:
        """Stop and requeue running tasks."""
        ...
