"""Algorithms for a service with tracing."""

from __future__ import annotations

from typing import Any

from callback_sdk.service import JobContext, Registry

registry = Registry()


@registry.algorithm("sum", version="1.0.0")
def add_up(features: Any, parameters: dict[str, Any], context: JobContext) -> dict[str, Any]:
    return {"predictions": {name: sum(values) for name, values in features.to_dict().items()}}


@registry.algorithm("broken", version="1.0.0")
def broken(features: Any, parameters: dict[str, Any], context: JobContext) -> None:
    raise ValueError("it can't be done with https://example.org/?X-Amz-Signature=hidden")
