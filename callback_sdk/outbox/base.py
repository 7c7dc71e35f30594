"""What the outboxes of all drivers have in common: how they store results, send them, and retry."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from callback_sdk.concurrency.forking import PerProcess
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.errors import CallbackSDKError, ConfigurationError, DeliveryError, OutboxError
from callback_sdk.models import JobResult
from callback_sdk.outbox.entries import DEAD, DELIVERED, OutboxEntry, WriteResult
from callback_sdk.outbox.open_jobs import JobFailure, OpenJob
from callback_sdk.outbox.state import SHUTDOWN_TIMEOUT, NewResult, OutboxState, Profile, as_read_back
from callback_sdk.parsing import Duration, path_of, total_seconds
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret, clearing_locals, strip_traceback, wrap_secret
from callback_sdk.targets.callbacks import Callback, required_callbacks
from callback_sdk.transport.driver import Background, BackgroundDriver
from callback_sdk.types import CallbackParams, CallbackTarget, CallbackURLs
from callback_sdk.writer.failures import combined_error
from callback_sdk.writer.writer import WriterBase

if TYPE_CHECKING:
    from callback_sdk.writer.events import JobEvents

logger = logging.getLogger(__name__)

Writer = TypeVar("Writer", bound=WriterBase)

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


class Stop(Protocol):
    """What makes `run` return: a `threading.Event` or an `asyncio.Event`."""

    def is_set(self) -> bool:
        """Return whether `run` has to return."""
        ...


class OutboxBase(Generic[Writer]):
    """What `Outbox` and `AsyncOutbox` have in common. `Outbox` describes the arguments."""

    _driver: BackgroundDriver
    _writer_type: type[Writer]
    _profile = Profile()

    @clearing_locals
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        writer: Writer | None = None,
        receipt_retention: Duration = RECEIPT_RETENTION,
        create: bool = True,
    ) -> None:
        self.path = path_of("path", path).resolve()
        if writer is not None and not isinstance(writer, self._writer_type):
            article = "an" if self._writer_type.__name__[0] == "A" else "a"
            raise ConfigurationError(
                f"writer is of type {type(writer).__name__}.", hint=f"Give {article} {self._writer_type.__name__}."
            )
        self._has_own_writer = writer is None
        self._receipt_retention = total_seconds("receipt_retention", receipt_retention)
        # Neither a connection nor a lock survives a fork. The function holds no reference to `self`, so that an outbox
        # that nobody references is collected at once, and its lock is released.
        make_writer = self._writer_type if writer is None else lambda: writer
        self._states = PerProcess(
            functools.partial(OutboxState.open, self.path, make_writer, self._driver, self._profile, create=create)
        )
        # Opened at once, so that a wrong path raises here and not at the first result.
        self._process_state()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

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

    async def _write(
        self,
        result: JobResult,
        given: Sequence[Callback],
        own: Secret[Any],
        *,
        ends: str | None = None,
        send: bool = True,
        on_stored: Callable[[], object] | None = None,
    ) -> WriteResult:
        # What a call returns is lost if the task is canceled meanwhile.
        prepared: list[tuple[OutboxState, NewResult]] = []

        def prepare() -> None:
            state = self._process_state()
            prepared.append((state, state.prepare(result, given, own)))

        try:
            await self._driver.call(prepare)
            ((state, new),) = prepared
            await state.attempts.end_events(result.job_id)
        except BaseException:
            for state, new in prepared:
                await self._driver.call(state.files.remove, new.stored.files)
            raise
        outcomes = await state.add_and_send(new, ends, send=send, on_stored=on_stored)
        if self._profile.waits and send:
            await state.wait_for(new.ids)
        try:
            entries = await self._driver.call(functools.partial(state.store.entries, ids=new.ids))
        except CallbackSDKError as error:
            error.receipts = tuple(outcome for outcome in outcomes.values() if isinstance(outcome, Receipt))
            raise
        return _written(entries, new, outcomes)

    async def _run(self, until_empty: bool, stop: Stop) -> None:
        state = await self._driver.call(self._process_state)
        background = self._driver.background()
        grace: timedelta | None = SHUTDOWN_TIMEOUT
        try:
            await self._send_until(stop, state, background, until_empty=until_empty)
        except self._driver.cancellations:
            grace = None
            raise
        finally:
            await state.sender.end(background, grace)

    async def _send_until(self, stop: Stop, state: OutboxState, background: Background, *, until_empty: bool) -> None:
        cleaned_up_at = -_CLEAN_UP_INTERVAL
        rejected: set[str] = set()
        while not stop.is_set() and await self._is_open(state):
            ended = state.sender.ended
            try:
                if time.monotonic() - cleaned_up_at >= _CLEAN_UP_INTERVAL:
                    await self._driver.call(state.clean_up, self._receipt_retention)
                    cleaned_up_at = time.monotonic()
                await self._end_lost_jobs(state, rejected)
                await state.send_due(background)
                if until_empty and await self._driver.call(state.store.is_empty):
                    return
            except OutboxError as error:
                if await self._is_open(state):
                    logger.error("outbox unavailable, retrying: %s", error)
                    await self._pause(stop)
            await state.sender.wait_for_end(ended, _POLL_INTERVAL)

    async def _is_open(self, state: OutboxState) -> bool:
        """Return whether the outbox was not closed, by another thread or task.

        Raises:
            OutboxError: The file was deleted or replaced. It won't reappear, so `run` raises instead of retrying.
        """
        await self._driver.call(state.database.check)
        return self._states.peek() is state

    async def _pause(self, stop: Stop) -> None:
        until = time.monotonic() + _OUTAGE_PAUSE
        while not stop.is_set() and time.monotonic() < until:
            await self._driver.sleep(min(_POLL_INTERVAL, _OUTAGE_PAUSE))

    def _redeliver(self, delivery_ids: Sequence[str], given: Secret[CallbackTarget | None]) -> int:
        state = self._process_state()
        if given.reveal() is None:
            return state.store.redeliver(delivery_ids or None)
        if len(delivery_ids) != 1:
            raise OutboxError(
                f"target= is given for {len(delivery_ids)} deliveries.", hint="Give the id of a single delivery."
            )
        state.replace_target(delivery_ids[0], given)
        return 1

    async def _close(self) -> None:
        if (state := self._states.pop()) is not None:
            try:
                await state.sender.shut_down(SHUTDOWN_TIMEOUT)
            finally:
                await self._driver.call(functools.partial(state.close, own_writer=self._has_own_writer))

    async def _end_lost_jobs(self, state: OutboxState, rejected: set[str]) -> None:
        """Store a failure for each open job whose process has ended.

        Args:
            state: The outbox in this process.
            rejected: Keys of jobs whose failure was rejected before. Those of this call are added.
        """
        for owner in await self._driver.call(state.lost_owners):
            await self._end_jobs_of(owner, LOST_JOB, rejected)
            await self._driver.call(state.forget, owner)

    async def _end_jobs_of(self, owner: str, failure: JobFailure, rejected: set[str]) -> None:
        jobs = (await self._driver.call(self._process_state)).open_jobs
        for job in await self._driver.call(jobs.of, owner):
            if job.key in rejected:
                continue
            if not job.reports_loss:
                logger.warning("job %s: its process has ended; no failure is delivered, as it runs again", job.job_id)
                await self._driver.call(jobs.remove, job.key)
                continue
            logger.warning("job %s: its process has ended; a failure is delivered", job.job_id)
            try:
                # One that waits for a slow receiver must not keep the others from being stored.
                await self._end_job(job, failure.of(job), Secret(None), send=False)
            except CallbackSDKError as error:
                if type(error) is OutboxError:
                    # The outbox can't be used, for example because its disk is full. The job stays open.
                    raise
                rejected.add(job.key)
                logger.error("job %s: %s", job.job_id, error)

    async def _end_job(self, job: OpenJob, result: JobResult, own: Secret[Any], *, send: bool = True) -> WriteResult:
        given = [as_read_back(callback) for callback in required_callbacks(job.callbacks)]
        return await self._write(result, given, own, ends=job.key, send=send)

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
            state.close(own_writer=self._has_own_writer)
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


def _written(entries: Sequence[OutboxEntry], new: NewResult, outcomes: dict[str, Receipt | Exception]) -> WriteResult:
    found = {entry.delivery_id: entry for entry in entries}
    ordered = [found[each] for each in new.ids if each in found]
    # A receipt is valid even if it can't be stored at the moment.
    proofs = {each: outcome for each, outcome in outcomes.items() if isinstance(outcome, Receipt)}
    proofs |= {entry.delivery_id: entry.receipt for entry in ordered if entry.receipt is not None}
    receipts = tuple(proofs[each] for each in new.ids if each in proofs)
    open_ = [entry for entry in ordered if entry.delivery_id not in proofs]
    dead = [_error(entry, outcomes.get(entry.delivery_id)) for entry in open_ if entry.status == DEAD]
    errors: list[CallbackSDKError] = [*new.refusals, *dead]
    if errors:
        raise combined_error(errors, receipts)
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
