"""A fake AIStore cluster: proxies, storage nodes (targets in AIStore's terms) and AuthN."""

from callback_sdk.testing.aistore.cluster import AIStore

__all__ = ["AIStore"]
