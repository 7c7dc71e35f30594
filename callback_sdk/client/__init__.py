"""The client of the service: submits jobs, waits for them, reads their results."""

from __future__ import annotations

from callback_sdk.client.client import Client, get_instance
from callback_sdk.client.resources import Algorithm, DeliveryState, Progress, Result, Task, Version

__all__ = ["Algorithm", "Client", "DeliveryState", "Progress", "Result", "Task", "Version", "get_instance"]
