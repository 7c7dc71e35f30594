"""Algorithms for a service with tracing: each process appends its spans to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from callback_sdk.service import JobContext, Registry

registry = Registry()


@registry.algorithm("sum", version="1.0.0")
def add_up(features: Any, parameters: dict[str, Any], context: JobContext) -> dict[str, Any]:
    return {"predictions": {name: sum(values) for name, values in features.to_dict().items()}}


@registry.algorithm("broken", version="1.0.0")
def broken(features: Any, parameters: dict[str, Any], context: JobContext) -> None:
    raise ValueError("it can't be done with https://example.org/?X-Amz-Signature=hidden")


def _record(folder: Path) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    out = (folder / f"{os.getpid()}.jsonl").open("a")
    exporter = ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None) + "\n")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


if "SPANS" in os.environ:
    _record(Path(os.environ["SPANS"]))
