"""Local servers for tests of code that delivers results: object stores, a webhook receiver, faults, the service."""

from callback_sdk.testing.aistore import AIStore
from callback_sdk.testing.faults import Fault, Faults
from callback_sdk.testing.objectstore import ObjectStore, StoredObject
from callback_sdk.testing.postgres import Postgres
from callback_sdk.testing.rabbitmq import RabbitMQ
from callback_sdk.testing.received import ReceivedRequest
from callback_sdk.testing.seaweedfs import SeaweedFS
from callback_sdk.testing.service import LocalService
from callback_sdk.testing.valkey import Valkey
from callback_sdk.testing.webhooks import WebhookReceiver

__all__ = [
    "AIStore",
    "Fault",
    "Faults",
    "LocalService",
    "ObjectStore",
    "Postgres",
    "RabbitMQ",
    "ReceivedRequest",
    "SeaweedFS",
    "StoredObject",
    "Valkey",
    "WebhookReceiver",
]
