"""Durable result delivery: results are stored on disk first, and sent even if the process crashes."""

from callback_sdk.outbox.entries import DEAD, DELIVERED, PENDING, OutboxEntry, WriteResult
from callback_sdk.outbox.outbox import Outbox

__all__ = ["DEAD", "DELIVERED", "PENDING", "Outbox", "OutboxEntry", "WriteResult"]
