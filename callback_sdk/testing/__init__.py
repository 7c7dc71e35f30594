"""Local servers for tests of code that hands results over: a strict S3 store, a webhook, the service."""

from callback_sdk.testing.seaweedfs import SeaweedFS
from callback_sdk.testing.service import LocalService
from callback_sdk.testing.webhooks import ReceivedRequest, WebhookReceiver

__all__ = ["LocalService", "ReceivedRequest", "SeaweedFS", "WebhookReceiver"]
