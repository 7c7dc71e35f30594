"""The names of every public constructor, function and method that takes arguments."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_args

MODULES = (
    "callback_sdk",
    "callback_sdk.aistore",
    "callback_sdk.aistore.aio",
    "callback_sdk.aistore.patch",
    "callback_sdk.client",
    "callback_sdk.compat",
    "callback_sdk.outbox",
    "callback_sdk.service",
    "callback_sdk.signer",
    "callback_sdk.webhooks",
    "callback_sdk.writer",
)
"""The modules that users import, without those of types, errors and test servers."""

RETURNED = {
    *("Algorithm", "AlgorithmVersion", "Callback", "Delivery", "DeliveryAttempt", "DeliveryCounts", "DeliverySnapshot"),
    *("Features", "JobContext", "OutboxEntry", "PresignedMultipart", "PresignedPost", "PresignedPut", "Receipt"),
    *(
        "Result",
        "RunInterrupt",
        "Task",
        "TaskSummary",
        "Version",
        "WriteOutcome",
        "WriteResult",
        "LastError",
        "PlatformAlgorithm",
    ),
    *("PlatformClient", "PlatformTask", "PlatformVersion", "CallbackSDKError", "PresignedPrefix", "TaskOutput"),
    *("TaskOutputs", "AuditRecord", "ListedDelivery", "RedeliveryStep", "SkippedDelivery"),
    *("AlgorithmPause", "DisabledWebhook", "Host", "SigningSecrets", "WebhookSecret", "Worker"),
}
"""Classes whose objects the package makes. Their methods take arguments of users, their constructors don't."""


def public_names() -> Iterator[tuple[str, Any]]:
    """Yield the public classes and functions, each once, by qualified name."""
    seen: set[int] = set()
    for module_name in MODULES:
        module = import_module(module_name)
        own = [name for name, one in vars(module).items() if getattr(one, "__module__", "") == module_name]
        for name in getattr(module, "__all__", None) or [name for name in own if not name.startswith("_")]:
            found = getattr(module, name)
            if isinstance(found, (type, types.FunctionType)) and id(found) not in seen and not get_args(found):
                seen.add(id(found))
                yield f"{module_name}.{name}", found


def methods(kind: type) -> Iterator[str]:
    """Yield the names of a class's public methods that take arguments."""
    for name, found in inspect.getmembers(kind):
        defined = inspect.getattr_static(kind, name, None)
        if name.startswith("_") or not callable(found) or isinstance(defined, (property, type)):
            continue
        if not str(getattr(found, "__module__", "")).startswith("callback_sdk"):
            continue
        with_arguments = inspect.signature(found).parameters
        if set(with_arguments) - {"self"}:
            yield name


def required() -> set[str]:
    """Return the names of all that has to be tested."""
    names: set[str] = set()
    for name, found in public_names():
        short = name.rpartition(".")[2]
        if isinstance(found, type):
            if short not in RETURNED and inspect.signature(found).parameters:
                names.add(name)
            names |= {f"{name}.{method}" for method in methods(found)}
        elif inspect.signature(found).parameters:
            names.add(name)
    return names
