"""callback_sdk.service.algorithms.context"""

from __future__ import annotations

import math

from callback_sdk.service import JobContext


def test_only_changed_progress_is_reported() -> None:
    """Unchanged progress isn't written; NaN means unknown."""
    said = []
    context = JobContext(job_id="1", attempt=1, evaluate=True, report=lambda *state: said.append(state))
    for fraction in (0.1, 0.1, 0.1000001, math.nan, None, -1):
        context.report_progress(fraction, "x")
    assert said == [(0.1, "x"), (None, "x"), (0.0, "x")]


def test_a_long_message_is_truncated() -> None:
    """Any value is converted to a short text."""
    said = []
    context = JobContext(job_id="1", attempt=1, evaluate=True, report=lambda *state: said.append(state))
    context.report_progress(2, "x" * 1000)
    context.report_progress(None, 7)  # type: ignore[arg-type]
    assert said == [(1.0, "x" * 500), (None, "7")]


def test_a_new_version_is_saved_on_request_only() -> None:
    """A prediction never requests one, and a training only if the client does."""

    def context(**options: bool) -> JobContext:
        return JobContext(job_id="1", attempt=1, evaluate=False, report=lambda *state: None, **options)

    assert context().export_new_version is False
    assert context(export_new_version=True).export_new_version is True
