"""The results writer with a durable memory: what it accepted is sent, whatever happens to the process."""

from callback_sdk.outbox.entries import DEAD, DELIVERED, PENDING, OutboxEntry, WriteResult
from callback_sdk.outbox.outbox import Outbox

__all__ = ["DEAD", "DELIVERED", "PENDING", "Outbox", "OutboxEntry", "WriteResult"]
