"""Metrics of the service for Prometheus.

Counters and histograms are those of this process since its start. Gauges are read from the store and are the same in
every process.
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

HTTP_REQUESTS = Counter(
    "callback_sdk_http_requests", "HTTP requests, by method and status.", ("method", "status"), registry=_registry
)
HTTP_REQUEST_DURATION = Histogram(
    "callback_sdk_http_request_duration_seconds", "Duration of HTTP requests, in seconds.", ("method",),
    registry=_registry,
)  # fmt: skip
TASKS_ACCEPTED = Counter("callback_sdk_tasks_accepted", "Tasks accepted by this process.", registry=_registry)
TASK_RUNS = Counter(
    "callback_sdk_task_runs",
    "Runs of tasks in this process, by algorithm and outcome: succeeded, failed, crashed or canceled.",
    ("algorithm", "outcome"),
    registry=_registry,
)
TASK_RUN_DURATION = Histogram(
    "callback_sdk_task_run_duration_seconds", "Duration of runs of tasks, in seconds.", ("algorithm",),
    registry=_registry, buckets=(0.01, 0.1, 1, 10, 60, 600, 3600, 36000),
)  # fmt: skip
DELIVERY_ATTEMPTS = Counter(
    "callback_sdk_delivery_attempts", "Delivery attempts of this process, by outcome.", ("outcome",),
    registry=_registry,
)  # fmt: skip


def exposition(store: Store) -> bytes:
    """Return all metrics in Prometheus' text format.

    Raises:
        StoreUnavailableError: The database is unavailable.
    """
    return generate_latest(_registry) + generate_latest(_StoreCollector(store))


class _StoreCollector(Collector):
    """Gauges that are read from the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        tasks = GaugeMetricFamily("callback_sdk_tasks", "Tasks that have not ended, by status.", labels=["status"])
        for status, count in self._store.tasks.counts().items():
            tasks.add_metric([status], count)
        yield tasks
        oldest = GaugeMetricFamily(
            "callback_sdk_oldest_task_seconds",
            "Age of the oldest queued task, by algorithm. It grows while no worker claims its tasks.",
            labels=["algorithm"],
        )
        for algorithm, seconds in self._store.stats.oldest_queued().items():
            oldest.add_metric([algorithm], seconds)
        yield oldest
        deliveries = GaugeMetricFamily(
            "callback_sdk_deliveries", "Pending and dead deliveries of ended tasks, by status.", labels=["status"]
        )
        for status, count in self._store.deliveries.counts().items():
            deliveries.add_metric([status], count)
        yield deliveries
        yield from self._hosts()

    def _hosts(self) -> Iterator[GaugeMetricFamily]:
        hosts = GaugeMetricFamily(
            "callback_sdk_hosts",
            "Hosts to which nothing is sent, or one delivery at a time, by state.",
            labels=["state"],
        )
        for state, count in self._store.hosts.counts().items():
            hosts.add_metric([state], count)
        yield hosts
        count, seconds = self._store.hosts.held()
        yield _gauge("callback_sdk_held_deliveries", "Deliveries that wait for their hosts.", count)
        yield _gauge(
            "callback_sdk_oldest_held_delivery_seconds", "For how long the oldest held delivery waits.", seconds
        )
        yield _gauge(
            "callback_sdk_oldest_due_delivery_seconds",
            "For how long a delivery has been due that isn't held. It grows while no worker sends deliveries.",
            self._store.stats.oldest_due(),
        )


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
