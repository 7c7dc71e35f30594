"""The job service: accepts tasks over the REST API, runs their algorithms, and delivers the results."""

from callback_sdk.errors import needs_extra
from callback_sdk.models import Progress

with needs_extra("service"):
    from callback_sdk.service.algorithms.context import JobContext
    from callback_sdk.service.algorithms.features import Features
    from callback_sdk.service.algorithms.interrupts import RunInterrupt
    from callback_sdk.service.algorithms.registry import AlgorithmFunction, EvaluationFunction, Registry
    from callback_sdk.service.algorithms.versions import AlgorithmVersion

__all__ = [
    "AlgorithmFunction",
    "AlgorithmVersion",
    "EvaluationFunction",
    "Features",
    "JobContext",
    "Progress",
    "Registry",
    "RunInterrupt",
]
