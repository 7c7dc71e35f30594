"""The store: a database of tasks, deliveries and users."""

from callback_sdk.service.store.database import StoreUnavailableError
from callback_sdk.service.store.records import (
    Claim,
    DeliveryClaim,
    Ending,
    IdempotencyKey,
    NewTask,
    Submission,
    User,
)
from callback_sdk.service.store.store import Store, open_database

__all__ = [
    "Claim",
    "DeliveryClaim",
    "Ending",
    "IdempotencyKey",
    "NewTask",
    "Store",
    "StoreUnavailableError",
    "Submission",
    "User",
    "open_database",
]
