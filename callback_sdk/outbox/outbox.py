"""Outbox: durable result delivery that survives crashes."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from callback_sdk.concurrency.forking import PerProcess
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.errors import (
    CallbackSDKError,
    ConfigurationError,
    DeliveryError,
    JobEndedError,
    MultipleDeliveryErrors,
    OutboxError,
    TargetError,
)
from callback_sdk.models import JobResult
from callback_sdk.outbox.entries import DEAD, DELIVERED, NewDelivery, OutboxEntry, WriteResult
from callback_sdk.outbox.new_deliveries import object_url
from callback_sdk.outbox.open_jobs import JobFailure, OpenJob
from callback_sdk.outbox.state import SHUTDOWN_TIMEOUT, OutboxState, Profile, as_read_back
from callback_sdk.parsing import Duration, path_of, total_seconds
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret, clearing_locals, strip_traceback, wrap_secret
from callback_sdk.targets.callbacks import Callback, required_callbacks
from callback_sdk.targets.places import Places
from callback_sdk.transport.driver import run
from callback_sdk.types import CallbackParams, CallbackTarget, CallbackURLs, OutputTargets
from callback_sdk.writer import ResultsWriter
from callback_sdk.writer.delivery import encoded_results
from callback_sdk.writer.writer import attempts_of

if TYPE_CHECKING:
    from callback_sdk.writer.events import JobEvents

logger = logging.getLogger(__name__)

RECEIPT_RETENTION = timedelta(days=30)
"""Default retention of receipts."""

_POLL_INTERVAL = 0.5
"""Seconds between checks for due deliveries of other processes, and for processes that have ended."""

_OUTAGE_PAUSE = 5.0
"""Seconds to wait while the database can't be used, for example because its disk is full."""

_CLEAN_UP_INTERVAL = 60 * 60.0
"""Seconds between two purges of old receipts and orphaned files."""

LOST_JOB = JobFailure(
    "The process that ran the job ended before the job did: it was killed, perhaps with its container."
)


