"""Delivery attempts of the outbox, side by side. Leases of claims are renewed until the outcomes are stored."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve

from callback_sdk.concurrency.attempts import RunningAttempts
from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.concurrency.leases import run_heartbeat
from callback_sdk.errors import CallbackSDKError, OutboxError
from callback_sdk.models import JobResult
from callback_sdk.outbox.entries import OutboxClaim, PendingSend
from callback_sdk.outbox.files import ResultFiles
from callback_sdk.outbox.store import HEARTBEAT_INTERVAL, OutboxStore
from callback_sdk.receipt import Receipt
from callback_sdk.transport.driver import Background, BackgroundDriver
from callback_sdk.transport.retry import SERVICE_DELAYS, next_delay
from callback_sdk.writer.attempts import DeliveryAttempts
from callback_sdk.writer.delivery import PreparedDelivery
from callback_sdk.writer.failures import has_responded, loggable_text

if TYPE_CHECKING:
    from callback_sdk.writer.outputs import DeliveryOutputs

logger = logging.getLogger(__name__)

MAX_CONCURRENT = 16
"""Maximum concurrent attempts of `run` in one process: more than CPU cores, because attempts wait for the network."""


class OutboxSender:
    """Sends claimed deliveries, and stores their outcomes.

    Args:
        store: Stores the outcomes.
        files: The files of results.
        writer: Sends the results.
        driver: That of the writer.
        delays: Delays between the attempts of a delivery.
    """

    def __init__(
        self,
        *,
        store: OutboxStore,
        files: ResultFiles,
        writer: DeliveryAttempts,
        driver: BackgroundDriver,
        delays: Sequence[timedelta] = SERVICE_DELAYS,
    ) -> None:
        self._delays = delays
        self._store = store
        self._files = files
        self._writer = writer
        self._driver = driver
        self._attempts: RunningAttempts[OutboxClaim] = RunningAttempts(MAX_CONCURRENT)
        self._lock = threading.RLock()
        self._rounds = self._driver.rounds(MAX_CONCURRENT)
        self._saving = threading.RLock()
        self._unsaved: dict[OutboxClaim, Receipt | Exception] = {}
        self._heartbeat: threading.Thread | None = None
        self._given_up = frozenset[OutboxClaim]()

    async def send(
        self, claim: Callable[[], Sequence[OutboxClaim]], *, before: Callable[[], object] | None = None
    ) -> dict[str, Receipt | Exception]:
        """Make one attempt at each of some deliveries, all concurrently, and return when all attempts have ended.

        Args:
            claim: Claims the deliveries.
            before: Called before anything is sent. If it raises, the claims are released.

        Returns:
            The receipt or the error of each attempt, by the id of the delivery.
        """
        claims: list[OutboxClaim] = []
        running: dict[str, int] = {}

        def begin() -> None:
            claims.extend(claim())
            if before is not None:
                before()
            self._begin_attempts(claims)

        async def attempt(claim: OutboxClaim) -> Receipt | Exception:
            running[claim.delivery_id] = threading.get_ident()
            try:
                return await self._attempt(claim)
            finally:
                del running[claim.delivery_id]

        try:
            await self._driver.call(begin)
            outcomes = await self._rounds.map(attempt, claims)
        except BaseException:
            # Ctrl-C may interrupt this thread at any moment, and a cancellation this task. Claims without a started
            # attempt are released, so that the next `run` in any process sends them.
            here = threading.get_ident()
            await self._release_all([one for one in claims if running.get(one.delivery_id, here) == here])
            raise
        return {claim.delivery_id: outcome for claim, outcome in zip(claims, outcomes, strict=True)}

    async def start_due(self, background: Background) -> None:
        """Start attempts at due deliveries up to the number of free slots, and return without waiting for them.

        Args:
            background: Where they run, until `end`.

        Raises:
            OutboxError: The database can't be used, or no thread can be started.
        """
        claims: list[OutboxClaim] = []
        started: set[str] = set()

        def claim_due() -> None:
            try:
                self._store.claim_due(self._full_hosts, add_claim)
            except BaseException:
                # The transaction was rolled back, so no delivery is claimed.
                while claims:
                    self._end_attempt(claims.pop())
                raise

        def add_claim(claim: OutboxClaim) -> None:
            claims.append(claim)
            self._begin_attempts([claim])

        try:
            await self._driver.call(claim_due)
            self._start(background, claims, started)
        except BaseException:
            await self._release_all([claim for claim in claims if claim.delivery_id not in started])
            raise

    async def end(self, background: Background, grace: timedelta | None) -> None:
        """Wait for attempts up to `grace`, if it isn't None. Then cancel those of `start_due` where that is possible.

        The deliveries of canceled attempts are due again.
        """
        try:
            if grace is not None:
                await self.shut_down(grace)
        finally:
            try:
                await background.cancel()
            finally:
                await self._release_all(background.skipped)

    def close(self) -> None:
        """End the idle threads and the heartbeat."""
        self._attempts.drop_claims()
        self._rounds.close()

    def running_ids(self) -> list[str]:
        """Return the ids of deliveries with a running attempt."""
        return list(self._attempts.claims())

    async def wait(self, timeout: timedelta) -> bool:
        """Wait until no attempt is running or the timeout expires; return whether none is running."""
        return await self._driver.wait(self._attempts, self._attempts.has_no_claims, timeout.total_seconds())

    async def shut_down(self, timeout: timedelta) -> None:
        """Wait for running attempts, but not for those that an earlier call has waited for in vain.

        `run` waits before it returns, and `close` may follow.
        """
        if self._given_up.issuperset(self._attempts.claims().values()) or await self.wait(timeout):
            return
        self._given_up = frozenset(self._attempts.claims().values())

    @property
    def ended(self) -> int:
        """Number of attempts that have ended."""
        return self._attempts.ended

    async def wait_for_end(self, seen: int, timeout: float) -> None:
        """Wait until more than `seen` attempts have ended, or the timeout in seconds expires."""
        await self._driver.wait(self._attempts, lambda: self._attempts.ended > seen, timeout)

    def save_pending_outcomes(self) -> None:
        """Store outcomes that could not be stored before.

        Raises:
            OutboxError: The outcomes still can't be stored.
        """
        # Only one thread at a time does this, so that each outcome is stored once.
        with self._saving:
            while unsaved := self._first_unsaved():
                self._save_outcome(*unsaved)
                with self._lock:
                    self._unsaved.pop(unsaved[0])

    def _first_unsaved(self) -> tuple[OutboxClaim, Receipt | Exception] | None:
        with self._lock:
            return next(iter(self._unsaved.items()), None)

    def _start(self, background: Background, claims: Sequence[OutboxClaim], started: set[str]) -> None:
        async def attempt(claim: OutboxClaim) -> None:
            # Recorded here too, because a signal may interrupt the starting thread before it records the attempt.
            started.add(claim.delivery_id)
            await self._attempt(claim)

        for claim in claims:
            try:
                background.start(attempt, claim)
            except RuntimeError:
                raise OutboxError(
                    "No thread for the attempt could be started.", hint="Raise the limit of threads (ulimit -u)."
                ) from None
            started.add(claim.delivery_id)

    def _full_hosts(self) -> list[str] | None:
        return self._attempts.full_hosts() if self._attempts.free_slots else None

    def _begin_attempts(self, claims: Sequence[OutboxClaim]) -> None:
        for claim in claims:
            self._attempts.begin(claim.delivery_id, claim.host, claim)
        with self._lock:
            # A signal may have interrupted the start of the thread object, which then never runs.
            if claims and not (self._heartbeat is not None and self._heartbeat.is_alive()):
                self._heartbeat = threading.Thread(
                    target=self._run_heartbeat, name="callback-sdk-heartbeat", daemon=True
                )
                # No thread can be started while the interpreter shuts down. Until it ends, other processes see by the
                # file lock that this one is alive.
                with contextlib.suppress(RuntimeError):
                    self._heartbeat.start()

    def _end_attempt(self, claim: OutboxClaim, *, responded: bool | None = None) -> None:
        self._attempts.end(claim.delivery_id, claim, responded=responded)

    def _run_heartbeat(self) -> None:
        def failed(error: Exception) -> None:
            logger.warning("leases could not be renewed: %s", loggable_text(error))

        run_heartbeat(
            lambda: self._store.renew(self._attempts.claims().values()), wait=self._wait_for_heartbeat, failed=failed
        )

    def _wait_for_heartbeat(self) -> bool:
        """Wait for the next heartbeat; return whether the thread has to end because no claim is held."""
        self._attempts.wait_without_claims(HEARTBEAT_INTERVAL)
        with self._lock:
            # Decided under the lock: an attempt that starts later starts another heartbeat thread.
            is_over = not self._attempts.claims()
            if is_over:
                self._heartbeat = None
        return is_over

    async def _attempt(self, claim: OutboxClaim) -> Receipt | Exception:
        """Make one attempt, store its outcome, and return it."""
        try:
            outcome = await self._make_attempt(claim)
            try:
                await self._driver.call(self._save_outcome, claim, outcome)
            except uninterrupted(Exception) as error:  # the outcome counts, even if storing it failed
                logger.error("%s: outcome can't be stored yet: %s", claim.delivery_id, loggable_text(error))
        except BaseException:
            await self._driver.call(self._release, claim)
            raise
        return outcome

    async def _make_attempt(self, claim: OutboxClaim) -> Receipt | Exception:
        try:
            found = await self._driver.call(self._read, claim)
            if found is None:
                return OutboxError("Another process has claimed the delivery.")
            pending_send, result, outputs = found
            receipt = await self._writer.attempt(
                result,
                pending_send.callback,
                delivery_id=claim.delivery_id,
                results_url=lambda: pending_send.object_url,
                on_refresh=lambda delivery: self._replace_target(claim, delivery),
                outputs=outputs,
            )
        except uninterrupted(Exception) as error:  # whatever failed, the next attempt may succeed
            if not isinstance(error, CallbackSDKError):
                # Without the message of the error, which may contain credentials.
                frames = "".join(traceback.format_tb(error.__traceback__))
                logger.error("%s: attempt failed with %s:\n%s", claim.delivery_id, type(error).__name__, frames)
            return error
        return evolve(receipt, attempts=claim.attempt, nulls_written=pending_send.nulls_written)

    def _read(self, claim: OutboxClaim) -> tuple[PendingSend, JobResult, DeliveryOutputs | None] | None:
        """Return what an attempt sends; None if the claim is lost."""
        pending_send = self._store.pending_send(claim)
        if pending_send is None:
            return None
        return pending_send, self._result(pending_send), self._outputs(claim, pending_send)

    def _replace_target(self, claim: OutboxClaim, delivery: PreparedDelivery) -> None:
        """Store the new target of a delivery, before anything is sent there.

        Raises:
            OutboxError: Another process has the claim, or the target can't be stored.
            InvalidTargetError: One of its objects is that of another target of the result.
        """
        if not self._store.replace_target(claim, delivery.target, self._writer.plan):
            raise OutboxError("Another process has claimed the delivery.")

    def _replace_file_target(self, claim: OutboxClaim, name: str, delivery: PreparedDelivery) -> None:
        """Store the new target of an output file; see `_replace_target`."""
        if not self._store.replace_file_target(claim, name, delivery.target, self._writer.plan):
            raise OutboxError("Another process has claimed the delivery.")

    def _outputs(self, claim: OutboxClaim, pending_send: PendingSend) -> DeliveryOutputs | None:
        if not pending_send.stored.outputs:
            return None
        # Imported here, because few results have output files.
        with no_fork:
            from callback_sdk.outbox.outputs import delivery_outputs

        return delivery_outputs(
            pending_send,
            self._files,
            save=partial(self._store.save_output, pending_send.result),
            on_refresh=partial(self._replace_file_target, claim),
        )

    def _result(self, pending_send: PendingSend) -> JobResult:
        job = pending_send.job
        return evolve(job, results=self._files.body(pending_send.stored)) if job.success else job

    def _save_outcome(self, claim: OutboxClaim, outcome: Receipt | Exception) -> None:
        """Store an outcome. The claim is held until that succeeds, so that the delivery isn't sent twice."""
        try:
            if isinstance(outcome, Receipt):
                kept, files = self._store.record_receipt(claim, outcome)
                self._files.remove(files)
            else:
                kept = self._record_failure(claim, outcome)
        except BaseException:
            with self._lock:
                self._unsaved[claim] = outcome
            raise
        self._end_attempt(claim, responded=_has_responded(outcome))
        if not kept:
            logger.warning("%s: claim lost to another process; outcome discarded", claim.delivery_id)

    def _record_failure(self, claim: OutboxClaim, error: Exception) -> bool:
        moment, text = _next_attempt(error, claim.attempt, self._delays), loggable_text(error)
        extra = {"action": "deliver", "delivery_id": claim.delivery_id, "attempt": claim.attempt}
        if moment is None:
            logger.error("%s: delivery failed, giving up: %s", claim.delivery_id, text, extra=extra)
        else:
            pause = moment - time.time()
            logger.warning("%s: delivery failed, retrying in %.0f s: %s", claim.delivery_id, pause, text, extra=extra)
        return self._store.record_failure(claim, text, moment)

    async def _release_all(self, claims: Sequence[OutboxClaim]) -> None:
        if claims:
            # One call, which a second cancellation doesn't interrupt.
            await self._driver.call(self._release, *claims)

    def _release(self, *claims: OutboxClaim) -> None:
        """Release claims, unless the outcome is known. A stored outcome stays as it is."""
        for claim in claims:
            if claim in self._unsaved:
                # It was interrupted while it was stored, and nobody may try that again in this process.
                with contextlib.suppress(CallbackSDKError):
                    self.save_pending_outcomes()
                continue
            try:
                self._store.release(claim)
            except CallbackSDKError as error:
                logger.error("%s: claim can't be released before its lease expires: %s", claim.delivery_id, error)
            finally:
                self._end_attempt(claim)


def _next_attempt(error: Exception, attempts: int, delays: Sequence[timedelta]) -> float | None:
    """Return the time of the next attempt, in seconds since 1970; None to give up."""
    delay = next_delay(error, attempts, delays)
    return None if delay is None else time.time() + delay.total_seconds()


def _has_responded(outcome: Receipt | Exception) -> bool | None:
    """Return whether the host sent a response; None when no request was sent."""
    if isinstance(outcome, Receipt):
        return True
    return has_responded(outcome)
