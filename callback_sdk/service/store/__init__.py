"""The store: a database of tasks, deliveries and users."""

from callback_sdk.service.store.database import StoreFullError, StoreRefusedError, StoreUnavailableError
from callback_sdk.service.store.models import (
    Accepted,
    Claim,
    DeliveryClaim,
    Ended,
    Ending,
    IdempotencyKey,
    NewTask,
    Sender,
    Submission,
    User,
)
from callback_sdk.service.store.store import Store, open_database

__all__ = [
    "Accepted",
    "Claim",
    "DeliveryClaim",
    "Ended",
    "Ending",
    "IdempotencyKey",
    "NewTask",
    "Sender",
    "Store",
    "StoreFullError",
    "StoreRefusedError",
    "StoreUnavailableError",
    "Submission",
    "User",
    "open_database",
]
