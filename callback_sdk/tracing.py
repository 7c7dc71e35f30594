"""Traces of OpenTelemetry, where somebody uses it: what is done for one task, in whatever process, is one trace.

It is never loaded from here: whoever records has loaded it already, and its import takes as long as some deliveries.
Without it, what somebody else says of their trace (the header `traceparent` of W3C Trace Context) is handed on as it
came.
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
"""Name of the header, and of the option that a task keeps it in."""

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Span:
    """Something that is being done.

    Attributes:
        traceparent: What those who go on with it have to know; None when there is no trace.
    """

    def __init__(self, traceparent: str | None, recorded: Any = None) -> None:
        self.traceparent = traceparent
        self._recorded = recorded

    def set(self, **attributes: Any) -> None:
        """Add what is known only now; see `span`."""
        if self._recorded is not None:
            self._recorded.set_attributes(_named(attributes))

    def fail(self, reason: str) -> None:
        """Say that it failed.

        Args:
            reason: Why, without credentials.
        """
        if self._recorded is not None:
            self._recorded.set_status(_api().StatusCode.ERROR, reason)


@contextmanager
def span(name: str, kind: str = "internal", *, parent: str | None = None, **attributes: Any) -> Iterator[Span]:
    """Record what is done in a block. An error that leaves it makes it a failed one.

    Args:
        name: What is done: a word that many spans share.
        kind: `"client"`, `"server"`, `"producer"`, `"consumer"` or `"internal"`, as OpenTelemetry has them.
        parent: Another process's `traceparent`, for when nothing is being recorded here.
        **attributes: Numbers and strings that are no credentials. None is left out.
    """
    parent = checked(parent)
    api = _api()
    if api is None:
        yield Span(parent)
        return
    context = None
    if parent is not None and not api.get_current_span().get_span_context().is_valid:
        context = _extracted(parent)
    recorded = _tracer().start_span(
        f"callback_sdk.{name}", context, kind=api.SpanKind[kind.upper()], attributes=_named(attributes)
    )
    # The API's own way of recording an exception keeps whatever its text and its frames show.
    with api.use_span(recorded, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        shown = Span(_traceparent(recorded), recorded)
        try:
            yield shown
        except BaseException as error:
            shown.fail(str(error) if isinstance(error, CallbackSDKError) else type(error).__name__)
            raise


def current() -> str | None:
    """Return the `traceparent` of what is being done at the moment; None when nothing is recorded."""
    api = _api()
    return None if api is None else _traceparent(api.get_current_span())


def checked(traceparent: str | None) -> str | None:
    """Return a header that somebody sent, or None when it is no such one."""
    return traceparent if traceparent is not None and _FORM.fullmatch(traceparent) else None


def _api() -> Any:
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    return trace


@functools.cache
def _tracer() -> Any:
    return _api().get_tracer("callback_sdk", __version__)


def _extracted(traceparent: str) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent})


def _traceparent(recorded: Any) -> str | None:
    context = recorded.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _named(attributes: dict[str, Any]) -> dict[str, Any]:
    return {f"callback_sdk.{name}": value for name, value in attributes.items() if value is not None}
