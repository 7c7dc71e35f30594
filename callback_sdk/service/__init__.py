"""The service: takes jobs over the REST API, runs their algorithms, and delivers the results."""

from callback_sdk.service.context import Context
from callback_sdk.service.registry import Algorithm, Registry

__all__ = ["Algorithm", "Context", "Registry"]
