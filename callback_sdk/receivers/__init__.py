"""Receive results: webhooks, verified and each handed over once; notifications of buckets; and requests for targets."""

from callback_sdk.receivers.buckets import BucketReceiver
from callback_sdk.receivers.documents import ReceivedEvent, ReceivedResult, read_document, read_result
from callback_sdk.receivers.ids import DeliveryIds, MemoryIds
from callback_sdk.receivers.inbox import Inbox
from callback_sdk.receivers.issuer import TargetIssuer, TargetRequest
from callback_sdk.receivers.notifications import created_objects
from callback_sdk.receivers.objects import BucketObject
from callback_sdk.receivers.receiver import Receiver
from callback_sdk.receivers.redis_ids import RedisIds
from callback_sdk.receivers.reply import Reply
from callback_sdk.receivers.sqlite_ids import SQLiteIds

__all__ = [
    "BucketObject",
    "BucketReceiver",
    "DeliveryIds",
    "Inbox",
    "MemoryIds",
    "ReceivedEvent",
    "ReceivedResult",
    "Receiver",
    "RedisIds",
    "Reply",
    "SQLiteIds",
    "TargetIssuer",
    "TargetRequest",
    "created_objects",
    "read_document",
    "read_result",
]