class Outbox:
    """Durable delivery of results without the service, in a SQLite file on a local disk.

    `write` returns once a result is on disk and one attempt was made at each target. `run`, in the same process or
    another one, retries after 5 s, 30 s, 2 min, 10 min, 30 min, 2 h, 5 h and 10 h. After the last attempt a delivery is
    dead until `redeliver` is called. Any number of processes and threads may share an outbox. Deliveries are claimed,
    so that no two processes send the same one; those of a killed process are due again at once. Delivery is at least
    once.

    Results above 64 KiB and all output files are in the directory next to the file, with `-files` appended to its
    name. Both are created with permissions for their owner only, because targets are stored as given: **the file
    contains signed URLs and form fields in plain text** until the target has the result. Then they and the results
    are deleted, from SQLite's write-ahead log within an hour of `run` or at `close`. The receipt stays.

    An outbox may be used before and after a fork, and in a signal handler; a handler that interrupts a commit gets an
    `OutboxError`.

    Args:
        path: The file; created with its directory if it doesn't exist. The parent of the directory must exist.
        writer: Sends the results; a `ResultsWriter` with default settings if None.
        receipt_retention: Time after which `run` deletes receipts, a `timedelta` or seconds. As long as the receipt of
            a delivery is kept, writing the same result again sends nothing. Pending and dead deliveries are kept.
        create: Whether to create the file if it doesn't exist.

    Raises:
        ConfigurationError: The file can't be created or opened, is not an outbox, or was created by a newer version.
        OutboxError: The file is damaged, or its disk is full.

    Example:
        >>> with Outbox("/var/lib/worker/outbox.sqlite3") as outbox:
        ...     outbox.write(JobResult(job_id="42", success=True, results={"life": 7.5}), url)
        ...     outbox.run(until_empty=True)
    """

    _profile = Profile()

    @clearing_locals
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        writer: ResultsWriter | None = None,
        receipt_retention: Duration = RECEIPT_RETENTION,
        create: bool = True,
    ) -> None:
        self.path = path_of("path", path).resolve()
        if writer is not None and not isinstance(writer, ResultsWriter):
            raise ConfigurationError(f"writer is of type {type(writer).__name__}.", hint="Give a ResultsWriter.")
        self._writer = writer
        self._receipt_retention = total_seconds("receipt_retention", receipt_retention)
        # Neither a connection nor a lock survives a fork. The function holds no reference to `self`, so that an outbox
        # that nobody references is collected at once, and its lock is released.
        open_state = functools.partial(OutboxState.open, self.path, writer, self._profile, create=create)
        self._states = PerProcess(open_state)
        # Opened at once, so that a wrong path raises here and not at the first result.
        self._process_state()

    def __repr__(self) -> str:
        return f"Outbox({str(self.path)!r})"

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @clearing_locals
    def close(self) -> None:
        """Wait up to 10 s for running attempts, and close the file. Later calls of other methods open it again."""
        if (state := self._states.pop()) is not None:
            state.close(own_writer=self._writer is None)

    @clearing_locals
    def write(
        self,
        result: JobResult,
        callback_url: CallbackURLs,
        callback_param: CallbackParams | Secret[Any] | None = None,
        *,
        outputs: OutputTargets | Secret[Any] | None = None,
    ) -> WriteResult:
        """Store a result for every target, and make one attempt at each, all concurrently.

        Writing the same document for the same target again doesn't create a second delivery, so a worker may safely run
        a job again after a crash.

        Args:
            result: The outcome of the job. A file of results and all output files are copied.
            callback_url: A URL, what `S3Signer` returns, a `(url, param)` pair, or a list of these.
            callback_param: A dict for all targets, or a list with one dict per target; see `ResultsWriter.write`.
            outputs: Targets of single output files, by their names; see `ResultsWriter.write`.

        Returns:
            The receipts so far, and the deliveries that are still pending.

        Raises:
            CallbackParamError: The parameters don't match the URLs; nothing was stored.
            EncodingError: The result can't be represented in JSON; nothing was stored. The message names the path.
            OutboxError: The result can't be stored; nothing was stored or sent.
            TargetError: A target is invalid, or no target was given; nothing was stored for it.
            DeliveryError: A target rejected the result permanently; the delivery is dead. A `MultipleDeliveryErrors`
                if several targets fail. `error.receipts` has the receipts of other targets; the others are pending.
        """
        callback_url, callback_param = wrap_secret(callback_url), wrap_secret(callback_param)
        own = wrap_secret(outputs)
        del outputs
        with typed_errors():
            given = [as_read_back(callback) for callback in required_callbacks(callback_url, callback_param)]
            return self._write(result, given, own)

    def _write(
        self,
        result: JobResult,
        given: Sequence[Callback],
        own: Secret[Any],
        *,
        ends: str | None = None,
        send: bool = True,
        on_stored: Callable[[], object] | None = None,
    ) -> WriteResult:
        state = self._process_state()
        state.owner.acquire_lock()
        state.reclaim_claims()
        with ExitStack() as stack:
            results, nulls_written = encoded_results(result, stack)
            given = [callback for callback in given if callback.takes_result(success=result.success)]
            targets = [state.planner.plan(callback) for callback in given]
            places = Places.of_documents([target for _, target in targets])
            plan = state.planner.plan_outputs(result, results, own, targets, stack, places)
            stored = state.files.store(results, plan.files if plan else ())
        try:
            new_deliveries, refusals = state.planner.new_deliveries(result, state.files.body(stored), targets, plan)
        except BaseException:
            state.files.remove(stored.files)
            raise
        run(attempts_of(state.writer).end_events(result.job_id))
        # From here on the file is kept even after an error: a commit that reports an error may still be durable (a full
        # disk, or an I/O error, after the write-ahead log was synced).
        try:
            facts = (nulls_written, object_url(given), ends)
            found = state.add_and_send(result, new_deliveries, stored, *facts, send=send, on_stored=on_stored)
        except JobEndedError:
            state.files.remove(stored.files)
            raise
        new, outcomes = found
        if not new:
            state.files.remove(stored.files)
        ids = [delivery.delivery_id for delivery in new_deliveries]
        if self._profile.waits and send:
            state.wait_for(ids)
        try:
            entries = state.store.entries(ids=ids)
        except CallbackSDKError as error:
            error.receipts = tuple(outcome for outcome in outcomes.values() if isinstance(outcome, Receipt))
            raise
        return _written(entries, new_deliveries, outcomes, refusals)

    @clearing_locals
    def events(
        self,
        job_id: str,
        callback_url: CallbackURLs,
        callback_param: CallbackParams | Secret[Any] | None = None,
        *,
        run: int = 1,
        interval: Duration = timedelta(seconds=5),
    ) -> JobEvents:
        """Return the events of a job before its end; see `ResultsWriter.events`. They are not stored."""
        callback_url, callback_param = wrap_secret(callback_url), wrap_secret(callback_param)
        return self._process_state().writer.events(job_id, callback_url, callback_param, run=run, interval=interval)

    @clearing_locals
    def run(self, *, until_empty: bool = False, stop: threading.Event | None = None) -> None:
        """Run the delivery loop. Several processes may run it concurrently.

        When stopped, it starts no further attempts, and waits up to 10 s for running ones. While the file can't be
        used, for example because its disk is full, it waits and retries.

        Args:
            until_empty: Return when no delivery is pending. This may take hours, because the retry delays still apply.
            stop: Set to make the method return.

        Raises:
            ConfigurationError: The file can no longer be opened.
            OutboxError: The file was deleted or replaced.
        """
        with typed_errors():
            self._run(until_empty, stop or threading.Event())

    def _run(self, until_empty: bool, stop: threading.Event) -> None:
        state, cleaned_up_at = self._process_state(), -_CLEAN_UP_INTERVAL
        rejected: set[str] = set()
        try:
            while not stop.is_set():
                ended = state.sender.ended
                try:
                    if time.monotonic() - cleaned_up_at >= _CLEAN_UP_INTERVAL:
                        state.clean_up(self._receipt_retention)
                        cleaned_up_at = time.monotonic()
                    self._end_lost_jobs(state, rejected)
                    state.send_due()
                    if until_empty and state.store.is_empty():
                        return
                except OutboxError as error:
                    # A deleted file won't reappear, so `run` raises instead of retrying.
                    state.database.check()
                    logger.error("outbox unavailable, retrying: %s", error)
                    stop.wait(_OUTAGE_PAUSE)
                state.sender.wait_for_end(ended, _POLL_INTERVAL)
        finally:
            state.sender.shut_down(SHUTDOWN_TIMEOUT)

    @clearing_locals
    def entries(self, *, status: str | None = None) -> list[OutboxEntry]:
        """Return the deliveries in the outbox, oldest first, without credentials.

        Args:
            status: Only deliveries with this status: `"pending"`, `"delivered"` or `"dead"`; all if None.
        """
        with typed_errors():
            return self._process_state().store.entries(status=status)

    @clearing_locals
    def redeliver(self, *delivery_ids: str, target: CallbackTarget | None = None) -> int:
        """Make deliveries due now. `run` sends them. The retry schedule of dead deliveries starts again.

        Args:
            delivery_ids: Ids of deliveries; all pending and dead deliveries if empty.
            target: A new target for a single delivery, such as one whose signature has not expired: a URL, a
                `PresignedPut` or `PresignedPost`, or a `(url, param)` pair. It gets the same document. A running
                attempt may still deliver to the old target; its outcome is discarded, and the entry's `error` says so.

        Returns:
            Number of the deliveries that are due now, without those with a running attempt.

        Raises:
            OutboxError: An id is unknown, or the delivery is already delivered; nothing was changed.
            TargetError: The result can't be delivered to the new target, or one of its objects is that of another
                target of the result; nothing was changed.
        """
        given = Secret(target)
        del target
        with typed_errors():
            state = self._process_state()
            if given.reveal() is None:
                return state.store.redeliver(delivery_ids or None)
            if len(delivery_ids) != 1:
                raise OutboxError(
                    f"target= is given for {len(delivery_ids)} deliveries.", hint="Give the id of a single delivery."
                )
            state.replace_target(delivery_ids[0], given)
            return 1

    @clearing_locals
    def purge(self, *, older_than: Duration) -> int:
        """Delete receipts that are older than a duration.

        Returns:
            Number of deleted receipts.
        """
        with typed_errors():
            return self._process_state().clean_up(total_seconds("older_than", older_than))

    def _end_lost_jobs(self, state: OutboxState, rejected: set[str]) -> None:
        """Store a failure for each open job whose process has ended.

        Args:
            state: The outbox in this process.
            rejected: Keys of jobs whose failure was rejected before. Those of this call are added.
        """
        for owner in state.open_jobs.owners():
            if state.owner.has_released(owner):
                self._end_jobs_of(owner, LOST_JOB, rejected)
                if not state.open_jobs.of(owner):
                    state.owner.remove_lock_file(owner)

    def _end_jobs_of(self, owner: str, failure: JobFailure, rejected: set[str]) -> None:
        jobs = self._process_state().open_jobs
        for job in jobs.of(owner):
            if job.key in rejected:
                continue
            if not job.reports_loss:
                logger.warning("job %s: its process has ended; no failure is delivered, as it runs again", job.job_id)
                jobs.remove(job.key)
                continue
            logger.warning("job %s: its process has ended; a failure is delivered", job.job_id)
            try:
                # One that waits for a slow receiver must not keep the others from being stored.
                self._end_job(job, failure.of(job), Secret(None), send=False)
            except CallbackSDKError as error:
                if type(error) is OutboxError:
                    # The outbox can't be used, for example because its disk is full. The job stays open.
                    raise
                rejected.add(job.key)
                logger.error("job %s: %s", job.job_id, error)

    def _end_job(self, job: OpenJob, result: JobResult, own: Secret[Any], *, send: bool = True) -> WriteResult:
        given = [as_read_back(callback) for callback in required_callbacks(job.callbacks)]
        return self._write(result, given, own, ends=job.key, send=send)

    def _process_state(self) -> OutboxState:
        """Return the connection and the helpers of this process.

        Raises:
            OutboxError: The file was deleted or replaced while it was open; the next call creates a new one.
        """
        state = self._states.get()
        try:
            state.database.check()
        except OutboxError:
            self._states.pop()
            state.close(own_writer=self._writer is None, timeout=timedelta(0))
            raise
        return state


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """Convert unexpected exceptions to errors of this package."""
    try:
        yield
    except CallbackSDKError:
        raise
    except uninterrupted(Exception) as error:  # raised again as one of our errors
        raise OutboxError(
            f"The outbox failed with {type(error).__name__}; deliveries that were stored before are safe.",
            hint="See the cause of the error.",
        ) from strip_traceback(error)


