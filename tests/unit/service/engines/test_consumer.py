"""The consumer of a Celery worker writes nothing, and reports what ends it."""

from __future__ import annotations

import logging
import os

import pytest
from celery.apps import worker as celery_worker

from callback_sdk.service.engines.consumer import FatalErrors, silence_celery
from callback_sdk.service.supervision.reports import Reporter, Reports


def test_fatal_errors_of_celery_are_reported_and_not_logged() -> None:
    """The supervisor logs them in one line, instead of Celery's traceback."""
    reader, writer = os.pipe()
    reports, reporter = Reports(reader), Reporter(writer)
    errors = FatalErrors(reporter)
    error = RuntimeError("You can't write against a read only replica.")
    fatal = logging.LogRecord("x", 50, "f", 1, "Unrecoverable error: %r", (error,), (RuntimeError, error, None))
    assert not errors.filter(fatal)
    assert errors.filter(logging.LogRecord("x", 50, "f", 1, "Another line.", (), None))
    report = reports.read()
    assert report.failure == "its consumer ended by RuntimeError: You can't write against a read only replica."
    assert not report.permanent
    reports.close()
    os.close(writer)


def test_celery_writes_nothing_to_stdout(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of its signal handlers would not be JSON records."""
    monkeypatch.setattr(celery_worker, "safe_say", celery_worker.safe_say)
    monkeypatch.setattr("celery.utils.log.worker_logger", logging.Logger("worker"))
    # Celery's own default is the stream that the interpreter started with, which is the descriptor 1.
    with open(1, "w", closefd=False) as stdout:
        celery_worker.safe_say("raw", stdout)
        assert "raw" in capfd.readouterr().out
        silence_celery(Reporter(None))
        celery_worker.safe_say("worker: Warm shutdown (MainProcess)", stdout)
    assert capfd.readouterr() == ("", "")
