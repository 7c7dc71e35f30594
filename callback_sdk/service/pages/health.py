"""Route of the service's health: queue, workers, and charts of the last hour."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.api.access import AppState
from callback_sdk.service.engines.preparation import READY
from callback_sdk.service.pages.auth import app_state, session
from callback_sdk.service.pages.charts import Series, bars, lines
from callback_sdk.service.pages.history import History, history
from callback_sdk.service.pages.rendering import render
from callback_sdk.service.store.stats import TaskAges

_MINUTE, _MINUTES = 60.0, 60

_MAX_TASKS = 5000
"""Maximum number of tasks, and of deliveries, from whose times a chart is drawn."""


async def health(request: Request) -> Response:
    await run_in_threadpool(session, request)
    problem = None
    try:
        await request.app.state.readiness.wait()
    except CallbackSDKError as error:
        problem = str(error)
    workers = await run_in_threadpool(app_state(request).task_service.engine.workers)
    capacity = sum(one.status == READY for one in workers)
    figures = {} if problem else await run_in_threadpool(_statistics, app_state(request), capacity)
    return render(request, "health.html", problem=problem, figures=figures, processes=workers)


def _statistics(state: AppState, capacity: int) -> dict[str, Any]:
    store = state.task_service.store
    queue = _queue(state)
    ended = store.stats.ended(bucket_seconds=_MINUTE, count=_MINUTES)
    ages = [one.age for one in ended]
    latencies = _by_minute(store.stats.latencies(within=_MINUTE * _MINUTES, limit=_MAX_TASKS), ages)
    ends = (f"{_MINUTES} minutes ago", "now")
    p50, p95 = ([_share(found, share) for found in latencies] for share in (0.5, 0.95))
    rows = zip(ended, p50, p95, queue.oldest, queue.busy, strict=True)
    return {
        "tasks": store.tasks.counts(),
        "deliveries": store.deliveries.counts(),
        "queued": {name: load.queued for name, load in store.stats.loads().items() if load.queued},
        "workers": store.workers.all(),
        "throughput": bars(
            "Ended tasks per minute",
            [
                Series(name="Succeeded", values=[one.succeeded for one in ended]),
                Series(name="Failed", values=[one.failed for one in ended]),
            ],
            unit="tasks",
            ends=ends,
        ),
        "latency": lines(
            "Delivery latency per minute",
            [Series(name="p50", values=p50), Series(name="p95", values=p95)],
            unit="seconds",
            ends=ends,
        ),
        "queue_age": lines(
            "Age of the oldest queued task",
            [Series(name="Oldest queued task", values=queue.oldest)],
            unit="seconds",
            ends=ends,
        ),
        "capacity": lines(
            "Running tasks and capacity",
            [Series(name="Busy", values=queue.busy), Series(name="Capacity", values=[capacity] * _MINUTES)],
            unit="tasks",
            ends=ends,
        ),
        "minutes": [row for row in rows if any(row[1:]) or row[0].succeeded or row[0].failed],
    }


def _queue(state: AppState) -> History:
    stats = state.task_service.store.stats
    found, known_from = stats.ages(within=_MINUTE * _MINUTES, limit=_MAX_TASKS)
    # Not all tasks of a long queue are read, but the oldest one of each algorithm.
    found += [TaskAges(age, None, None) for age in stats.oldest_queued().values()]
    return history(found, bucket_seconds=_MINUTE, count=_MINUTES, known_from=known_from)


def _by_minute(found: Sequence[tuple[float, float]], ages: Sequence[int]) -> list[list[float]]:
    minutes: dict[int, list[float]] = {age: [] for age in ages}
    for age, latency in found:
        minutes.get(int(age // _MINUTE), []).append(max(0.0, latency))
    return list(minutes.values())


def _share(values: list[float], share: float) -> float | None:
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]