def _written(
    entries: Sequence[OutboxEntry],
    new_deliveries: Sequence[NewDelivery],
    outcomes: dict[str, Receipt | Exception],
    refusals: Sequence[TargetError],
) -> WriteResult:
    found = {entry.delivery_id: entry for entry in entries}
    ordered = [found[delivery.delivery_id] for delivery in new_deliveries if delivery.delivery_id in found]
    # A receipt is valid even if it can't be stored at the moment.
    proofs = {each: outcome for each, outcome in outcomes.items() if isinstance(outcome, Receipt)}
    proofs |= {entry.delivery_id: entry.receipt for entry in ordered if entry.receipt is not None}
    receipts = tuple(proofs[delivery.delivery_id] for delivery in new_deliveries if delivery.delivery_id in proofs)
    open_ = [entry for entry in ordered if entry.delivery_id not in proofs]
    dead = [_error(entry, outcomes.get(entry.delivery_id)) for entry in open_ if entry.status == DEAD]
    errors: list[CallbackSDKError] = [*refusals, *dead]
    if errors:
        error = errors[0] if len(errors) == 1 else MultipleDeliveryErrors(errors)
        error.receipts = receipts
        raise error
    return WriteResult(
        receipts=receipts, pending=tuple(entry for entry in open_ if entry.status not in (DELIVERED, DEAD))
    )


def _error(entry: OutboxEntry, outcome: Receipt | Exception | None) -> CallbackSDKError:
    if isinstance(outcome, CallbackSDKError):
        return outcome
    return DeliveryError(
        f"{entry.url}: delivery failed permanently: {entry.error}",
        hint=f"After fixing the cause: callback-sdk outbox redeliver PATH {entry.delivery_id}",
        url=entry.url,
        attempts=entry.attempts,
    )
