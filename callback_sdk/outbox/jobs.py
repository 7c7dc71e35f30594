"""Jobs of programs and workers, which end with their process, in an outbox. It is not part of the public API."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from callback_sdk.errors import JobEndedError
from callback_sdk.models import JobResult
from callback_sdk.outbox.base import typed_errors
from callback_sdk.outbox.entries import WriteResult
from callback_sdk.outbox.open_jobs import JobFailure, OpenJob
from callback_sdk.outbox.outbox import Outbox
from callback_sdk.outbox.state import as_read_back
from callback_sdk.redaction import Secret, clearing_locals
from callback_sdk.targets.callbacks import required_callbacks
from callback_sdk.transport.driver import blocking

if TYPE_CHECKING:
    from callback_sdk.writer.events import Admit, JobEvents


@clearing_locals
@blocking
async def write_result(
    outbox: Outbox, result: JobResult, targets: Secret[Any], outputs: Secret[Any], *, stored: Callable[[], object]
) -> WriteResult:
    """Store a result, and send it; see `Outbox.write`.

    Args:
        outbox: The outbox.
        result: The outcome of the job.
        targets: The targets of its document.
        outputs: Those of single output files.
        stored: Called when the outbox has the document, before anything is sent.
    """
    with typed_errors():
        given = [as_read_back(callback) for callback in required_callbacks(targets)]
        return await outbox._write(result, given, outputs, on_stored=stored)


@clearing_locals
def begin_job(outbox: Outbox, job: OpenJob) -> None:
    """Store a job that begins now, so that its failure is delivered if its process ends before it does."""
    with typed_errors():
        outbox._process_state().open_jobs.add(job)


@clearing_locals
def open_events(outbox: Outbox, job: OpenJob, *, run: int, admit: Admit) -> JobEvents | None:
    """Return the events of an open job; None if no target subscribes to any. `end_job` and `drop_job` close them.

    Args:
        outbox: The outbox.
        job: The job.
        run: Number of its run, from 1.
        admit: See `JobEvents`.

    Raises:
        TargetError: A target can't get events.
    """
    callbacks = required_callbacks(job.callbacks)
    if not any(callback.takes_events for callback in callbacks):
        return None
    return outbox._process_state().attempts.open_events(job.job_id, callbacks, run=run, admit=admit)


@clearing_locals
@blocking
async def end_job(outbox: Outbox, job: OpenJob, result: JobResult, outputs: Secret[Any]) -> WriteResult:
    """Store the outcome of an open job, and send it; see `Outbox.write`.

    Raises:
        JobEndedError: Another process has recorded its end; nothing was stored.
    """
    with typed_errors():
        return await outbox._end_job(job, result, outputs)


@clearing_locals
@blocking
async def drop_job(outbox: Outbox, job: OpenJob) -> None:
    """End an open job without a document."""
    with typed_errors():
        state = outbox._process_state()
        await state.attempts.end_events(job.job_id)
        state.open_jobs.remove(job.key)


@clearing_locals
@blocking
async def end_jobs_of(outbox: Outbox, owner: str, failure: JobFailure, *, but: Collection[str] = ()) -> None:
    """Store a failure for each open job of a process that has ended, but some; `Outbox.run` delivers it."""
    with typed_errors():
        await outbox._end_jobs_of(owner, failure, set(but))


@clearing_locals
@blocking
async def fail_job(outbox: Outbox, key: str, failure: JobFailure | None) -> None:
    """Deliver a failure for an open job, or end it without a document; nothing if it has ended."""
    with typed_errors(), contextlib.suppress(JobEndedError):
        jobs = outbox._process_state().open_jobs
        job = jobs.find(key)
        if job is not None and failure is not None:
            await outbox._end_job(job, failure.of(job), Secret(None))
        jobs.remove(key)


@clearing_locals
def is_done(outbox: Outbox) -> bool:
    """Return whether an outbox has neither open jobs nor pending deliveries."""
    with typed_errors():
        state = outbox._process_state()
        return not state.open_jobs.owners() and state.store.is_empty()
