"""An engine of several, each of which runs the tasks of some algorithms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from callback_sdk.service.engines.engine import Capacity, Engine
from callback_sdk.service.engines.preparation import WorkerState


class CombinedEngine:
    """Engines that share a deliverer, and have different algorithms.

    Args:
        engines: The engines by their algorithms. The first one delivers.
    """

    needs_polling = False

    def __init__(self, engines: Sequence[tuple[Collection[str], Engine]]) -> None:
        self._engines = engines

    def start(self) -> None:
        """Start the engines."""
        self._each(lambda engine: engine.start())

    def capacities(self) -> Sequence[Capacity]:
        """Return the free capacity of each engine; see `Engine.capacities`."""
        return [
            Capacity(algorithms=tuple(algorithms), limit=capacity.limit)
            for algorithms, engine in self._engines
            for capacity in engine.capacities()
        ]

    def send(self, capacity: Capacity, job_ids: Sequence[str]) -> None:
        """Send tasks to the engine of their algorithms."""
        for algorithms, engine in self._engines:
            if tuple(algorithms) == capacity.algorithms:
                engine.send(capacity, job_ids)

    def delivery_capacity(self) -> tuple[int, Collection[str]]:
        """Return how many delivery attempts can start now; see `Engine.delivery_capacity`."""
        return self._engines[0][1].delivery_capacity()

    def send_deliveries(self, deliveries: Sequence[tuple[str, str]]) -> Sequence[str]:
        """Start delivery attempts; see `Engine.send_deliveries`."""
        return self._engines[0][1].send_deliveries(deliveries)

    def cancel(self, job_id: str) -> None:
        """Stop the run of a task."""
        self._each(lambda engine: engine.cancel(job_id))

    def workers(self) -> Sequence[WorkerState]:
        """Return the states of all workers; see `Engine.workers`."""
        return [worker for _, engine in self._engines for worker in engine.workers()]

    def check(self) -> None:
        """Check that the engines work; see `Engine.check`."""
        self._each(lambda engine: engine.check())

    def close(self) -> None:
        """Close the engines at the same time: each waits for its running tasks until the shutdown timeout."""
        with ThreadPoolExecutor(len(self._engines)) as pool:
            list(pool.map(lambda one: one[1].close(), self._engines))

    def _each(self, call: Callable[[Engine], object]) -> None:
        for _, engine in self._engines:
            call(engine)
