"""Observations: the problems of a service that need an operator."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from callback_sdk.concurrency.circuit import HALF_OPEN, OPEN
from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import without_credentials
from callback_sdk.service.alerts.decisions import Problem
from callback_sdk.service.engines.preparation import FAILED, WorkerState
from callback_sdk.service.files import check_writable
from callback_sdk.service.store import Store
from callback_sdk.service.store.hosts import HostState
from callback_sdk.service.store.models import DEAD
from callback_sdk.text.descriptions import sentence

MIN_FREE = 1024**3
"""Bytes of free space below which a disk is nearly full, whatever its size."""

_MIN_SHARE, _MAX_FREE = 0.05, 10 * 1024**3
"""Share of free space below which a disk is nearly full, unless that is more than the other figure, in bytes."""

_MAX_HOSTS = 50
"""Maximum number of hosts with an alert of their own, those with the most held deliveries first."""

_MAX_TEXT = 500
"""Maximum characters of an error."""

_BRIEF = 60.0
"""Seconds for which what recovers by itself, such as a restarted server, needs no operator."""


def of_store(store: Store, *, queue_age: timedelta) -> list[Problem]:
    """Return the problems that the store knows of.

    Args:
        store: The store.
        queue_age: Age of the oldest queued task that is a problem.

    Raises:
        StoreUnavailableError: The database is unavailable.
    """
    return [
        *_dead(store.deliveries.counts()[DEAD]),
        *_circuits(store.hosts.all(limit=_MAX_HOSTS)),
        *_webhooks(len(store.hosts.disabled_webhooks())),
        *_queues(store.stats.oldest_queued(), store.stats.oldest_due(), queue_age.total_seconds()),
    ]


def of_workers(workers: Sequence[WorkerState]) -> list[Problem]:
    """Return the problem of workers that can't load the algorithms."""
    failing = [one for one in workers if one.status == FAILED]
    if not failing:
        return []
    reason = next((one.problem for one in failing if one.problem), "")
    return [
        Problem(
            name="setup",
            kind="setup",
            summary=f"{len(failing)} of {len(workers)} workers can't take tasks: {_text(reason)}",
            hint="Fix what the error names; the workers try again by themselves. Tasks stay queued.",
            size=len(failing),
            delay=_BRIEF,
        )
    ]


def of_check(kind: str, check: Callable[[], None], *, what: str) -> list[Problem]:
    """Return the problem that a check finds.

    Args:
        kind: Kind of the problem.
        check: Raises an error of this package if something is unavailable.
        what: What is unavailable then: `"The database"`.
    """
    try:
        check()
    except CallbackSDKError as error:
        # Errors of the database begin like this themselves.
        summary = f"{what} is unavailable: {_text(error.message.removeprefix(f'{what} is unavailable: '))}"
        hint = error.hint or "See the log of the service."
        return [Problem(name=kind, kind=kind, summary=summary, hint=hint, delay=_BRIEF)]
    return []


def of_disk(folder: Path) -> list[Problem]:
    """Return the problem of the disk of a directory, which is nearly full or can't be written."""
    problem = of_check("disk", lambda: check_writable(folder), what=f"The disk of {folder}")
    if problem:
        return problem
    usage = shutil.disk_usage(folder)
    if usage.free >= max(MIN_FREE, min(usage.total * _MIN_SHARE, _MAX_FREE)):
        return []
    summary = f"The disk of {folder} has {usage.free / 1024**2:.0f} MiB of free space left."
    hint = "Free space, or set --retention, which removes old tasks with their results."
    return [Problem(name="disk", kind="disk", summary=summary, hint=hint)]


def _dead(count: int) -> list[Problem]:
    if not count:
        return []
    summary = f"{count} {'delivery is' if count == 1 else 'deliveries are'} dead: no further attempts are made."
    hint = "callback-sdk deliveries --dead shows them; fix the cause, then run callback-sdk redeliver --dead."
    return [Problem(name="dead-deliveries", kind="dead-deliveries", summary=summary, hint=hint, size=count)]


def _circuits(hosts: Sequence[HostState]) -> list[Problem]:
    return [
        Problem(
            name=f"circuit-open {one.host}",
            kind="circuit-open",
            summary=f"{one.host} is unavailable: {_text(one.last_error or '')} {one.held} deliveries wait for it.",
            hint="Its deliveries are held, and sent when it works again. callback-sdk hosts shows all such hosts.",
            size=max(1, one.held),
            delay=_BRIEF,
        )
        for one in hosts
        if one.state in (OPEN, HALF_OPEN)
    ]


def _webhooks(count: int) -> list[Problem]:
    if not count:
        return []
    summary = f"{count} {'webhook is' if count == 1 else 'webhooks are'} disabled: the response was 410 Gone."
    hint = "callback-sdk hosts lists them; callback-sdk hosts resume URL enables one that exists again."
    return [Problem(name="webhooks-disabled", kind="webhooks-disabled", summary=summary, hint=hint, size=count)]


def _queues(oldest: dict[str, float], oldest_due: float, limit: float) -> list[Problem]:
    found = [
        Problem(
            name=f"queue-age {algorithm}",
            kind="queue-age",
            summary=f"A task of {algorithm} has been queued for {seconds / 60:.0f} minutes.",
            hint="Check with callback-sdk health that workers run; start more of them if all are busy.",
            size=seconds,
        )
        for algorithm, seconds in oldest.items()
        if seconds >= limit
    ]
    if oldest_due >= limit:
        summary = f"A delivery has been due for {oldest_due / 60:.0f} minutes, and no worker sends it."
        hint = "Check that a worker with a process for deliveries runs, and its log."
        found.append(Problem(name="delivery-age", kind="delivery-age", summary=summary, hint=hint, size=oldest_due))
    return found


def _text(text: str) -> str:
    return sentence(" ".join(without_credentials(text, show_plain_queries=True).split())[:_MAX_TEXT]) if text else ""
