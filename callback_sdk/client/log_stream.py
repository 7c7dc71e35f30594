"""Stream of a task's output while the task runs."""

from __future__ import annotations

import time
from collections.abc import Iterator

from callback_sdk.client.api import ServiceAPI
from callback_sdk.client.waiting import may_pass
from callback_sdk.errors import ServiceError, TaskTimeoutError
from callback_sdk.parsing import Duration, total_seconds
from callback_sdk.redaction import strip_traceback

_REQUEST_TIME = 30.0
"""Maximum seconds of one request."""


def stream_logs(api: ServiceAPI, job_id: str, timeout: Duration, poll_interval: Duration) -> Iterator[str]:
    """Yield a task's output until it has ended; see `Client.stream_logs`."""
    end = time.monotonic() + total_seconds("timeout", timeout)
    return _stream(api, job_id, end, total_seconds("poll_interval", poll_interval))


def _stream(api: ServiceAPI, job_id: str, end: float, pause: float) -> Iterator[str]:
    cursor: str | None = None
    while True:
        poll_error: ServiceError | None = None
        try:
            part = api.new_logs(job_id, cursor, deadline=min(end, time.monotonic() + _REQUEST_TIME))
        except ServiceError as error:
            if not may_pass(error):
                raise
            poll_error = strip_traceback(error)
        else:
            cursor = part.cursor
            if part.text:
                yield part.text
            if part.ended:
                return
        if time.monotonic() + pause >= end:
            raise TaskTimeoutError(
                f"The task {job_id} has not ended in time; it continues.",
                hint="Follow its output again, with a longer timeout.",
                job_id=job_id,
            ) from poll_error
        time.sleep(pause)
