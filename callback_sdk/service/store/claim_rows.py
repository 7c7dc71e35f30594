"""Columns and construction of a `DeliveryClaim`; `deliveries` claims, and `host_gates` decides whether it may."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from callback_sdk.models import JobResult
from callback_sdk.service.store.host_gates import IS_KNOWN, MAY_BE_DISABLED
from callback_sdk.service.store.models import DeliveryClaim
from callback_sdk.service.store.stages import STAGED
from callback_sdk.service.store.tables import deliveries, tasks
from callback_sdk.tracing import TRACEPARENT

ENDED_TASK: tuple[sa.Column[Any], ...] = tuple(
    tasks.c[name]
    for name in (
        "job_id",
        "owner",
        "attempt",
        "status",
        "success",
        "error",
        "nulls_written",
        "options",
        "output_attempt",
        "batch",
    )
)
"""Columns of an ended task that its deliveries need."""

CLAIMED_DELIVERY: tuple[sa.ColumnElement[Any], ...] = (
    *(
        deliveries.c[name]
        for name in (
            "delivery_id",
            "url",
            "host",
            "origin",
            "encrypted_target",
            "events",
            "attempt_count",
            "attempts_before_redelivery",
            "output_name",
        )
    ),
    IS_KNOWN.label("host_is_known"),
    MAY_BE_DISABLED.label("may_be_disabled"),
)
"""Columns of a delivery that its claim needs."""


def claim_of(delivery: Any, task: Any, results: bytes | None) -> DeliveryClaim:
    """Build a claim from the rows of a delivery and its task."""
    return DeliveryClaim(
        delivery_id=delivery.delivery_id,
        url=delivery.url,
        host=delivery.host,
        origin=delivery.origin,
        host_is_known=bool(delivery.host_is_known),
        may_be_disabled=bool(delivery.may_be_disabled),
        encrypted_target=delivery.encrypted_target,
        events=delivery.events,
        job_id=task.job_id,
        owner=task.owner,
        attempt=delivery.attempt_count,
        since_redelivery=delivery.attempt_count - delivery.attempts_before_redelivery,
        run=task.attempt,
        result=JobResult(job_id=task.job_id, success=bool(task.success), error=task.error, status=task.status),
        results=results,
        nulls_written=task.nulls_written,
        traceparent=task.options.get(TRACEPARENT),
        output_name=delivery.output_name,
        staged=STAGED in task.options,
        has_outputs=task.output_attempt is not None,
        in_batch=task.batch is not None,
    )
