"""The service: takes jobs over the REST API, runs their algorithms, and delivers the results."""

from callback_sdk.service.algorithms.context import JobContext
from callback_sdk.service.algorithms.registry import AlgorithmVersion, Registry

__all__ = ["AlgorithmVersion", "JobContext", "Registry"]
