"""The store: a database of tasks, deliveries and users."""

from callback_sdk.service.store.database import StoreFullError, StoreRefusedError, StoreUnavailableError
from callback_sdk.service.store.models import (
    AcceptedTask,
    Claim,
    DeliveringWorker,
    DeliveryClaim,
    DueDeliveries,
    IdempotencyKey,
    RunOutcome,
    Submission,
    TaskRow,
    User,
)
from callback_sdk.service.store.store import Store, open_database

__all__ = [
    "AcceptedTask",
    "Claim",
    "DeliveringWorker",
    "DeliveryClaim",
    "DueDeliveries",
    "IdempotencyKey",
    "RunOutcome",
    "Store",
    "StoreFullError",
    "StoreRefusedError",
    "StoreUnavailableError",
    "Submission",
    "TaskRow",
    "User",
    "open_database",
]
