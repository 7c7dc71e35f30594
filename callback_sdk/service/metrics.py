"""Figures of the service for Prometheus.

What is counted, is counted since the start of this process; what waits is asked of the store, and the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from callback_sdk.service.store import Store

CONTENT_TYPE = CONTENT_TYPE_LATEST

_registry = CollectorRegistry()

REQUESTS = Counter(
    "callback_sdk_requests", "HTTP requests answered, by method and status.", ("method", "status"), registry=_registry
)
REQUEST_SECONDS = Histogram(
    "callback_sdk_request_seconds", "How long an HTTP request took, in seconds.", ("method",), registry=_registry
)
ACCEPTED = Counter("callback_sdk_tasks_accepted", "Tasks that this process accepted.", registry=_registry)
RUNS = Counter(
    "callback_sdk_runs", "Runs of tasks in this process, by algorithm and how they ended.", ("algorithm", "outcome"),
    registry=_registry,
)  # fmt: skip
RUN_SECONDS = Histogram(
    "callback_sdk_run_seconds", "How long a run took, in seconds.", ("algorithm",), registry=_registry,
    buckets=(0.01, 0.1, 1, 10, 60, 600, 3600, 36000),
)  # fmt: skip
ATTEMPTS = Counter(
    "callback_sdk_delivery_attempts", "Tries of deliveries in this process, by their outcome.", ("outcome",),
    registry=_registry,
)  # fmt: skip


def exposition(store: Store) -> bytes:
    """Return all figures in Prometheus' text format.

    Raises:
        StoreUnavailableError: The database can't be asked.
    """
    return generate_latest(_registry) + generate_latest(_Stored(store))


class _Stored(Collector):
    """What the store knows: the same from every process."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the figures."""
        tasks = GaugeMetricFamily("callback_sdk_tasks", "Tasks that have not ended, by status.", labels=["status"])
        for status, count in self._store.tasks.counts().items():
            tasks.add_metric([status], count)
        yield tasks
        oldest = GaugeMetricFamily(
            "callback_sdk_oldest_task_seconds",
            "How long the oldest pending task has waited, by algorithm: it grows when no worker takes any.",
            labels=["algorithm"],
        )
        for algorithm, seconds in self._store.figures.oldest().items():
            oldest.add_metric([algorithm], seconds)
        yield oldest
        deliveries = GaugeMetricFamily(
            "callback_sdk_deliveries", "Deliveries of ended tasks that are not made, by state.", labels=["state"]
        )
        for state, count in self._store.deliveries.counts().items():
            deliveries.add_metric([state], count)
        yield deliveries
