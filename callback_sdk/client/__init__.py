"""The client of the service: submits jobs, waits for them, reads their results."""

from __future__ import annotations

from callback_sdk.client.batch import BatchItem
from callback_sdk.client.client import Client
from callback_sdk.client.resources import Algorithm, Task, Version
from callback_sdk.client.states import (
    Delivery,
    DeliveryAttempt,
    DeliveryCounts,
    DeliverySnapshot,
    Progress,
    Result,
    TaskSummary,
)

__all__ = [
    "Algorithm",
    "BatchItem",
    "Client",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryCounts",
    "DeliverySnapshot",
    "Progress",
    "Result",
    "Task",
    "TaskSummary",
    "Version",
]
