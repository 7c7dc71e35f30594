"""OpenTelemetry tracing: all work for one task is one trace, across processes.

This module doesn't import OpenTelemetry: a program that records traces has already imported it, and the import takes
as long as some deliveries. Without OpenTelemetry, a received `traceparent` (W3C Trace Context) is propagated unchanged.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from callback_sdk._version import __version__
from callback_sdk.errors import CallbackSDKError

TRACEPARENT = "traceparent"
"""Name of the header, and of the task option that stores it."""

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Span:
    """A span, or its parent's context if nothing is recorded.

    Attributes:
        traceparent: Trace context to propagate to other processes; None without a trace.
    """

    def __init__(self, traceparent: str | None, recorded: Any = None) -> None:
        self.traceparent = traceparent
        self._recorded = recorded

    def set(self, **attributes: Any) -> None:
        """Set attributes of the span; see `span`."""
        if self._recorded is not None:
            self._recorded.set_attributes(_attribute_names(attributes))

    def fail(self, reason: str) -> None:
        """Set the span's status to error.

        Args:
            reason: Description of the error, without credentials.
        """
        if self._recorded is not None:
            self._recorded.set_status(_api().StatusCode.ERROR, reason)


@contextmanager
def span(name: str, kind: str = "internal", *, parent: str | None = None, **attributes: Any) -> Iterator[Span]:
    """Record a block as a span. An exception that leaves the block sets the span's status to error.

    Args:
        name: Name of the operation, of low cardinality.
        kind: Span kind of OpenTelemetry: `"client"`, `"server"`, `"producer"`, `"consumer"` or `"internal"`.
        parent: `traceparent` from another process, used if no span is active in this one.
        **attributes: Numbers and strings, without credentials. None is omitted.
    """
    parent = valid_traceparent(parent)
    api = _api()
    if api is None:
        yield Span(parent)
        return
    context = None
    if parent is not None and not api.get_current_span().get_span_context().is_valid:
        context = _extract(parent)
    recorded = _tracer().start_span(
        f"callback_sdk.{name}", context, kind=api.SpanKind[kind.upper()], attributes=_attribute_names(attributes)
    )
    # `record_exception` would record the exception's message and traceback, which may hold credentials.
    with api.use_span(recorded, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        shown = Span(_traceparent(recorded), recorded)
        try:
            yield shown
        except BaseException as error:
            shown.fail(str(error) if isinstance(error, CallbackSDKError) else type(error).__name__)
            raise


def current() -> str | None:
    """Return the `traceparent` of the active span; None without one."""
    api = _api()
    return None if api is None else _traceparent(api.get_current_span())


def valid_traceparent(traceparent: str | None) -> str | None:
    """Return a received `traceparent`, or None if it is invalid."""
    return traceparent if traceparent is not None and _FORM.fullmatch(traceparent) else None


def _api() -> Any:
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    return trace


@functools.cache
def _tracer() -> Any:
    return _api().get_tracer("callback_sdk", __version__)


def _extract(traceparent: str) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent})


def _traceparent(recorded: Any) -> str | None:
    context = recorded.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _attribute_names(attributes: dict[str, Any]) -> dict[str, Any]:
    return {f"callback_sdk.{name}": value for name, value in attributes.items() if value is not None}
