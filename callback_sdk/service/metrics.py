"""Metrics of the service for Prometheus.

Counters and histograms are those of this process since its start, and so are the waiting clients. The other gauges are
read from the store and are the same in every process.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
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
WAITING_CLIENTS = Gauge(
    "callback_sdk_waiting_clients",
    "Clients of this process that wait for tasks, by kind: poll (long polling) or stream (server-sent events).",
    ("kind",),
    registry=_registry,
)
for _kind in ("poll", "stream"):
    WAITING_CLIENTS.labels(_kind)
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


def exposition(store: Store, algorithms: Iterable[str] = ()) -> bytes:
    """Return all metrics in Prometheus' text format.

    Args:
        store: The store.
        algorithms: Names of the algorithms, whose gauges exist although they are 0: autoscalers need them.

    Raises:
        StoreUnavailableError: The database is unavailable.
    """
    return generate_latest(_registry) + generate_latest(_StoreCollector(store, algorithms))


class _StoreCollector(Collector):
    """Gauges that are read from the store."""

    def __init__(self, store: Store, algorithms: Iterable[str]) -> None:
        self._store = store
        self._algorithms = list(algorithms)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        counts = self._store.tasks.counts()
        yield _gauge("tasks", "Tasks that have not ended, by status.", "status", counts)
        yield from self._loads()
        deliveries = self._store.deliveries.counts()
        yield _gauge("deliveries", "Pending and dead deliveries of ended tasks, by status.", "status", deliveries)
        yield from self._hosts()

    def _loads(self) -> Iterator[GaugeMetricFamily]:
        loads = self._store.stats.loads()
        idle: Counts[str] = Counts()
        for worker in self._store.workers.all():
            idle.update(dict.fromkeys(worker.algorithms, worker.idle))
        paused = {one.algorithm for one in self._store.pauses.all()}
        names = sorted({*self._algorithms, *loads, *idle, *paused})
        yield _gauge(
            "algorithm_paused",
            "1 for each paused algorithm, 0 for the others.",
            "algorithm",
            {name: name in paused for name in names},
        )
        queued = {name: loads[name].queued if name in loads else 0 for name in names}
        yield _gauge("queued_tasks", "Queued tasks, by algorithm.", "algorithm", queued)
        yield _gauge(
            "oldest_task_seconds",
            "Age of the oldest queued task, by algorithm. It grows while no worker claims its tasks.",
            "algorithm",
            {name: load.oldest for name, load in loads.items() if load.oldest is not None},
        )
        workers = GaugeMetricFamily(
            "callback_sdk_workers",
            "Workers that run a task of the algorithm (busy), and those that could run a further one (idle).",
            labels=["algorithm", "state"],
        )
        for name in names:
            workers.add_metric([name, "busy"], loads[name].running if name in loads else 0)
            workers.add_metric([name, "idle"], idle[name])
        yield workers

    def _hosts(self) -> Iterator[GaugeMetricFamily]:
        states = self._store.hosts.counts()
        yield _gauge("hosts", "Hosts to which nothing is sent, or one delivery at a time, by state.", "state", states)
        count, seconds = self._store.hosts.held()
        yield _number("held_deliveries", "Deliveries that wait for their hosts.", count)
        yield _number("oldest_held_delivery_seconds", "For how long the oldest held delivery waits.", seconds)
        yield _number(
            "oldest_due_delivery_seconds",
            "For how long a delivery has been due that isn't held. It grows while no worker sends deliveries.",
            self._store.stats.oldest_due(),
        )


def _gauge(name: str, documentation: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    found = GaugeMetricFamily(f"callback_sdk_{name}", documentation, labels=[label])
    for value, number in values.items():
        found.add_metric([value], number)
    return found


def _number(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"callback_sdk_{name}", documentation, value=value)
