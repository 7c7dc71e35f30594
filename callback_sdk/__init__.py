"""Deliver job results to presigned S3 URLs, object stores and webhooks, with retries and receipts."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from callback_sdk._version import __version__

if TYPE_CHECKING:
    from callback_sdk import aistore, compat, errors, receivers, types, webhooks
    from callback_sdk.client import (
        Algorithm,
        BatchItem,
        Client,
        Delivery,
        Result,
        Task,
        TaskOutput,
        TaskOutputs,
        TaskSummary,
        Version,
    )
    from callback_sdk.compat import get_instance
    from callback_sdk.errors import CallbackSDKError
    from callback_sdk.models import (
        DeliveryFilter,
        JobResult,
        PresignedMultipart,
        PresignedPost,
        PresignedPrefix,
        PresignedPut,
        Progress,
        WriteOutcome,
    )
    from callback_sdk.outbox import Outbox
    from callback_sdk.outbox.async_outbox import AsyncOutbox
    from callback_sdk.program.job import JobDelivery, delivering
    from callback_sdk.receipt import Receipt
    from callback_sdk.signer import S3Signer
    from callback_sdk.targets import check_target
    from callback_sdk.targets.callbacks import Callback
    from callback_sdk.transport.delivery_proxy import DeliveryProxy
    from callback_sdk.transport.guard import AddressGuard
    from callback_sdk.transport.http import Timeouts
    from callback_sdk.writer import ResultsWriter
    from callback_sdk.writer.async_writer import AsyncResultsWriter

__all__ = [
    "AddressGuard",
    "Algorithm",
    "AsyncOutbox",
    "AsyncResultsWriter",
    "BatchItem",
    "Callback",
    "CallbackSDKError",
    "Client",
    "Delivery",
    "DeliveryFilter",
    "DeliveryProxy",
    "JobDelivery",
    "JobResult",
    "Outbox",
    "PresignedMultipart",
    "PresignedPost",
    "PresignedPrefix",
    "PresignedPut",
    "Progress",
    "Receipt",
    "Result",
    "ResultsWriter",
    "S3Signer",
    "Task",
    "TaskOutput",
    "TaskOutputs",
    "TaskSummary",
    "Timeouts",
    "Version",
    "WriteOutcome",
    "__version__",
    "aistore",
    "check_target",
    "compat",
    "delivering",
    "errors",
    "get_instance",
    "receivers",
    "types",
    "webhooks",
]

_HOMES = {
    "AddressGuard": "transport.guard",
    "Algorithm": "client",
    "AsyncOutbox": "outbox.async_outbox",
    "AsyncResultsWriter": "writer.async_writer",
    "BatchItem": "client",
    "Callback": "targets.callbacks",
    "CallbackSDKError": "errors",
    "Client": "client",
    "Delivery": "client",
    "DeliveryFilter": "models",
    "DeliveryProxy": "transport.delivery_proxy",
    "JobDelivery": "program.job",
    "JobResult": "models",
    "Outbox": "outbox",
    "PresignedMultipart": "models",
    "PresignedPost": "models",
    "PresignedPrefix": "models",
    "PresignedPut": "models",
    "Progress": "models",
    "Receipt": "receipt",
    "Result": "client",
    "ResultsWriter": "writer",
    "S3Signer": "signer",
    "Task": "client",
    "TaskOutput": "client",
    "TaskOutputs": "client",
    "TaskSummary": "client",
    "Timeouts": "transport.http",
    "Version": "client",
    "WriteOutcome": "models",
    "check_target": "targets",
    "delivering": "program.job",
    "get_instance": "compat",
}


if not TYPE_CHECKING:
    # Type checkers know the names from above, and would take any other one for right if they saw this.

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used (PEP 562), so that importing the package costs nothing."""
        if name in _HOMES:
            globals()[name] = getattr(importlib.import_module(f"callback_sdk.{_HOMES[name]}"), name)
            return globals()[name]
        if name in __all__:
            return importlib.import_module(f"callback_sdk.{name}")
        raise AttributeError(f"module 'callback_sdk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
