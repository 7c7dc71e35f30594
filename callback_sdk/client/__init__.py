"""The client of the service: submits tasks, waits for them, and reads their results."""

from __future__ import annotations

from callback_sdk.client.algorithms import Algorithm, Version
from callback_sdk.client.audit import AuditRecord
from callback_sdk.client.batch import BatchItem
from callback_sdk.client.bulk_redelivery import ListedDelivery, RedeliveryStep, SkippedDelivery
from callback_sdk.client.client import Client
from callback_sdk.client.hosts import DisabledWebhook, Host
from callback_sdk.client.outputs import TaskOutput, TaskOutputs
from callback_sdk.client.signing_secrets import SigningSecrets, WebhookSecret
from callback_sdk.client.states import (
    Delivery,
    DeliveryAttempt,
    DeliveryCounts,
    DeliverySnapshot,
    Result,
    TaskSummary,
)
from callback_sdk.client.tasks import Task
from callback_sdk.client.workers import AlgorithmPause, Worker
from callback_sdk.models import Progress

__all__ = [
    "Algorithm",
    "AlgorithmPause",
    "AuditRecord",
    "BatchItem",
    "Client",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryCounts",
    "DeliverySnapshot",
    "DisabledWebhook",
    "Host",
    "ListedDelivery",
    "Progress",
    "RedeliveryStep",
    "Result",
    "SigningSecrets",
    "SkippedDelivery",
    "Task",
    "TaskOutput",
    "TaskOutputs",
    "TaskSummary",
    "Version",
    "WebhookSecret",
    "Worker",
]
