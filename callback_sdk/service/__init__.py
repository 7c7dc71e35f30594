"""The service: takes jobs over the REST API, runs their algorithms, and delivers the results."""

from callback_sdk.service.algorithms.context import Context
from callback_sdk.service.algorithms.registry import Algorithm, Registry

__all__ = ["Algorithm", "Context", "Registry"]
